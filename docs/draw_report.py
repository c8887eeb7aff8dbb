"""Draws the picture of a run's report that the README shows.

    python docs/draw_report.py RUN/report.html --to docs/report.png

Opens the report in Chromium, without a network, and writes its first direction. Only of photos that may be published:
a run on the drawn demo catalogue, say.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="report.html of a run")
    parser.add_argument("--to", type=Path, default=Path("docs/report.png"), help="picture (default docs/report.png)")
    parser.add_argument("--height", type=int, default=1600, help="pixels of the picture (default 1600)")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("error: chromium is not installed; it draws the page. Install it (apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_context(offline=True, viewport={"width": 1280, "height": options.height}).new_page()
        page.goto(options.report.absolute().as_uri())
        page.evaluate("scrollTo(0, document.querySelector('#direction-1').getBoundingClientRect().top - 16)")
        picture = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(options.to, optimize=True)  # half the bytes
    print(options.to)


if __name__ == "__main__":
    main()
