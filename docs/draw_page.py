"""Draws the pictures of the search page that the README shows.

    python docs/draw_page.py INDEX --query "yellow floral dress" --to docs

Serves the index on a free port, opens it in Chromium and writes page.png (a desktop, light), page_phone.png (a phone,
dark) and, after "more like this" and a few words, page_like.png. Only of photos that may be published: an index of the
drawn demo catalogue, say.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
)
DESKTOP = {"viewport": {"width": 1280, "height": 860}}
PHONE = {
    "viewport": {"width": 390, "height": 800},
    "device_scale_factor": 1.5,
    "has_touch": True,
    "is_mobile": True,
    "color_scheme": "dark",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="folder that `fashionclip index` wrote")
    parser.add_argument("--to", type=Path, default=Path("docs"), help="folder of the pictures (default docs)")
    parser.add_argument("--query", default="yellow floral dress", help="what to look for")
    parser.add_argument("--words", default="blue", help="what to add to a photo")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("error: chromium is not installed; it draws the page. Install it (apt-get install chromium).")
    command = [sys.executable, "-m", "fashionclip", "serve", str(options.index), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        said = next((line for line in server.stdout if line.startswith("serving")), None)
        if said is None:
            sys.exit(server.wait() or 1)  # it has said why
        address = said.partition(" on ")[2].split()[0]
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS.split())
        try:
            page = browser.new_context(**DESKTOP).new_page()
            found = f"{address}/?{urlencode({'q': options.query})}"
            draw(page, found, options.to / "page.png")
            like = page.get_attribute(".card .photo", "data-like")
            draw(page, f"{address}/?{urlencode({'q': options.words, 'like': like})}", options.to / "page_like.png")
            draw(browser.new_context(**PHONE).new_page(), found, options.to / "page_phone.png")
        finally:
            browser.close()
            server.terminate()


def draw(page: Page, address: str, picture: Path) -> None:
    page.goto(address, wait_until="networkidle")
    page.wait_for_selector(".card")
    page.screenshot(path=picture)
    print(picture)


if __name__ == "__main__":
    main()
