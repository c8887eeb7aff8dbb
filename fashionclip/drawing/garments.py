"""What an item of the demo catalogue is, and how its garment looks: one drawing function per silhouette.

`ARTICLES` is the table to extend: a row says which attributes an article can have and which function draws it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Point = tuple[float, float]
Outline = Sequence[tuple[float, ...]]  # (x, y) is a corner; (bend x, bend y, x, y) ends a curve towards the bend
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "Black": (34, 34, 38),
    "White": (246, 246, 243),
    "Grey": (142, 145, 150),
    "Navy Blue": (24, 36, 88),
    "Blue": (46, 108, 220),
    "Red": (206, 28, 38),
    "Green": (30, 142, 70),
    "Yellow": (248, 208, 40),
    "Pink": (247, 142, 184),
    "Purple": (120, 54, 166),
    "Orange": (244, 122, 26),
    "Brown": (114, 70, 38),
}
SOLID, STRIPED, CHECKED, DOTTED, FLORAL, BLOCKED = PATTERNS = (
    "Solid", "Striped", "Checked", "Polka Dot", "Floral", "Colourblocked",
)  # fmt: skip
SLEEVELESS, SHORT_SLEEVE, LONG_SLEEVE = SLEEVES = ("Sleeveless", "Short Sleeve", "Long Sleeve")
MINI, KNEE_LENGTH, FULL_LENGTH = LENGTHS = ("Mini", "Knee Length", "Full Length")
ANKLE = "Ankle"
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
OFF_WHITE, GOLD, LEATHER, INK = (236, 234, 228), (201, 160, 70), (104, 66, 40), (38, 38, 42)


@dataclass(frozen=True)
class DrawnItem:
    """One product: the attributes that its pictures show, then brand, season and year, which only the catalogue says.

    An attribute that does not apply to the article is the empty string.
    """

    article: str
    gender: str
    colour: str
    accent: str
    pattern: str
    sleeve: str
    length: str
    brand: str
    season: str
    year: int

    @property
    def name(self) -> str:
        """The text of the product, such as 'Nordlund Women Red and White Striped Long Sleeve Mini Dress'."""
        colours = f"{self.colour} and {self.accent}" if self.accent else self.colour
        words = (self.brand, self.gender, colours, self.pattern, self.sleeve, self.length, ARTICLES[self.article].noun)
        return " ".join(word for word in words if word)


class Pen:
    """Draws on a transparent square board in the article's units: x from the middle, y from the top."""

    def __init__(self, *, item: DrawnItem, side: int, rng: random.Random) -> None:
        self.item = item
        self.colour = COLOURS[item.colour]
        self.dark = mix(self.colour, BLACK, 0.42) if luma(self.colour) > 60 else mix(self.colour, WHITE, 0.2)
        self.shade = mix(self.colour, self.dark, 0.4)
        self.contrast = OFF_WHITE if luma(self.colour) < 170 else INK
        self.units = ARTICLES[item.article].units
        self.scale = side / self.units
        self.board = Image.new("RGBA", (side, side))
        self.pencil = ImageDraw.Draw(self.board)
        self.texture = draw_texture(item=item, side=side, rng=rng)

    def patch(self, path: Outline, fill: Colour | None = None) -> None:
        """Fills an outlined shape: with the item's own cloth, or with one colour."""
        self._fill(trace(path), fill)

    def pair(self, path: Outline, fill: Colour | None = None) -> None:
        """Fills a shape and its mirror image."""
        self._fill(trace(path), fill)
        self._fill(mirrored(trace(path)), fill)

    def whole(self, half: Outline, fill: Colour | None = None) -> None:
        """Fills a symmetric shape, given its right half from top to bottom."""
        points = trace(half)
        self._fill([*points, *reversed(mirrored(points))], fill)

    def line(self, path: Outline, *, fill: Colour | None = None, width: float = 0.8) -> None:
        self._draw_line(trace(path), fill=fill or self.dark, width=width)

    def lines(self, path: Outline, *, fill: Colour | None = None, width: float = 0.8) -> None:
        """Draws a line and its mirror image."""
        self.line(path, fill=fill, width=width)
        self._draw_line(mirrored(trace(path)), fill=fill or self.dark, width=width)

    def dot(self, x: float, y: float, radius: float, fill: Colour) -> None:
        self._fill(oval(x, y, radius, radius), fill)

    def _fill(self, points: list[Point], fill: Colour | None) -> None:
        if fill is None:
            mask = Image.new("L", self.board.size)
            ImageDraw.Draw(mask).polygon(self._pixels(points), fill=255)
            box = mask.getbbox()
            self.board.paste(self.texture.crop(box), box, mask.crop(box))
        else:
            self.pencil.polygon(self._pixels(points), fill=fill)
        self._draw_line([*points, points[0]], fill=self.dark if fill is None else mix(fill, BLACK, 0.3), width=0.8)

    def _draw_line(self, points: list[Point], *, fill: Colour, width: float) -> None:
        self.pencil.line(self._pixels(points), fill=fill, width=round(width * self.scale), joint="curve")

    def _pixels(self, points: list[Point]) -> list[Point]:
        return [((x + self.units / 2) * self.scale, y * self.scale) for x, y in points]


def luma(colour: Colour) -> float:
    """Brightness as the eye weighs it, 0 to 255."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """Moves a colour towards another by a share in [0, 1]."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def trace(path: Outline) -> list[Point]:
    """Points along a path; its curves (quadratic Bezier) become short lines."""
    points: list[Point] = []
    for *bend, x, y in path:
        if bend:
            start_x, start_y = points[-1]
            for t in (step / 12 for step in range(1, 12)):
                start, middle, end = (1 - t) ** 2, 2 * t * (1 - t), t**2
                points.append(
                    (start * start_x + middle * bend[0] + end * x, start * start_y + middle * bend[1] + end * y)
                )
        points.append((x, y))
    return points


def mirrored(points: list[Point]) -> list[Point]:
    return [(-x, y) for x, y in points]


def oval(x: float, y: float, width: float, height: float) -> list[Point]:
    turns = [math.tau * step / 32 for step in range(32)]
    return [(x + width * math.cos(turn), y + height * math.sin(turn)) for turn in turns]


def soft_noise(*, size: tuple[int, int], cells: tuple[int, int], low: int, rng: random.Random) -> Image.Image:
    """Smooth random light (mode L) between `low` and 255, with about `cells` bumps across and down."""
    light = Image.frombytes("L", cells, rng.randbytes(cells[0] * cells[1]))
    return levels(light, low=low).resize(size, Image.Resampling.BICUBIC)


def levels(image: Image.Image, *, low: int = 0, high: int = 255) -> Image.Image:
    """Maps the greys 0 to 255 onto `low` to `high`."""
    return image.point([low + value * (high - low) // 255 for value in range(256)])


def draw_texture(*, item: DrawnItem, side: int, rng: random.Random) -> Image.Image:
    """A square of the item's cloth.

    Patterns are sized by the picture, not by the garment, so that they survive the 112 pixels that a small model sees.
    The base colour always keeps the larger share, else 'Red and White' and 'White and Red' would look alike.
    """
    base = COLOURS[item.colour]
    cloth = Image.new("RGBA", (side, side), base)
    if not item.accent:
        return cloth
    pencil, unit = ImageDraw.Draw(cloth), side / 100
    accent, article = COLOURS[item.accent], ARTICLES[item.article]
    if item.pattern == STRIPED:
        for start in range(-100, 100, 9):
            slant = 80 if article.stripes == "slanted" else 0
            ends = [(0.0, (start + slant) * unit), (float(side), start * unit)]
            pencil.line(ends, fill=accent, width=round(3.3 * unit))
        return cloth.transpose(Image.Transpose.ROTATE_90) if article.stripes == "down" else cloth
    if item.pattern == CHECKED:
        bands = [(start * unit, (start + 3.4) * unit) for start in range(1, 100, 11)]
        for low, high in bands:
            pencil.rectangle((0, low, side, high), fill=mix(base, accent, 0.5))
            pencil.rectangle((low, 0, high, side), fill=mix(base, accent, 0.5))
        for left, right in bands:
            for top, bottom in bands:
                pencil.rectangle((left, top, right, bottom), fill=accent)
    elif item.pattern == DOTTED:
        for row, y in enumerate(range(0, 104, 7)):
            for x in range(row % 2 * 5, 104, 10):
                pencil.circle((x * unit, y * unit), 2.2 * unit, fill=accent)
    elif item.pattern == FLORAL:
        for row, y in enumerate(range(0, 108, 13)):
            for x in range(row % 2 * 8, 108, 16):
                draw_flower(pencil, x=x, y=y, unit=unit, petal=accent, rng=rng)
    else:
        pencil.rectangle((0, 0, side, article.block * side / article.units), fill=accent)
    return cloth


def draw_flower(
    pencil: ImageDraw.ImageDraw, *, x: float, y: float, unit: float, petal: Colour, rng: random.Random
) -> None:
    """A flower of five petals near (x, y), turned at random."""
    x, y, start = x + rng.uniform(-2, 2), y + rng.uniform(-2, 2), rng.uniform(0, math.tau)
    for turn in (start + number * math.tau / 5 for number in range(5)):
        pencil.circle(((x + 3.2 * math.cos(turn)) * unit, (y + 3.2 * math.sin(turn)) * unit), 2.2 * unit, fill=petal)
    pencil.circle((x * unit, y * unit), 1.7 * unit, fill=GOLD if luma(petal) < 190 else (214, 110, 40))


def draw_hook(pen: Pen) -> None:
    """The part of a hanger that shows above a neckline."""
    pen.line([(-4, 4), (-4, 1, 0, 1), (5, 1.5, 0.5, 5), (0, 12)], fill=(120, 120, 126), width=1.6)


def draw_torso(pen: Pen, *, sleeve: str, waist: float, hem: float, neck: float, bottom: float = 92) -> None:
    """The upper part that tops and dresses share; `neck` is how far down the neckline goes."""
    pen.whole([(0, 9), (6, 9, 9, 12), (7, neck, 0, neck)], pen.dark)
    shoulder: Outline = [(17, 15), (14, 36, 23, 41)]
    if sleeve != SLEEVELESS:
        shoulder = [(25, 18), (23, 41)]
        (x, y), (inner_x, inner_y) = [(41, 37), (33, 45)] if sleeve == SHORT_SLEEVE else [(46, 83), (37, 86)]
        pen.pair([(22, 16.5), (24, 17.5), (32, 20, x, y), (inner_x, inner_y), (22, 42)])
        pen.lines([(x * 0.96, y - 3.5), (inner_x * 0.96, inner_y - 3.5)])
    pen.whole([(0, neck), (7, neck, 9, 12), *shoulder, (waist, 56, waist, 64), (hem, bottom), (0, bottom + 1)])


def fit(item: DrawnItem) -> tuple[float, float]:
    """Half widths of waist and hem: women's tops are waisted, the others straight."""
    return (18, 23) if item.gender == "Women" else (24, 25)


def draw_tshirt(pen: Pen, item: DrawnItem) -> None:
    waist, hem = fit(item)
    neck = 27 if item.gender == "Women" else 19
    draw_torso(pen, sleeve=item.sleeve, waist=waist, hem=hem, neck=neck)
    pen.lines([(0, neck + 1.2), (8, neck + 1, 10.5, 12.5)], width=2)
    pen.lines([(0, 90), (hem, 89)])


def draw_shirt(pen: Pen, item: DrawnItem) -> None:
    waist, hem = fit(item)
    draw_torso(pen, sleeve=item.sleeve, waist=waist, hem=hem, neck=24, bottom=90)
    pen.pair([(0.5, 25), (5, 9.5), (10.5, 11), (12, 20), (7, 27)])
    pen.lines([(2.4, 26), (2.4, 90)])
    for y in range(31, 90, 11):
        pen.dot(0, y, 1.2, pen.contrast)
    if item.gender == "Men":
        pen.patch([(7, 36), (18, 36), (18, 47), (12.5, 50), (7, 47)])


def draw_sweatshirt(pen: Pen, item: DrawnItem) -> None:
    waist, hem = fit(item)
    pen.whole([(0, 1), (15, 0, 16, 16), (8, 30), (0, 31)])
    draw_torso(pen, sleeve=LONG_SLEEVE, waist=waist + 1, hem=hem, neck=27)
    pen.pair([(0, 29), (9, 28, 9, 12), (9, 10), (18, 16, 13, 24), (8, 33, 0, 34)])
    pen.whole([(0, 62), (11, 62), (17, 74), (17, 83), (0, 83)])
    pen.lines([(4, 33), (4.5, 50)], fill=pen.contrast, width=1.3)
    pen.whole([(0, 87), (hem, 86), (hem - 1, 94), (0, 95)], pen.shade)


def draw_jacket(pen: Pen, item: DrawnItem) -> None:
    waist, hem = fit(item)
    draw_torso(pen, sleeve=LONG_SLEEVE, waist=waist, hem=hem, neck=24)
    pen.whole([(0, 13), (8, 12), (9, 50), (7, 93), (0, 93)], mix(pen.dark, (120, 120, 124), 0.5))
    pen.lines([(8.5, 40), (7, 92)], fill=(205, 205, 208), width=1.6)
    pen.pair([(8, 9), (13, 12), (17, 27), (9, 42), (6, 22)])
    pen.lines([(11.5, 29), (17, 27)])
    pen.pair([(11, 64), (20, 62), (20, 67), (11, 69)])
    pen.pair([(7, 88), (hem, 87), (hem, 93), (7, 94)], pen.shade)


def draw_dress(pen: Pen, item: DrawnItem) -> None:
    hem, bottom = {MINI: (32, 100), KNEE_LENGTH: (37, 124), FULL_LENGTH: (42, 158)}[item.length]
    draw_torso(pen, sleeve=item.sleeve, waist=17, hem=17, neck=27, bottom=66)
    pen.whole([(0, 64), (17, 64), (21, 80, hem, bottom), (hem / 2, bottom + 4, 0, bottom + 4)])
    pen.lines([(7, 70), (hem * 0.4, bottom)])
    pen.lines([(13, 72), (hem * 0.75, bottom - 1)])
    pen.whole([(0, 62), (17.3, 62), (17.6, 67), (0, 67)], pen.dark)


def draw_skirt(pen: Pen, item: DrawnItem) -> None:
    hem, bottom = {MINI: (29, 38), KNEE_LENGTH: (33, 62), FULL_LENGTH: (36, 96)}[item.length]
    pen.whole([(0, 4), (16, 4), (21, 14, hem, bottom), (hem / 2, bottom + 3, 0, bottom + 3)])
    for share in (0.2, 0.5, 0.8):
        pen.lines([(16 * share, 9), (hem * share, bottom + 1)])
    pen.whole([(0, 3), (16, 3), (16.8, 9), (0, 9)], pen.shade)


def draw_legs(pen: Pen, item: DrawnItem, *, bottom: float, knee: float, outer: float, inner: float) -> None:
    """Two legs below a waistband; `outer` and `inner` are the sides of a hem."""
    waist, hip = (15.5, 20.5) if item.gender == "Women" else (20, 22)
    leg = [(waist, 6), (hip, 16, hip + 0.5, 26), (knee, (22 + bottom) / 2), (outer, bottom), (inner, bottom + 1)]
    pen.pair([(0, 6), *leg, (1, 34)])
    pen.whole([(0, 4), (waist, 4), (waist + 0.7, 10), (0, 10)])
    pen.line([(0, 10), (0, 34)], width=1)
    pen.line([(4, 10), (5, 24, 0, 27)])
    pen.lines([(waist - 7, 10), (waist - 5, 18, hip, 19)], width=1)


def draw_shorts(pen: Pen, item: DrawnItem) -> None:
    bottom = {MINI: 42, KNEE_LENGTH: 62}[item.length]
    draw_legs(pen, item, bottom=bottom, knee=25, outer=26, inner=4)
    pen.lines([(4, bottom - 3), (25.8, bottom - 4)])
    pen.lines([(0.8, 8), (4, 12, 2.5, 20)], fill=pen.contrast, width=1.2)


def draw_trousers(pen: Pen, item: DrawnItem) -> None:
    knee, outer, inner = (17.5, 15.5, 4) if item.gender == "Women" else (23, 22, 8)
    draw_legs(pen, item, bottom=96, knee=knee, outer=outer, inner=inner)
    pen.lines([(11, 16), ((knee + 4) / 2, 58), ((outer + inner) / 2, 95)])
    pen.dot(0, 7, 1.2, pen.contrast)


def draw_jeans(pen: Pen, item: DrawnItem) -> None:
    knee, outer, inner = (17.5, 15.5, 4) if item.gender == "Women" else (23, 22, 8)
    draw_legs(pen, item, bottom=94, knee=knee, outer=outer, inner=inner)
    for seam in (
        [(1, 10.8), (16, 10.8)],
        [(8, 12), (10, 19.5, 20, 20.5)],
        [(18.5, 22), (knee - 1.5, 57), (outer - 1.5, 88)],
        [(3, 11), (3, 25, 0.5, 29)],
    ):
        pen.lines(seam, fill=(222, 150, 60), width=1)
    turn_up = [(inner - 0.6, 88), (outer + 0.6, 87), (outer + 0.8, 94), (inner - 0.6, 95)]
    pen.pair(turn_up, mix(pen.colour, (255, 255, 255), 0.45))
    pen.dot(0, 7, 1.6, GOLD)


def draw_handbag(pen: Pen, item: DrawnItem) -> None:
    pen.lines([(15, 44), (16, 12, 0, 12)], fill=LEATHER, width=3.4)
    pen.whole([(0, 40), (32, 40), (39, 62, 41, 84), (41, 90, 34, 90), (0, 90)])
    pen.whole([(0, 40), (32, 40), (36, 58, 24, 61), (0, 63)])
    pen.pair([(12, 42), (18, 42), (18, 54), (15, 57), (12, 54)], LEATHER)
    pen.dot(0, 62, 3.2, GOLD)


def draw_backpack(pen: Pen, item: DrawnItem) -> None:
    pen.lines([(24, 22), (46, 34, 38, 84)], fill=INK, width=4)
    pen.lines([(7, 12), (7, 3, 0, 3)], fill=INK, width=3)
    pen.whole([(0, 8), (26, 7, 30, 30), (34, 86), (33, 95, 24, 95), (0, 95)])
    pen.lines([(0, 24), (20, 24, 27, 42)], fill=INK, width=1.4)
    pen.whole([(0, 54), (24, 53, 25, 60), (26, 84), (25, 89, 18, 89), (0, 89)])
    pen.lines([(0, 61), (24, 61)], fill=INK, width=1.4)
    pen.whole([(0, 60), (2, 60), (2, 68), (0, 68)], GOLD)


def draw_cap(pen: Pen, item: DrawnItem) -> None:
    pen.patch([(-38, 62), (-38, 22, -4, 22), (24, 24, 27, 60), (-4, 70, -38, 62)])
    pen.line([(-4, 22), (-24, 32, -24, 65)])
    pen.line([(-4, 22), (13, 34, 10, 64)])
    pen.patch([(-6, 64), (20, 50, 46, 66), (47, 72, 38, 71), (14, 64, -6, 66)], pen.shade)
    pen.dot(-4, 22, 2.2, pen.dark)


def draw_shoe(pen: Pen, item: DrawnItem) -> None:
    pen.patch([(-40, 34), (-36, 28), (-26, 38, -12, 28), (6, 48, 24, 52), (44, 55, 43, 68), (-42, 68)])
    pen.patch([(22, 51.5), (45, 54, 43, 68), (26, 68), (20, 58, 22, 51.5)], OFF_WHITE)
    pen.patch([(-41, 32), (-33, 33), (-33, 50), (-41.5, 50)], pen.dark)
    pen.patch([(-13, 30), (-4, 44, 12, 48), (8, 56), (-12, 50, -20, 36)], pen.shade)
    for step in range(4):
        x, y = 6.5 * step, 4.2 * step
        pen.line([(x - 14, y + 33), (x - 20, y + 41)], fill=pen.contrast, width=1.8)
    pen.patch([(-44, 66), (44, 66), (46, 76, 38, 76), (-38, 76), (-45, 76, -44, 66)], OFF_WHITE)
    pen.line([(-43, 71), (44, 71)], fill=(170, 168, 164))


def draw_heel(pen: Pen, item: DrawnItem) -> None:
    pen.patch([(-40, 46), (-27, 46), (-33, 62, -35, 88), (-39, 88), (-39, 62, -42, 44)], pen.dark)
    front = [(6, 80), (14, 88, 44, 86), (46, 84), (36, 72, 16, 62)]
    pen.patch([(-42, 26), (-46, 42, -40, 52), (-20, 48, 6, 80), *front, (-10, 72, -32, 30), (-36, 24, -42, 26)])
    pen.line([(-40, 53), (-20, 49, 6, 81.5), (14, 89, 45, 87)], fill=INK, width=1.8)


def draw_scarf(pen: Pen, item: DrawnItem) -> None:
    for x in range(-22, 25, 3):
        bottom = 88 if x < 2 else 78
        pen.line([(x, bottom - 2), (x + 0.6, bottom + 6)], width=1.1)
    pen.patch([(6, 34), (20, 32), (25, 78), (5, 80)])
    pen.patch([(-8, 32), (5, 36), (3, 88), (-23, 88)])
    pen.patch(oval(0, 24, 32, 19))
    pen.patch(oval(0, 17, 20, 7), mix(pen.dark, INK, 0.5))
    pen.line([(-30, 27), (0, 46, 29, 28)])
    pen.line([(-26, 32), (2, 52, 22, 36)])


def draw_socks(pen: Pen, item: DrawnItem) -> None:
    for x, y in ((12, -3), (-22, 3)):
        top = y + {ANKLE: 44, KNEE_LENGTH: 6}[item.length]
        foot = [(x + 9, y + 66), (x + 10, y + 74, x + 22, y + 80), (x + 30, y + 88, x + 20, y + 92), (x + 10, y + 92)]
        pen.patch([(x - 9, top), (x + 9, top), *foot, (x - 14, y + 90, x - 9, y + 70)])
        toe = [(x + 15, y + 76), (x + 26, y + 80, x + 26, y + 87), (x + 25, y + 92, x + 13, y + 91.5)]
        pen.patch(toe, pen.shade)
        pen.patch([(x - 9, y + 70), (x - 12, y + 84, x - 3, y + 89), (x + 3, y + 78)], pen.shade)
        pen.patch([(x - 9.6, top - 2), (x + 9.6, top - 2), (x + 9.2, top + 7), (x - 9.2, top + 7)], pen.shade)


def draw_tie(pen: Pen, item: DrawnItem) -> None:
    pen.patch([(4, 14), (8, 16), (9, 80), (4, 84)], pen.shade)
    pen.whole([(0, 13), (4, 13), (11.5, 84), (0, 96)])
    pen.whole([(0, 3), (8, 3), (5, 14), (0, 15)])


@dataclass(frozen=True)
class Article:
    """An article type: its words in the Kaggle table, the attributes that apply to it, and how it is drawn."""

    noun: str
    master: str
    sub: str
    usage: str
    draw: Callable[[Pen, DrawnItem], None]
    genders: tuple[str, ...]
    seasons: tuple[str, ...]
    patterns: tuple[str, ...] = PATTERNS
    sleeves: tuple[str, ...] = ("",)
    lengths: tuple[str, ...] = ("",)
    block: float = 0  # where the upper colour of a colour-blocked piece ends
    units: float = 100  # height and width of the drawing board
    stripes: str = "across"


BOTH, WARM, COLD = ("Men", "Women"), ("Spring", "Summer"), ("Fall", "Winter")
# fmt: off
ARTICLES: dict[str, Article] = {
    "Tshirts": Article("T-shirt", "Apparel", "Topwear", "Casual", draw_tshirt, BOTH, WARM, sleeves=SLEEVES, block=36),
    "Shirts": Article("Shirt", "Apparel", "Topwear", "Formal", draw_shirt, BOTH, WARM,
                      sleeves=SLEEVES[1:], block=36, stripes="down"),
    "Sweatshirts": Article("Hooded Sweatshirt", "Apparel", "Topwear", "Casual", draw_sweatshirt, BOTH, COLD, block=40),
    "Jackets": Article("Jacket", "Apparel", "Topwear", "Casual", draw_jacket, BOTH, COLD, block=42),
    "Dresses": Article("Dress", "Apparel", "Dress", "Casual", draw_dress, ("Women",), WARM,
                       sleeves=SLEEVES, lengths=LENGTHS, block=44, units=166),
    "Skirts": Article("Skirt", "Apparel", "Bottomwear", "Casual", draw_skirt, ("Women",), WARM,
                      lengths=LENGTHS, block=22),
    "Shorts": Article("Shorts", "Apparel", "Bottomwear", "Sports", draw_shorts, BOTH, WARM,
                      lengths=LENGTHS[:2], block=20),
    "Trousers": Article("Trousers", "Apparel", "Bottomwear", "Formal", draw_trousers, BOTH, COLD,
                        PATTERNS[:3], stripes="down"),
    "Jeans": Article("Jeans", "Apparel", "Bottomwear", "Casual", draw_jeans, BOTH, COLD, PATTERNS[:1]),
    "Handbags": Article("Handbag", "Accessories", "Bags", "Casual", draw_handbag, ("Women",), WARM, block=62),
    "Backpacks": Article("Backpack", "Accessories", "Bags", "Travel", draw_backpack, ("Unisex",), COLD, block=44),
    "Caps": Article("Cap", "Accessories", "Headwear", "Sports", draw_cap, ("Unisex",), WARM, block=42),
    "Casual Shoes": Article("Casual Shoes", "Footwear", "Shoes", "Casual", draw_shoe, ("Unisex",), COLD, PATTERNS[:5]),
    "Heels": Article("Heels", "Footwear", "Shoes", "Party", draw_heel, ("Women",), WARM, PATTERNS[:5]),
    "Scarves": Article("Scarf", "Accessories", "Scarves", "Casual", draw_scarf, ("Unisex",), COLD, PATTERNS[:5]),
    "Socks": Article("Socks", "Accessories", "Socks", "Casual", draw_socks, ("Unisex",), COLD, PATTERNS[:5],
                     lengths=(ANKLE, KNEE_LENGTH)),
    "Ties": Article("Tie", "Accessories", "Ties", "Formal", draw_tie, ("Men",), COLD, PATTERNS[:4], stripes="slanted"),
}
# fmt: on
HANGABLE = ("Topwear", "Dress")


@lru_cache(maxsize=4)  # the shots of an item follow one another
def draw_garment(*, item: DrawnItem, side: int, hanger: bool, seed: int) -> Image.Image:
    """The garment alone, cut out (RGBA) of a board of `side` pixels. Do not change it in place: it is cached."""
    rng = random.Random(f"garment/{seed}/{item.name}")
    pen = Pen(item=item, side=2 * side, rng=rng)
    if hanger:
        draw_hook(pen)
    ARTICLES[item.article].draw(pen, item)
    garment = pen.board.reduce(2)
    garment = garment.crop(garment.getbbox())
    alpha = garment.getchannel("A")
    small = alpha.resize((garment.width // 4, garment.height // 4)).filter(ImageFilter.GaussianBlur(2.5))
    relief = levels(small, low=160).resize(garment.size)
    shade = ImageChops.multiply(relief, soft_noise(size=garment.size, cells=(6, 4), low=205, rng=rng))
    garment = ImageChops.multiply(garment, Image.merge("RGBA", (shade, shade, shade, shade)))
    garment.putalpha(alpha)
    return garment
