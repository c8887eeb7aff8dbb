import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import drawn_photos
import pytest

from fashionclip.prepare import download
from fashionclip.prepare.download import download_photos


def jpeg():
    photo = io.BytesIO()
    drawn_photos.draw(0, size=(60, 40)).save(photo, "JPEG")
    return photo.getvalue()


PHOTO = jpeg()


class Shop(BaseHTTPRequestHandler):
    """Answers by the first part of the path; `asked` counts the requests of each path."""

    asked: Counter
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status=200, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        what = self.path.split("/")[1]
        self.asked[self.path] += 1
        times = self.asked[self.path]
        if what == "good":
            self.answer(body=PHOTO)
        elif what == "busy":  # at first
            self.answer(503 if times == 1 else 500) if times <= 2 else self.answer(body=PHOTO)
        elif what == "down":
            self.answer(500)
        elif what == "later":
            self.answer(429, Retry_After=86_400) if times == 1 else self.answer(body=PHOTO)
        elif what == "endless":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            self.send_until_told(PHOTO)
        elif what == "drip":  # never silent for long
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            self.send_until_told(b"\xff", pause=0.05)
        elif what == "page":
            self.answer(body=b"<!doctype html><title>Not here</title>", Content_Type="text/html")
        elif what == "disguised":
            self.answer(body=b"<svg/>", Content_Type="image/jpeg")
        elif what == "cut":
            self.answer(body=PHOTO[:200], Content_Length=len(PHOTO))
            self.close_connection = True
        elif what == "silent":
            time.sleep(float(self.path.split("/")[2]))
        elif what == "moved":
            self.answer(302, Location="/good/elsewhere.jpg")
        elif what == "round":
            self.answer(302, Location=self.path)
        elif what == "file":
            self.answer(302, Location="file:///etc/hosts")
        elif what == "endless_redirect":
            self.send_response(302)
            self.send_header("Location", "/good/1.jpg")
            self.end_headers()
            self.close_connection = True
            self.send_until_told(PHOTO)
        else:
            self.answer(404)

    def send_until_told(self, data, pause=0.0):
        try:
            for _ in range(20_000):
                self.wfile.write(data)
                time.sleep(pause)
        except OSError:
            pass


@pytest.fixture
def shop():
    handler = type("Handler", (Shop,), {"asked": Counter()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    server.asked = handler.asked
    server.url = lambda path: f"http://127.0.0.1:{server.server_port}/{path}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(download, "BACK_OFF", 0.01)


@pytest.fixture
def get(shop, tmp_path):
    def get(*paths, max_bytes=100_000, retries=2, timeout=5.0):
        urls = [path if ":" in path or not path else shop.url(path) for path in paths]
        found = download_photos(urls, cache=tmp_path / "cache", max_bytes=max_bytes, retries=retries, timeout=timeout)
        assert set(found) == set(urls)
        return [found[url] for url in urls]

    return get


def test_photos_are_downloaded_once_each(get, shop, tmp_path):
    one, again, moved, query = get("good/1.jpg", "good/1.jpg", "moved/1.PNG", "good/1.jpg?size=2")
    assert one == again and len({one, moved, query}) == 3
    assert one.parent == tmp_path / "cache" and one.suffix == ".jpg" and moved.suffix == ".png"
    assert {path.read_bytes() for path in (one, moved, query)} == {PHOTO}
    asked = dict(shop.asked)
    assert get("good/1.jpg", "moved/1.PNG") == [one, moved]  # by a second run
    assert shop.asked == asked and shop.asked["/good/1.jpg"] == 1
    moved.unlink()  # which a killed run has not got
    assert get("good/1.jpg", "moved/1.PNG") == [one, moved]
    assert shop.asked["/good/1.jpg"] == 1 and shop.asked["/moved/1.PNG"] == 2
    assert sorted(path.name for path in one.parent.iterdir()) == sorted(path.name for path in (one, moved, query))


def test_passing_faults_are_tried_again_and_lasting_ones_are_not(get, shop):
    busy, down, gone, cut = get("busy/1.jpg", "down/1.jpg", "gone/1.jpg", "cut/1.jpg")
    assert busy.read_bytes() == PHOTO and shop.asked["/busy/1.jpg"] == 3
    assert down == "HTTP 500" and shop.asked["/down/1.jpg"] == 3
    assert gone == "HTTP 404" and shop.asked["/gone/1.jpg"] == 1
    assert cut.startswith("RemoteProtocolError: ") and shop.asked["/cut/1.jpg"] == 3


def test_a_server_may_ask_for_a_pause_no_longer_than_the_timeout(get, shop):
    begin = time.monotonic()
    [photo] = get("later/1.jpg", timeout=0.2)
    assert 0.2 <= time.monotonic() - begin < 5 and photo.read_bytes() == PHOTO and shop.asked["/later/1.jpg"] == 2


def test_what_is_no_photo_is_refused_with_its_reason(get, shop, tmp_path):
    assert get("page/1.jpg", "disguised/1.jpg", "round/1.jpg", "file/1.jpg") == [
        "no photo (text/html)",
        "no photo (image/jpeg)",
        "more than 5 redirects",
        "no http(s) address, or one that leads to another kind",
    ]
    assert shop.asked["/page/1.jpg"] == 1 and not any((tmp_path / "cache").iterdir())


def test_no_answer_is_read_beyond_its_bounds(get):
    begin = time.monotonic()
    assert get("endless/1.jpg", "endless_redirect/1.jpg")[0] == "larger than 100,000 bytes"
    assert get("silent/9/1.jpg", "drip/1.jpg", retries=0, timeout=0.3) == [
        "no answer within 0.3 s",
        "no whole answer within 0.3 s",
    ]
    assert time.monotonic() - begin < 5


def test_an_address_that_is_none_keeps_no_other_photo_out(get, shop):
    bad = ["", "1.jpg:", "http://", "http://[::1", "http://127.0.0.1:99999/1.jpg", "http://a..b/1.jpg", "ftp://a/1.jpg"]
    bad += ["file:///etc/hosts", "data:,1", "http://\ud800/1.jpg", f"http://{'a' * 70}/", "http://127.0.0.1:1/1.jpg"]
    *reasons, photo = get(*bad, "good/ü 1.jpg", retries=0)
    assert photo.read_bytes() == PHOTO
    assert all(isinstance(reason, str) and reason for reason in reasons)


def test_one_interrupt_ends_all_downloads_at_once(shop, tmp_path):
    script = (
        "import signal, sys; from pathlib import Path; from fashionclip.prepare.download import download_photos\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background jobs ignore
        "download_photos(sys.argv[2:], cache=Path(sys.argv[1]), max_bytes=9999, retries=9, timeout=60)"
    )
    urls = [shop.url(f"{what}/60/{k}.jpg") for what in ("silent", "good") for k in range(7)]
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "cache"), *urls], stderr=subprocess.PIPE, env=os.environ
    )
    cache = tmp_path / "cache"
    while shop.asked.total() < 14 or len(list(cache.glob("*.jpg"))) < 7:
        assert run.poll() is None
        time.sleep(0.02)
    begin = time.monotonic()
    run.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in run.communicate(timeout=30)[1]
    assert time.monotonic() - begin < 5
    assert len(list(cache.glob("*.jpg"))) == 7  # which a second run does not ask for again
