"""Logos to lay over photos: those of a folder, or a handful drawn here."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw

from fashionclip.errors import InputError
from fashionclip.images import SUFFIXES, UnreadableImageError, load_image, open_photo

DRAWN_SIDE = 256  # px
Point = tuple[float, float]


def _by_angle(radius: Callable[[float], float], *, count: int) -> list[Point]:
    """An outline around (0, 0), given its radius at each of `count` angles, clockwise from the top."""
    angles = [2 * math.pi * step / count for step in range(count)]
    return [(radius(angle) * math.sin(angle), -radius(angle) * math.cos(angle)) for angle in angles]


def _star(angle: float) -> float:
    return 1.0 if round(angle / (math.pi / 5)) % 2 == 0 else 0.42


def _heart() -> list[Point]:
    angles = [2 * math.pi * step / 90 for step in range(90)]
    curve = [(16 * math.sin(a) ** 3, 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a)) for a in angles]
    return [(x / 17, -(y + 2) / 17) for x, y in curve]


_QUARTERS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # cosine and sine of four turns
_ARM = ((0.98, -0.36), (0.98, 0.36), (0.36, 0.36))
# Each differs from every other in outline as well as in colour.
DRAWN: dict[str, tuple[list[Point], str]] = {
    "bolt": (
        [(0.15, -1), (-0.62, 0.15), (-0.08, 0.15), (-0.25, 1), (0.62, -0.25), (0.08, -0.25), (0.5, -1)],
        "#e8a800",
    ),
    "cross": ([(x * a - y * b, x * b + y * a) for a, b in _QUARTERS for x, y in _ARM], "#c81e2d"),
    "disc": (_by_angle(lambda angle: 0.95, count=90), "#1d5fd1"),
    "flower": (_by_angle(lambda angle: 0.72 + 0.25 * math.cos(6 * angle), count=180), "#8e24aa"),
    "heart": (_heart(), "#e0407b"),
    "hexagon": (_by_angle(lambda angle: 0.98, count=6), "#1a7f4b"),
    "star": (_by_angle(_star, count=10), "#f26a1b"),
    "triangle": (_by_angle(lambda angle: 1.0, count=3), "#202833"),
}  # fmt: skip


def find_logos(folder: Path | str | None) -> dict[str, str]:
    """The logos below a folder, or the drawn ones.

    Returns:
        File of each class. The class is the path below the folder without suffix; a drawn logo has no file ("").

    Raises:
        InputError: Two files of one class, one that cannot be read or is wholly transparent, or a name with ", ".
    """
    if folder is None:
        return dict.fromkeys(DRAWN, "")
    found: dict[str, str] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise InputError(f"{path}: a second logo {name!r} beside {found[name]}. Rename one of them.")
            if ", " in name:
                raise InputError(f"{path}: a logo's name may not hold ', ', which stands between names. Rename it.")
            load_logo(name, str(path))  # a broken file must be found now
            found[name] = str(path)
    return found


@lru_cache(maxsize=128)
def load_logo(name: str, file: str) -> Image.Image:
    """A logo as an RGBA picture without transparent margins; do not draw on it, it is shared.

    A file without transparency, such as a JPEG, is a logo with all of its background.

    Raises:
        InputError: The file cannot be read, or nothing of it can be seen.
    """
    if not file:
        return _draw(*DRAWN[name])
    try:
        with open_photo(file) as image:
            logo = (image if image.has_transparency_data else load_image(file)).convert("RGBA")
    except UnreadableImageError as error:
        reason = error.__cause__ or error
        raise InputError(f"{file}: no logo that can be read ({reason}). Remove or replace the file.") from None
    box = logo.getchannel("A").getbbox()
    if box is None:
        raise InputError(f"{file}: every pixel is transparent. Remove or replace the logo.")
    return logo.crop(box)


def _draw(outline: list[Point], colour: str) -> Image.Image:
    """Draws an outline in its colour with a white border, which sets it off from any photo."""
    side = 2 * DRAWN_SIDE  # halved at the end, for smooth edges
    board = Image.new("RGBA", (side, side))
    for scale, fill in ((0.98, "white"), (0.78, colour)):
        points = [(side / 2 * (1 + scale * x), side / 2 * (1 + scale * y)) for x, y in outline]
        ImageDraw.Draw(board).polygon(points, fill=fill)
    board = board.reduce(2)
    return board.crop(board.getchannel("A").getbbox())
