"""Fonts, and captions set in them as large as a given space allows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations, pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fashionclip.errors import InputError

MEASURED_AT = 64  # px; text widths are close to linear in the size, so one measurement tells the others
GLYPH_BOARD = 96  # px
NO_CHARACTER = "\U0010ffff"  # Unicode has none there, so every font shows its sign for a missing glyph
_PENCIL = ImageDraw.Draw(Image.new("L", (1, 1)))  # only measures


@dataclass(frozen=True)
class Block:
    """A caption in lines, with its font size, its outline's width and, drawn at (0, 0), its ink's box, in pixels."""

    text: str
    size: int
    outline: int
    ink: tuple[int, int, int, int]

    @property
    def width(self) -> int:
        return self.ink[2] - self.ink[0]

    @property
    def height(self) -> int:
        return self.ink[3] - self.ink[1]


def find_fonts(folder: Path | str | None) -> tuple[str, ...]:
    """The TrueType and OpenType files below a folder, or the DejaVu fonts that come with matplotlib.

    Raises:
        InputError: The folder has none, or one of them is no font.
    """
    if folder is None:
        import matplotlib

        # matplotlib's other fonts are for formulas, or show every character as a sign for a missing one.
        files = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))
    else:
        files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".ttf", ".otf"))
    if not files:
        raise InputError(f"overlays.text.fonts={folder}: no .ttf or .otf file there. Give a folder of fonts, or null.")
    for file in files:
        try:
            load_font(str(file), MEASURED_AT)
        except OSError as error:
            raise InputError(f"{file}: no font that can be read ({error}). Remove or replace the file.") from None
    return tuple(map(str, files))


@lru_cache(maxsize=1024)
def load_font(file: str, size: int) -> ImageFont.FreeTypeFont:
    """Opens a font in a size (px), with the basic layout: the other one is not on every machine and moves letters."""
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def has_glyphs(file: str, text: str) -> bool:
    """Whether a font can show every character of a text."""
    return all(_has_glyph(file, letter) for letter in set(text) if not letter.isspace())


def fit_text(
    text: str,
    *,
    font: str,
    width: float,
    height: float,
    max_lines: int,
    min_size: int,
    outline: float = 0.0,
    scale: float = 1.0,
) -> Block | None:
    """Sets a text as large as it can be, broken between words.

    Args:
        text: Words between single spaces.
        font: File of the font.
        width, height: Size of the space, in pixels.
        max_lines: Number of lines, at most.
        min_size: Smallest font size, in pixels.
        outline: Width of the letters' outline, as a share of the font size; at least one pixel unless it is 0.
        scale: Share of the largest size that is used, in (0, 1], but never below `min_size`.

    Returns:
        The block, or None where the text would have to be smaller than `min_size`.
    """
    sizes = {}
    for lines in _wrappings(text.split(), face=load_font(font, MEASURED_AT), max_lines=max_lines):
        block = _set(lines, font=font, size=MEASURED_AT, outline=outline)
        sizes[lines] = MEASURED_AT * min(width / max(1, block.width), height / max(1, block.height))
    lines = max(sizes, key=sizes.__getitem__)
    for size in range(max(min_size, int(scale * sizes[lines])), min_size - 1, -1):
        block = _set(lines, font=font, size=size, outline=outline)
        if block.width <= width and block.height <= height:  # hinting makes some sizes a little wider than linear
            return block
    return None


def draw_text(photo: Image.Image, block: Block, *, left: int, top: int, font: str, colour: str, around: str) -> None:
    """Draws a block onto a photo: its ink begins at (left, top), in pixels; its outline has the colour `around`."""
    ImageDraw.Draw(photo).multiline_text(
        (left - block.ink[0], top - block.ink[1]),
        block.text,
        fill=colour,
        font=load_font(font, block.size),
        spacing=line_spacing(block.size),
        align="center",
        stroke_width=block.outline,
        stroke_fill=around,
    )


def line_spacing(size: int) -> int:
    """Pixels between two lines of a font size: descenders just miss the capitals below."""
    return size // 8


def _set(text: str, *, font: str, size: int, outline: float) -> Block:
    stroke = max(1, round(outline * size)) if outline else 0
    left, top, right, bottom = _PENCIL.multiline_textbbox(
        (0, 0), text, font=load_font(font, size), spacing=line_spacing(size), align="center", stroke_width=stroke
    )
    return Block(text, size, stroke, (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)))


def _wrappings(words: list[str], *, face: ImageFont.FreeTypeFont, max_lines: int) -> Iterator[str]:
    """For each number of lines, the text with the breaks that make the longest line shortest."""
    widths, space = [face.getlength(word) for word in words], face.getlength(" ")

    def longest_line(edges: tuple[int, ...]) -> float:
        return max(sum(widths[a:b]) + space * (b - a - 1) for a, b in pairwise(edges))

    for lines in range(1, min(max_lines, len(words)) + 1):
        choices = ((0, *breaks, len(words)) for breaks in combinations(range(1, len(words)), lines - 1))
        edges = min(choices, key=longest_line)
        yield "\n".join(" ".join(words[a:b]) for a, b in pairwise(edges))


@cache
def _has_glyph(file: str, letter: str) -> bool:
    return _glyph(file, letter) != _glyph(file, NO_CHARACTER)


def _glyph(file: str, letter: str) -> bytes:
    board = Image.new("L", (GLYPH_BOARD, GLYPH_BOARD))
    ImageDraw.Draw(board).text((GLYPH_BOARD // 4,) * 2, letter, fill=255, font=load_font(file, GLYPH_BOARD // 2))
    return board.tobytes()
