"""A sheet of photos with their texts, for somebody to look through."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

from fashionclip.atomic import whole_file
from fashionclip.images import load_image

ACROSS = 6  # photos in a line
SIDE, GAP, MARGIN = 220, 16, 24  # pixels: of a photo's square, between two, around all
TITLE, TEXT, NOTE = 22, 14, 12  # pixels: sizes of letters
TEXT_LINES = 4
INK, GREY, PAPER, BACK = "#1a1a1a", "#6b6b6b", "white", "#f3f3f1"

Font = ImageFont.FreeTypeFont


class Tile(NamedTuple):
    """A photo on a sheet: its file, the text below it, a note in small letters below that, and their colour."""

    photo: Path
    text: str
    note: str = ""
    colour: str = GREY


def draw_contact_sheet(picture: Path, sections: Sequence[tuple[str, Sequence[Tile]]]) -> None:
    """Draws sections of photos, each section below its title.

    Args:
        picture: PNG to write; its folder exists.
        sections: Title and tiles of each section; all photos can be decoded.
    """
    title, text, note = (_font(size, bold=size == TITLE) for size in (TITLE, TEXT, NOTE))
    high = SIDE + 10 + TEXT_LINES * (TEXT + 4) + NOTE + 8  # pixels of a tile
    lines = [-(-len(tiles) // ACROSS) for _, tiles in sections]
    width = 2 * MARGIN + ACROSS * SIDE + (ACROSS - 1) * GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + sum(2 * TITLE + (high + GAP) * of for of in lines)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for (says, tiles), of in zip(sections, lines, strict=True):
        draw.text((MARGIN, top), says, INK, title)
        top += 2 * TITLE - 8
        for nth, tile in enumerate(tiles):
            left, upper = MARGIN + nth % ACROSS * (SIDE + GAP), top + nth // ACROSS * (high + GAP)
            draw.rectangle((left, upper, left + SIDE - 1, upper + SIDE - 1), BACK)
            photo = ImageOps.contain(load_image(tile.photo, at_least=SIDE), (SIDE, SIDE))
            sheet.paste(photo, (left + (SIDE - photo.width) // 2, upper + (SIDE - photo.height) // 2))
            if tile.colour != GREY:
                draw.rectangle((left, upper, left + SIDE - 1, upper + SIDE - 1), outline=tile.colour, width=4)
            below = upper + SIDE + 8
            for line in _wrapped(tile.text, text, most=TEXT_LINES):
                draw.text((left, below), line, INK, text)
                below += TEXT + 4
            for line in _wrapped(tile.note, note, most=1):
                draw.text((left, below + 2), line, tile.colour, note)
        top += (high + GAP) * of + 8
    with whole_file(picture, sync=False) as stream:
        sheet.save(stream, "PNG")


def _font(size: int, *, bold: bool) -> Font:
    import matplotlib

    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(fonts / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def _wrapped(text: str, font: Font, *, most: int) -> list[str]:
    """A text in at most so many lines, none of them wider than a photo; what does not fit ends in an ellipsis."""
    for letters in range(SIDE // 4, 8, -1):
        lines = textwrap.wrap(text, letters, max_lines=most, placeholder="…")
        if all(font.getlength(line) <= SIDE for line in lines):
            break
    return lines
