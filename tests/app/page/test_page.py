import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from fashionclip.app.page import app as app_module

PAGE = Path(app_module.__file__).parent


class Elements(HTMLParser):
    """All elements of a page, as pairs of tag and attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag, **having):
        return [one for name, one in self.found if name == tag and having.items() <= one.items()]


def photo_bytes():
    file = io.BytesIO()
    Image.new("RGB", (40, 60), "Green").save(file, "PNG")
    return file.getvalue()


def elements(answer, status=200):
    assert answer.status_code == status, answer.text
    return Elements(answer.text)


def likes(found):
    return [one["data-like"] for one in found.all("a") if "data-like" in one]


def test_the_page_before_a_search(client):
    found = elements(client.get("/"))
    assert not likes(found)
    assert found.all("html", lang="en") and found.all("meta", name="viewport")
    assert found.all("form", role="search", method="get", action="/")
    assert [one["name"] for one in found.all("select")] == ["is.category", "is.colour"]
    numbers = [(one["name"], one["placeholder"]) for one in found.all("input", type="number")]
    assert numbers == [("min.price", "0"), ("max.price", "290")]
    assert found.all("p", id="status", role="status")
    assert found.all("input", id="photo")[0].keys() >= {"disabled"}  # else a form without script sends its name


def test_a_search_without_script(client):
    answer = client.get("/", params={"q": "blue dress", "is.category": "Dresses", "min.price": "50", "photo": ""})
    found = elements(answer)
    assert likes(found)[0] == "07.png" and len(likes(found)) == 13
    assert found.all("input", id="q", value="blue dress") and found.all("input", name="min.price", value="50")
    assert answer.text.count("<option selected>") == 1 and "<option selected>Dresses</option>" in answer.text
    more_like = found.all("a", **{"data-like": "07.png"})[0]["href"]
    assert more_like == "/?like=07.png&is.category=Dresses&min.price=50"
    again = elements(client.get(more_like))
    assert likes(again) and "07.png" not in likes(again)
    assert again.all("input", id="like", value="07.png") and "Blue dress 7" in client.get(more_like).text


def test_results_for_the_script(client):
    asked = {"q": "dress", "negative": "blue", "is.colour": "Green", "min.price": "", "weight": "0.5", "like": ""}
    answer = client.post("/results", data=asked)
    found = elements(answer)
    assert not found.all("html") and likes(found)[0] == "05.png"
    assert answer.headers["hx-push-url"] == "/?q=dress&negative=blue&is.colour=Green"
    assert likes(elements(client.get(answer.headers["hx-push-url"]))) == likes(found)
    assert found.all("hx-partial", **{"hx-target": "#status"}) and "10 photos found" in answer.text


def test_results_for_a_photo(client):
    photo = {"photo": ("green.png", photo_bytes(), "image/png")}
    answer = client.post("/results", data={"q": "", "max.price": "60"}, files=photo)
    assert likes(elements(answer))[:2] == ["02.png", "05.png"] and "Like your photo" in answer.text
    assert answer.headers["hx-push-url"] == "/?max.price=60"  # a photo has no place in an address
    answer = client.post("/results", data={"q": "blue"}, files={"photo": ("", b"")})  # no photo chosen
    assert likes(elements(answer))[0] == "01.png"
    answer = client.post("/results", files={"photo": ("a.png", b"no photo")})
    assert answer.status_code == 422 and "That is not a photo." in answer.text


def test_more_of_them(client):
    found = elements(client.post("/results", data={"q": "dress"}))
    assert len(likes(found)) == 24 and found.all("button", name="k", value="48", form="search")
    found = elements(client.post("/results", data={"q": "dress", "k": "48"}))
    assert len(likes(found)) == 31 and not found.all("button", name="k")
    assert len(likes(elements(client.post("/results", data={"q": "dress", "k": "5"})))) == 5


def test_nothing_asked_nothing_found_and_refused(client):
    answer = client.post("/results", data={"q": "  "})
    assert "What are you looking for?" in answer.text and answer.headers["hx-push-url"] == "/"
    nothing = {"q": "dress", "is.colour": "Red", "min.price": "900", "negative": "blue"}
    found = elements(answer := client.post("/results", data=nothing))
    assert "Nothing found" in answer.text and "Loosen one" in answer.text
    assert found.all("a", href="/?q=dress&negative=blue")
    for asked, message in {
        ("q", "d" * 501): "q: 501 characters",
        ("min.price", "cheap"): "Price: got &#39;cheap&#39;, expected a number.",
        ("min.price", "nan"): "expected a number",
        ("weight", "heavy"): "weight and k: expected numbers.",
        ("weight", "nan"): "weight and k: expected numbers.",
        ("like", "nobody"): "like=nobody: unknown.",
    }.items():
        form = {"q": "dress"} | dict([asked])
        for answer in (client.post("/results", data=form), client.get("/", params=form)):
            found = elements(answer, 422)
            assert found.all("div", role="alert") and message in answer.text
        assert found.all("html")


def test_product_texts_stay_text(client, odd):
    for answer in (
        client.get("/", params={"q": '<script>alert(2)</script>"><img src=x>', "is.category": '"><b>'}),
        client.get("/", params={"like": odd}),
        client.post("/results", data={"q": "<script>alert(2)</script> red", "k": "40"}),
    ):
        found = elements(answer)
        assert not found.all("b") and not found.all("img", src="x")
        assert all(one.get("src", "").startswith("/static/") for one in found.all("script"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;co&#34;" in answer.text
    assert found.all("img", src="/images/new/50%25%20off%3F.jpg")


@pytest.mark.parametrize("path", ["/", "/?q=red", "/?q=red&min.price=x", "/?like=00.png", "/static/page.css"])
def test_nothing_comes_from_elsewhere(client, path):
    answer = client.get(path)
    assert not re.search(r"https?:|//[a-z]", answer.text)
    for tag, attributes in Elements(answer.text).found:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        for name in ("src", "href", "action", "hx-post"):
            assert attributes.get(name, "/").startswith(("/", "#")), (tag, attributes)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_headers_are_on_every_answer(client):
    for path in ("/nowhere", "/api/search?q=boom", "/api/search?q=boom&k=0", "/static/page.js"):
        assert "default-src 'self'" in client.get(path).headers["content-security-policy"], path


def test_every_control_has_a_name(client):
    found = elements(client.get("/", params={"q": "red", "like": "00.png"}))
    ids = {one.get("for") for one in found.all("label")}
    text = client.get("/").text
    for one in found.all("input") + found.all("select"):
        if one.get("type") == "hidden" or "aria-label" in one or one.get("id") in ids:
            continue
        name = re.escape(f'name="{one["name"]}"')
        assert re.search(rf"<label[^>]*>(?:(?!</label>).)*{name}", text, re.DOTALL), one


def test_pages_that_are_not_there(client):
    for path in ("/docs", "/nowhere"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.json() == {"detail": "Not Found"}


def test_what_is_vendored_names_its_licence():
    vendored = {path.name for path in (PAGE / "static/vendor").iterdir()} - {"LICENSES"}
    licences = (PAGE / "static/vendor/LICENSES").read_text()
    assert vendored and all(f"{name}:" in licences for name in vendored)
