"""What is laid over a photo: a caption, or logos. Each class here can be chosen in YAML by `_target_`.

An overlay is told what to show (`Content`) and leaves to chance how: colour, font, size and place come from one
distribution for anchors, positives and semi-positives, so that only the content tells them apart.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageColor

from fashionclip.errors import InputError
from fashionclip.prepare.synthetic_triplets.logos import find_logos, load_logo
from fashionclip.prepare.synthetic_triplets.text_layout import draw_text, find_fonts, fit_text, has_glyphs

COLOURS = (
    "white", "black", "red", "gold", "navy", "darkgreen", "deeppink", "darkorange", "cyan", "purple",
)  # fmt: skip
TRIES = 20  # places tried before an overlay is given up
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom lie just outside
_LINEAR = np.array([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255])


@dataclass(frozen=True)
class Content:
    """What an overlay shows.

    Attributes:
        caption: Content of the family's anchor.
        rendered: Content that is shown: a caption, or the classes of logos joined by ", ".
        edit: Way from the anchor's content to this one: "none", "edited" or "replaced".
        distance: Distance between the anchor's content and this one, in [0, 1].
        logos: Classes of the logos.
        fonts: Files of the fonts that a caption may be set in; empty for all of the overlay's.
    """

    caption: str
    rendered: str
    edit: str = "none"
    distance: float = 0.0
    logos: tuple[str, ...] = ()
    fonts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """What was drawn: the overlay's box, its size (pixels of the font, or of the longest side of a logo), and how."""

    box: Box
    size: int
    font: str = ""
    colour: str = ""
    logos: tuple[tuple[str, Box], ...] = ()


class NotDrawnError(Exception):
    """An overlay that cannot be laid over this photo; it is counted under `reason`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Overlay(Protocol):
    """Draws a content. Its `repr` holds all its settings, and `files` names the files that it draws from."""

    files: tuple[str, ...]

    def draw(self, photo: Image.Image, content: Content, *, safe: Box, rng: random.Random) -> Drawn:
        """Draws onto the photo itself, within the safe box.

        Raises:
            NotDrawnError: It cannot be done; the photo may be altered.
        """
        ...


@dataclass(kw_only=True)
class TextOverlay:
    """A caption in one colour, set in up to `max_lines` centred lines.

    Attributes:
        fonts: Folder of .ttf and .otf files; None takes the DejaVu fonts that come with matplotlib.
        colours: CSS names of colours, or "#rrggbb".
        places: Places of the block, of which one is taken by chance, as pairs (x, y): shares, in [0, 1], of the room
            left beside and above it; None is anywhere.
        max_width, max_height: Size of the largest block, as shares of the safe box's width and height less padding, or
            in pixels.
        max_lines: Number of lines, at most.
        scale: Range of the font size, in shares of the largest that fits.
        min_size: Smallest font size, in pixels of the written photo.
        min_contrast: Least contrast ratio, 1 to 21, of the colour against the mean of what it covers.
        outline: Width of the letters' outline, as a share of the font size; it is black or white, whichever is less
            like the colour, and keeps letters legible where a photo is busy. 0 draws none.
        padding: Width of the safe box's border that is kept free, as a share of its shorter side, or in pixels.

    Raises:
        InputError: There is no font, a font cannot be read, or a setting is out of its range.
    """

    fonts: Path | str | None = None
    colours: Sequence[str] = COLOURS
    places: Sequence[Sequence[float]] | None = None
    max_width: float = 0.9
    max_height: float = 0.3
    max_lines: int = 3
    scale: Sequence[float] = (0.85, 1.0)
    min_size: int = 10
    min_contrast: float = 3.0
    outline: float = 0.06
    padding: float = 0.03
    files: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.colours = tuple(self.colours)
        self.places = self.places and tuple((float(x), float(y)) for x, y in self.places)
        self.scale = _range("overlays.text.scale", self.scale)
        if not self.colours or self.places == () or min(self.max_lines, self.min_size) < 1 or not self.padding >= 0:
            raise InputError(
                "overlays.text: expected a colour, a place, max_lines >= 1, min_size >= 1, padding >= 0. Mend the YAML."
            )
        self.files = find_fonts(self.fonts)
        try:
            self._luminance = {colour: luminance(ImageColor.getrgb(colour)[:3]) for colour in self.colours}
        except ValueError as error:
            raise InputError(f"overlays.text.colours: {error}. Give CSS names or '#rrggbb'.") from None

    def draw(self, photo: Image.Image, content: Content, *, safe: Box, rng: random.Random) -> Drawn:
        left, top, right, bottom = inset(safe, self.padding)
        given = content.fonts or self.files
        fonts = [font for font in given if has_glyphs(font, content.rendered)]
        if not fonts:
            raise NotDrawnError("no_glyphs", f"none of {len(given)} fonts can show {content.rendered!r}")
        scale = rng.uniform(*self.scale)
        for font in rng.sample(fonts, len(fonts)):
            block = fit_text(
                content.rendered,
                font=font,
                width=min(in_pixels(self.max_width, right - left), right - left),
                height=min(in_pixels(self.max_height, bottom - top), bottom - top),
                max_lines=self.max_lines,
                min_size=self.min_size,
                outline=self.outline,
                scale=scale,
            )
            if block:
                break
        else:
            raise NotDrawnError(
                "too_small", f"{content.rendered!r} does not fit in {self.min_size} px on {photo.width}x{photo.height}"
            )
        for _ in range(TRIES):
            across, down = rng.choice(self.places) if self.places else (rng.random(), rng.random())
            x = left + round(across * (right - left - block.width))
            y = top + round(down * (bottom - top - block.height))
            box = (x, y, x + block.width, y + block.height)
            behind = luminance(np.asarray(photo.crop(box)))
            seen = [c for c in self.colours if contrast_ratio(self._luminance[c], behind) >= self.min_contrast]
            if seen:
                colour = rng.choice(seen)
                bright = self._luminance[colour]
                around = "black" if contrast_ratio(bright, 0.0) > contrast_ratio(bright, 1.0) else "white"
                draw_text(photo, block, left=x, top=y, font=font, colour=colour, around=around)
                return Drawn(box=box, size=block.size, font=Path(font).stem, colour=colour)
        raise NotDrawnError(
            "no_colour_seen", f"no colour reaches a contrast of {self.min_contrast} in {TRIES} places tried"
        )


@dataclass(kw_only=True)
class LogoOverlay:
    """One or several logos, which do not touch each other.

    `scales` and `positions` name a class of logos, or a folder that holds some; of several names, the nearest counts.

    Attributes:
        folder: Folder of logos, in any subfolder; a logo's class is its path below the folder without suffix. None
            takes those drawn in `fashionclip.prepare.synthetic_triplets.logos`.
        classes: Classes to use, None for all; where positions have names, those without one are left out.
        per_photo: Least and largest number of different logos on a photo.
        scale: Range of a logo's longer side, in shares of the safe box's shorter side less padding, or in pixels.
        scales: Ranges of logos that have their own, by name.
        keep_aspect: Whether width and height are scaled alike; else each is drawn from the range by itself.
        positions: Boxes (left, top, right, bottom) that logos fill instead of being scaled: in shares, in [0, 1], of
            the safe box less padding, or in pixels from its corner. In a list, each logo takes one by chance; by name,
            it takes its own, and a photo shows one logo of a name; nothing is then left to chance, and positives equal
            their anchor. With `keep_aspect` a logo is centred in its box.
        min_size: Smallest longer side of a logo, in pixels of the written photo.
        padding: Width of the safe box's border that is kept free, as a share of its shorter side, or in pixels.
        position_of: Name of each class's position; the class itself where positions have no names.

    Raises:
        InputError: A logo cannot be read, there are too few, or a setting is out of its range.
    """

    folder: Path | str | None = None
    classes: Sequence[str] | None = None
    per_photo: Sequence[int] = (1, 2)
    scale: Sequence[float] = (0.25, 0.4)
    scales: Mapping[str, Sequence[float]] | None = None
    keep_aspect: bool = True
    positions: Sequence[Sequence[float]] | Mapping[str, Sequence[float]] | None = None
    min_size: int = 24
    padding: float = 0.03
    files: tuple[str, ...] = field(init=False, repr=False)
    position_of: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = find_logos(self.folder)
        self.scale = _range("overlays.logo.scale", self.scale)
        self.scales = {name: _range(f"overlays.logo.scales.{name}", of) for name, of in (self.scales or {}).items()}
        named: dict[str, tuple[float, ...]] = {}
        if isinstance(self.positions, Mapping):
            self.positions = named = {name: _position(name, box) for name, box in self.positions.items()}
        elif self.positions is not None:
            self.positions = tuple(_position(place, box) for place, box in enumerate(self.positions))
        given = found if self.classes is None else self.classes
        classes = tuple(name for name in given if not named or _name_of(name, named))
        least, most = self.per_photo[0], self.per_photo[-1]
        if unknown := sorted(set(given) - set(found)):
            raise InputError(f"overlays.logo.classes: no {unknown} in {self.folder}; has {sorted(found)}. Mend them.")
        used = {_name_of(name, names) for name in classes for names in (named, self.scales)}
        if idle := sorted({*named, *self.scales} - used):
            raise InputError(
                f"overlays.logo: {idle} in scales or positions name no logo and no folder of logos among "
                f"{sorted(given)}. Mend the names."
            )
        if not 1 <= least <= most < len(classes):
            raise InputError(
                f"overlays.logo: {len(classes)} logos for per_photo={list(self.per_photo)}; expected two counts "
                "from 1, in order, and more logos than that (a semi-positive shows another). Add logos or lower it."
            )
        if self.positions is not None and (len(self.positions) < most or self.scales):
            raise InputError(
                f"overlays.logo.positions: got {len(self.positions)}, at least {most} needed, and no scales beside "
                "them, since a position says how large a logo is. Mend the YAML."
            )
        if not self.padding >= 0:
            raise InputError(f"overlays.logo.padding={self.padding}: expected 0 or more. Mend the YAML.")
        self.classes, self.per_photo = classes, (least, most)
        self.position_of = {name: _name_of(name, named) or name for name in classes}
        self._scale_of = {name: self.scales.get(_name_of(name, self.scales) or "", self.scale) for name in classes}
        self._logo_files = {name: found[name] for name in classes}
        self.files = tuple(file for file in self._logo_files.values() if file)

    def draw(self, photo: Image.Image, content: Content, *, safe: Box, rng: random.Random) -> Drawn:
        area = inset(safe, self.padding)
        logos = {name: load_logo(name, self._logo_files[name]) for name in content.logos}
        for _ in range(TRIES):
            positions: Sequence[Any] = [None] * len(logos)
            if isinstance(self.positions, Mapping):
                positions = [self.positions[self.position_of[name]] for name in logos]
            elif self.positions:
                positions = rng.sample(self.positions, len(logos))
            boxes = [self._box(name, logos[name], area, box, rng) for name, box in zip(logos, positions, strict=True)]
            sides = [max(right - left, bottom - top) for left, top, right, bottom in boxes]
            apart = not any(_touch(*pair) for pair in combinations(boxes, 2))
            if min(sides) >= self.min_size and apart and all(_lies_in(box, area) for box in boxes):
                break
        else:
            reason = "too_small" if min(sides) < self.min_size else "no_place"
            raise NotDrawnError(reason, f"{content.rendered} in none of {TRIES} ways on {photo.width}x{photo.height}")
        for logo, box in zip(logos.values(), boxes, strict=True):
            scaled = logo.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.LANCZOS)
            photo.paste(scaled, box[:2], scaled)
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        around = (min(lefts), min(tops), max(rights), max(bottoms))
        return Drawn(box=around, size=max(sides), logos=tuple(zip(logos, boxes, strict=True)))

    def _box(
        self, name: str, logo: Image.Image, area: Box, position: Sequence[float] | None, rng: random.Random
    ) -> Box:
        across, down = area[2] - area[0], area[3] - area[1]
        if position is None:
            x0, y0, x1, y1 = 0.0, 0.0, float(across), float(down)
            scale = self._scale_of[name]
            most_width, most_height = (in_pixels(rng.uniform(*scale), min(across, down)) for _ in range(2))
            if self.keep_aspect:
                most_height = most_width
            right, lower = rng.random(), rng.random()  # shares of the room left beside and above the logo
        else:
            unit = (across, down) if max(position) <= 1 else (1, 1)
            x0, y0, x1, y1 = (length * unit[axis % 2] for axis, length in enumerate(position))
            most_width, most_height = x1 - x0, y1 - y0
            right = lower = 0.5
        if self.keep_aspect:
            factor = min(most_width / logo.width, most_height / logo.height)
            most_width, most_height = factor * logo.width, factor * logo.height
        width, height = max(1, int(most_width)), max(1, int(most_height))
        left = area[0] + int(x0 + right * (x1 - x0 - width))
        top = area[1] + int(y0 + lower * (y1 - y0 - height))
        return left, top, left + width, top + height


def safe_box(size: tuple[int, int], *, keep_in_centre_crop: bool) -> Box:
    """The part of a photo that overlays may use: all of it, or the centre square that a backbone's crop keeps."""
    side = min(size)
    width, height = (side, side) if keep_in_centre_crop else size
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def inset(box: Box, padding: float) -> Box:
    """A box less a border, given as a share of its shorter side or in pixels, and rounded up to whole ones."""
    left, top, right, bottom = box
    border = math.ceil(min(in_pixels(padding, min(right - left, bottom - top)), right - left))
    return left + border, top + border, right - border, bottom - border


def in_pixels(length: float, whole: float) -> float:
    """A length in pixels: up to 1 it is a share of `whole`, above 1 it is in pixels already."""
    return length * whole if length <= 1 else length


def luminance(rgb: Any) -> float:
    """The mean relative luminance, in [0, 1], of sRGB values 0..255 of shape (..., 3).

    Source: WCAG 2.2, "relative luminance".
    """
    channels = _LINEAR[np.asarray(rgb, dtype=np.uint8)].reshape(-1, 3).mean(axis=0)
    return float(channels @ (0.2126, 0.7152, 0.0722))


def contrast_ratio(one: float, other: float) -> float:
    """From 1 (the same) to 21 (black on white), of two relative luminances.

    Source: WCAG 2.2, "contrast ratio".

    >>> round(contrast_ratio(luminance((0, 0, 0)), luminance((255, 255, 255))), 2)
    21.0
    """
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _lies_in(box: Box, area: Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _name_of(logo: str, names: Collection[str]) -> str | None:
    """Which of the names is the class of a logo, or else the nearest folder that holds it."""
    return next((name for name in (logo, *map(str, PurePosixPath(logo).parents)) if name in names), None)


def _range(name: str, values: Sequence[float]) -> tuple[float, ...]:
    if len(values) != 2 or not 0 < values[0] <= values[1] < math.inf or values[0] <= 1 < values[1]:
        raise InputError(
            f"{name}: got {list(values)}, expected least and largest, both shares in (0, 1] or both pixels above 1. "
            "Mend the YAML."
        )
    return tuple(map(float, values))


def _position(name: str | int, box: Sequence[float]) -> tuple[float, ...]:
    if len(box) != 4 or not 0 <= box[0] < box[2] < math.inf or not 0 <= box[1] < box[3] < math.inf:
        raise InputError(
            f"overlays.logo.positions: got {list(box)} for {name!r}, expected [left, top, right, bottom] in order, all "
            "shares in [0, 1] or all pixels. Mend the YAML."
        )
    return tuple(map(float, box))
