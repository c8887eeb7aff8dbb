import asyncio
import io
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fashionclip.app.page.app import create_app
from fashionclip.app.page.request_limits import Bounds, RequestLimits


def photo_bytes(colour="Green", size=(40, 60), kind="PNG", **options):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **options)
    return file.getvalue()


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [hit["image_id"] for hit in answer.json()["hits"]]


def test_search_by_words(client):
    answer = client.get("/api/search", params={"q": "blue dress", "k": 2})
    assert ids(answer) == ["01.png", "07.png"]
    assert answer.json()["hits"][0] == {
        "image_id": "01.png",
        "item_id": "item-01.png",
        "score": 0.25,
        "text": "Blue dress 1",
        "category": "Dresses",
        "attributes": {"colour": "Blue", "price": 10},
        "image": "/images/01.png",
    }


def test_everything_that_can_be_asked(client, odd):
    def found(**asked):
        return ids(client.get("/api/search", params=asked))

    assert found(q="dress", where="colour = 'Green' and price >= 200", k=2) == ["23.png", "29.png"]
    assert found(q="dress blue green", negative="blue", k=1) == ["05.png"]
    assert found(like=odd, k=1) == ["00.png"] and odd not in found(like=odd, k=100)
    assert found(like="02.png", q="blue", weight=0.9, k=1) == ["05.png"]
    assert found(like="02.png", q="blue", weight=0.1, k=1) == ["01.png"]
    assert len(found(q="dress")) == 10


def test_search_by_photo(client):
    photo = {"photo": ("my photo.jpg", photo_bytes(kind="JPEG"), "image/jpeg")}
    assert ids(client.post("/api/search", files=photo, data={"k": "1"})) == ["02.png"]
    words = {"q": "blue dress", "weight": "0.1", "where": "price <= 90", "k": "1"}
    assert ids(client.post("/api/search", files=photo, data=words)) == ["01.png"]
    assert ids(client.post("/api/search", data={"q": "blue dress", "k": "1"})) == ["01.png"]
    nothing = {"photo": ("", b"")}  # what a form sends whose fields are left empty
    assert ids(client.post("/api/search", files=nothing, data={"q": "blue dress", "k": ""}))[0] == "01.png"


@pytest.mark.parametrize(
    "asked, message",
    [
        ({}, "empty query"),
        ({"q": "   "}, "empty query"),
        ({"q": "dress", "k": 0}, "k: Input should be greater than or equal to 1"),
        ({"q": "dress", "k": 101}, "k: Input should be less than or equal to 100"),
        ({"q": "dress", "k": "many"}, "k: Input should be a valid integer"),
        ({"q": "d" * 501}, "q: 501 characters, at most 500 are read."),
        ({"q": "dress", "negative": "d" * 501}, "negative: 501 characters"),
        ({"q": "dress", "where": "size = 3"}, "filter: no field 'size'"),
        ({"q": "dress", "where": "colour ="}, "filter: 'colour =' cannot be read"),
        ({"like": "nobody"}, "like=nobody: unknown."),
        ({"like": "00.png", "q": "a", "weight": 2}, "weight: Input should be less"),
    ],
)
def test_what_cannot_be_searched(client, asked, message):
    answer = client.get("/api/search", params=asked)
    assert answer.status_code == 422 and message in answer.json()["detail"]


def test_uploads_that_are_no_photos(client):
    def refused(data):
        answer = client.post("/api/search", files={"photo": ("photo.jpg", data, "image/jpeg")})
        return answer.status_code, answer.json()["detail"]

    torn = photo_bytes("Red", (400, 400), "JPEG")[:700]
    assert refused(b"GIF? no") == (422, "That is not a photo. JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF are read.")
    for kind in ("PPM", "EPS", "DDS"):  # Pillow reads more, some of it by starting other programs
        assert refused(photo_bytes(kind=kind)) == refused(b"GIF? no")
    assert refused(torn) == (422, "The photo cannot be decoded; it may be torn. Send another one.")


def test_only_so_many_upload_at_a_time():
    async def answers():
        began, go_on, statuses = asyncio.Event(), asyncio.Event(), []

        async def app(scope, receive, send):
            began.set()
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message):
            statuses.append(message.get("status"))

        async def ask(method):
            scope = {"type": "http", "method": method, "path": "/api/search", "headers": [], "query_string": b""}
            await bounds(scope, None, send)

        bounds = Bounds(app, limits=RequestLimits(uploads=1), hosts=None)
        first = asyncio.create_task(ask("POST"))
        await began.wait()
        await ask("POST")
        go_on.set()
        await ask("GET")
        await first
        await ask("POST")
        return [status for status in statuses if status]

    assert asyncio.run(answers()) == [429, 200, 200, 200], "only the second one is told to come again"


def test_limits_of_uploads(searcher):
    with TestClient(create_app(searcher, limits=RequestLimits(upload=100_000, pixels=50_000))) as client:

        def posted(data, **more):
            return client.post("/api/search", files={"photo": ("a.png", data)}, **more)

        assert posted(photo_bytes(size=(200, 250), kind="JPEG")).status_code == 200
        answer = posted(photo_bytes(size=(200, 251), kind="JPEG"))
        assert answer.status_code == 422 and "50,200 pixels, at most 50,000 are read of JPEG" in answer.json()["detail"]
        second = Image.new("RGB", (200, 250), "Red")
        of_a_phone = photo_bytes(size=(200, 250), kind="MPO", save_all=True, append_images=[second])
        assert posted(of_a_phone).status_code == 200, "several JPEGs in one file are read as JPEG"
        assert posted(photo_bytes(size=(100, 125))).status_code == 200, "what is decoded in full may have a quarter"
        answer = posted(photo_bytes(size=(100, 126)))
        assert answer.status_code == 422 and "12,600 pixels, at most 12,500 are read of PNG" in answer.json()["detail"]
        answer = posted(b"x" * 100_000)
        assert answer.status_code == 413 and answer.json() == {"detail": "Too large: at most 0.0954 MB can be sent."}
        assert client.post("/results", files={"photo": ("a.png", b"x" * 100_000)}).status_code == 413


CASES = Path(__file__).parents[2] / "assets" / "cases"


@pytest.mark.parametrize(
    ("case", "status", "detail"),
    [
        ("avif_damaged/zero_tail.avif", 422, "cannot be decoded; it may be torn"),
        ("avif_damaged/phone.heic", 422, "That is not a photo. JPEG, PNG"),
        ("odd_exif/xres_ascii.jpg", 200, None),
        ("odd_exif/orient_zero_count.jpg", 200, None),
        ("strip/line.png", 200, None),
        ("icc/green.jpg", 200, None),
    ],
)
def test_upload_of_a_fault_report(client, case, status, detail):
    answer = client.post("/api/search", files={"photo": ("photo.jpg", (CASES / case).read_bytes())})
    assert answer.status_code == status and (detail is None or detail in answer.json()["detail"])


def test_photo_of_another_profile_is_shown_in_its_colours(client, searcher):
    searcher.photo("00.png").write_bytes((CASES / "icc" / "green.jpg").read_bytes())
    with Image.open(io.BytesIO(client.get("/images/00.png").content)) as shown:
        assert shown.getpixel((9, 9)) == pytest.approx((24, 192, 92), abs=3) and "icc_profile" not in shown.info


def test_upload_of_very_many_scans_is_refused_without_decoding_it(client):
    data = photo_bytes(size=(2000, 2000), kind="JPEG", progressive=True)
    data = data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 5000 + data[-2:]
    began = time.process_time()
    assert client.post("/api/search", files={"photo": ("photo.jpg", data)}).status_code == 422
    assert time.process_time() - began < 2  # decoding it takes some 20 s


def test_bytes_are_counted_as_they_come(searcher):
    app = create_app(searcher, limits=RequestLimits(upload=100_000))
    read, sent = [], []
    form = [(b"content-type", b"multipart/form-data; boundary=b")]  # and no Content-Length

    async def receive():
        body = b"x" * 1000 if read else b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        read.append(len(body))
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message):
        sent.append(message)

    for path in ("/api/search", "/results"):
        scope = {"type": "http", "method": "POST", "path": path, "headers": form, "query_string": b"", "server": None}
        asyncio.run(app(scope, receive, send))
        assert sent[0]["status"] == 413 and 100_000 < sum(read) <= 101_000
        read.clear(), sent.clear()


def test_items_and_photos_of_any_id(client, searcher, odd):
    assert client.get("/api/items/" + quote(odd)).json() == {
        "image_id": odd,
        "item_id": "item-" + odd,
        "text": searcher.hits[odd].text,
        "category": "<b>Odd</b>",
        "attributes": {"colour": "Red", "price": 5},
        "image": "/images/new/50%25%20off%3F.jpg",
    }
    for path in (client.get("/api/items/" + quote(odd)).json()["image"], "/images/" + quote(odd, safe="")):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    for path in ("/api/items/nobody", "/images/nobody", "/images/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"detail": "The index has no photo of that image_id."}


def test_photos_are_small_and_cached(client, searcher):
    full = client.get("/images/00.png")
    with Image.open(io.BytesIO(full.content)) as image:
        assert image.size == (360, 480) and image.format == "JPEG"
    with Image.open(io.BytesIO(client.get("/images/00.png?size=100").content)) as image:
        assert image.size == (75, 100)
    assert client.get("/images/00.png?size=5000").status_code == 422
    assert "max-age" in full.headers["cache-control"]
    again = client.get("/images/00.png", headers={"If-None-Match": full.headers["etag"]})
    assert again.status_code == 304 and not again.content
    Image.new("RGB", (600, 800), "Yellow").save(searcher.photo("00.png"))
    changed = client.get("/images/00.png", headers={"If-None-Match": full.headers["etag"]})
    assert changed.status_code == 200 and changed.headers["etag"] != full.headers["etag"]


def test_nothing_but_pixels_of_a_photo_leaves(client, searcher):
    exif = Image.Exif()
    exif[0x010F] = "secret camera"
    path = searcher.photo("00.png")
    Image.new("RGB", (90, 90), "Red").save(
        path, "JPEG", exif=exif, comment=b"secret comment", icc_profile=b"secret profile", xmp=b"secret xmp"
    )
    assert path.read_bytes().count(b"secret") == 4
    assert b"secret" not in client.get("/images/00.png").content


def test_a_photo_that_is_gone_or_torn(client, searcher):
    searcher.photo("00.png").unlink()
    searcher.photo("01.png").write_bytes(b"torn")
    for path in ("/images/00.png", "/images/01.png"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": "The photo of that image_id cannot be read any more."},
        )


@pytest.mark.parametrize(
    "path",
    [
        "/images/../../etc/passwd",
        "/images/..%2f..%2f..%2fetc%2fpasswd",
        "/images/%2e%2e/%2e%2e/etc/passwd",
        "/images//etc/passwd",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
    ],
)
def test_no_way_out_of_the_index(client, path):
    answer = client.get(path)
    assert answer.status_code == 404 and "root" not in answer.text and "def " not in answer.text


def test_no_path_of_the_server_is_told(searcher, tmp_path):
    searcher.photo("00.png").unlink()
    searcher.photo("01.png").write_bytes(b"torn")
    with TestClient(create_app(searcher)) as client:
        answers = [
            client.get("/api/search", params={"q": "boom"}),
            client.get("/", params={"q": "boom"}),
            client.post("/results", data={"q": "boom"}),
            client.get("/images/00.png"),
            client.get("/images/01.png"),
            client.post("/api/search", files={"photo": ("a.jpg", b"torn")}),
            client.get("/api/search", params={"q": "red"}),
            client.get("/", params={"q": "red", "min.price": "x"}),
            client.get("/api/items/01.png"),
            client.get("/openapi.json"),
            client.get("/nowhere"),
        ]
    assert [answer.status_code for answer in answers] == [500, 500, 500, 404, 404, 422, 200, 422, 200, 200, 404]
    for answer in answers:
        assert str(tmp_path) not in answer.text + str(answer.headers) and "site-packages" not in answer.text
        assert "model.bin" not in answer.text
    assert answers[0].json() == {"detail": "Something went wrong here. The server's log says what."}


def test_only_the_names_it_is_told_are_its_own(searcher):
    with TestClient(create_app(searcher, hosts={"127.0.0.1", "::1"})) as client:
        for host, status in {
            "127.0.0.1": 200,
            "127.0.0.1:8000": 200,
            "[::1]:8000": 200,
            "evil.example": 421,
            "127.0.0.1.evil.example:8000": 421,
            "[": 421,
        }.items():
            assert client.get("/api/health", headers={"host": host}).status_code == status, host


def test_schema_and_health(client):
    answer = client.get("/openapi.json")
    for said in ("curl ", "Retry-After", "Cosine with the query", '"maximum":100', "but in blue", "JPEG, PNG, WebP"):
        assert said in answer.text
    assert "HTTPValidationError" not in answer.text
    schema = answer.json()
    assert set(schema["paths"]) == {"/api/search", "/api/items/{image_id}", "/images/{image_id}", "/api/health"}
    answers = schema["paths"]["/api/search"]["post"]["responses"]
    assert {"200", "413", "422", "429", "503"} <= set(answers)
    assert answers["422"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"}
    assert client.get("/api/health").json() == {"status": "ok", "photos": 31, "waiting": 0, "places": 128}


def test_an_address_gives_the_servers_terminal_no_commands(searcher, caplog, monkeypatch):
    def broken(image_id):
        raise RuntimeError("broken")

    monkeypatch.setattr(searcher, "photo", broken)
    with TestClient(create_app(searcher)) as client:
        assert client.get("/images/%1b%5b2J").status_code == 500
    assert r"GET /images/\u001b[2J" in caplog.text and "\x1b" not in caplog.text
