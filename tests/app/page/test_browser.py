"""The page in a real Chromium, as a person uses it."""

import asyncio
import base64
import io
import shutil
import socket
import threading

import pytest
import uvicorn
from PIL import Image

from fashionclip.app.page.app import create_app
from fashionclip.app.page.request_limits import RequestLimits

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: apt-get install chromium")


@pytest.fixture
def address(searcher):
    """The fake searcher's page, served for real."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(searcher, limits=RequestLimits(upload=200_000))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS.split())
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, address):
    """`opened(**options)` opens the page; no test may see an error, or a request that leaves this machine."""
    wrong, expected = [], []

    def open_page(**options):
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: wrong.append(asked.url) if not ours(asked.url) else None)
        page.goto(address)
        return page

    def ours(url):
        return url.startswith((address + "/", "blob:" + address))

    open_page.expected = expected
    yield open_page
    assert [one for one in wrong if not any(part in one for part in expected)] == []


def photo(colour, side=60):
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return file.getvalue()


def drop(page, data, name="mine.png"):
    """Drags a file over the page and lets go."""
    transfer = page.evaluate_handle(
        """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
            return transfer;
        }""",
        [base64.b64encode(data).decode(), name],
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    assert page.is_visible("#drop")
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    assert page.is_hidden("#drop")


def first(page, image_id):
    """Waits until this is the first result."""
    page.wait_for_selector(f".card:first-child [data-like='{image_id}']")


def test_a_search(opened, address, odd):
    page = opened()
    assert page.is_visible("text=What are you looking for?")
    page.keyboard.press("/")
    page.keyboard.type("blue dress")
    page.keyboard.press("Enter")
    first(page, "01.png")
    assert page.url == f"{address}/?q=blue+dress" and page.title() == "blue dress · fashionclip"
    assert page.inner_text("#status") == "24 photos found" and page.locator(".card").count() == 24
    assert page.evaluate("[...document.images].every((one) => one.loading == 'lazy' || one.complete)")

    page.select_option("[name='is.colour']", "Green")  # searches at once
    first(page, "05.png")
    page.fill("[name='min.price']", "200")
    page.press("[name='min.price']", "Enter")
    first(page, "23.png")
    assert page.url == f"{address}/?q=blue+dress&is.colour=Green&min.price=200"
    page.reload()
    first(page, "23.png")
    assert page.input_value("#q") == "blue dress" and page.input_value("[name='is.colour']") == "Green"
    page.fill("[name='min.price']", "9000")
    page.press("[name='min.price']", "Enter")
    page.click("text=Clear filters >> nth=-1")  # of the message that nothing was found
    first(page, "01.png")

    page.focus(".card:nth-child(1) .photo")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.like") == "07.png"
    page.keyboard.press("Enter")  # more like this
    page.wait_for_selector("#look:visible")
    page.wait_for_url("**/?like=07.png")
    assert page.input_value("#q") == "" and page.inner_text("#look-name") == "Blue dress 7"
    page.go_back()
    first(page, "01.png")
    assert page.input_value("#q") == "blue dress"

    page.fill("#q", "script")
    page.select_option("[name='is.category']", "<b>Odd</b>")
    first(page, odd)
    assert page.inner_text(".text").startswith("<script>alert(1)</script>")
    assert page.evaluate("document.images[document.images.length - 1].decode().then(() => true)")


def test_a_photo(opened, searcher):
    page = opened()
    drop(page, photo("lime"))
    first(page, "02.png")
    assert page.inner_text("#look-name") == "mine.png" and page.is_visible("text=Like your photo")
    assert page.is_hidden("#mix")
    page.fill("#q", "blue")
    assert page.is_visible("#mix")
    page.evaluate("document.getElementById('weight').value = 0.1")
    page.press("#q", "Enter")
    first(page, "01.png")
    page.evaluate("document.getElementById('weight').value = 0.9")
    page.dispatch_event("#weight", "change")
    first(page, "02.png")
    page.keyboard.press("Escape")  # words alone
    first(page, "01.png")
    assert page.is_hidden("#look") and page.evaluate("document.activeElement.id") == "q"
    page.set_input_files("#photo", {"name": "red.png", "mimeType": "image/png", "buffer": photo("red")})
    page.fill("#q", "")
    page.press("#q", "Enter")
    first(page, "00.png")


def test_what_goes_wrong(opened, searcher):
    page = opened()
    opened.expected += ["status of 422", "status of 500", "ERR_CONNECTION_REFUSED", "Failed to fetch"]
    drop(page, b"no photo")
    page.wait_for_selector("[role=alert] >> text=That is not a photo.")
    drop(page, bytes(300_000))
    page.wait_for_selector("[role=alert] >> text=The photo has 0.3 MB, at most")
    page.keyboard.press("Escape")
    page.fill("#q", "boom")
    page.press("#q", "Enter")
    page.wait_for_selector("[role=alert] >> text=Something went wrong here.")
    searcher.free.clear()
    page.fill("#q", "red")
    page.press("#q", "Enter")
    page.wait_for_selector("#results[aria-busy=true]")
    assert page.is_visible("#main.htmx-request .busy")
    searcher.free.set()
    first(page, "00.png")
    page.route("**/results", lambda route: route.abort("connectionrefused"))
    page.press("#q", "Enter")
    page.wait_for_selector("[role=alert] >> text=The service does not answer.")


def test_a_phone(opened):
    page = opened(**PHONE)
    page.fill("#q", "red dress")
    page.tap("button[type=submit] >> text=Search")
    first(page, "03.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.is_hidden("#filters")
    page.tap("#open-filters")
    assert page.is_visible("#filters") and page.get_attribute("#open-filters", "aria-expanded") == "true"
    page.select_option("[name='is.colour']", "Blue")
    first(page, "01.png")
    assert page.inner_text("#set") == "1"
    small = """[...document.querySelectorAll("a, button, select, input, label")].filter((one) => {
        const { width, height } = one.getBoundingClientRect();
        return one.checkVisibility() && !one.closest(".unseen") && !one.classList.contains("unseen")
            && (one.closest("label")?.getBoundingClientRect().height ?? height) < 44 && width > 1;
    }).map((one) => one.outerHTML)"""
    assert page.evaluate(small) == []


def test_without_script(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    page.fill("#q", "blue dress")
    page.press("#q", "Enter")
    page.wait_for_selector("[data-like='01.png']")
    page.select_option("[name='is.colour']", "Green")
    page.click("text=Apply")
    page.wait_for_selector(".card:first-child .photo[data-like='05.png']")
    page.click(".card:first-child .photo")
    page.wait_for_selector("text=Like this photo")
    assert page.inner_text("#look-name") == "Green dress 5"
