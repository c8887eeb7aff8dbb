"""Pictures for tests: `from drawn_photos import draw`."""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageOps


def draw(seed, size=(160, 200)):
    """A soft pattern of colours, another one for each number or text, of a width and height in pixels."""
    rng = np.random.default_rng(seed if isinstance(seed, int) else list(str(seed).encode()))
    cells = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)


def draw_garment(seed, *, colour=None, size=(220, 220)):
    """Something with a pattern on white, as a shop shows it."""
    rng = random.Random(seed)
    photo = Image.new("RGB", size, "white")
    brush = ImageDraw.Draw(photo)
    colour = colour or tuple(rng.randrange(40, 200) for _ in range(3))
    outline = [(rng.randrange(40, 180), rng.randrange(30, 190)) for _ in range(7)]
    brush.polygon(outline, fill=colour)
    for _ in range(12):
        x, y, side = rng.randrange(50, 160), rng.randrange(40, 170), rng.randrange(5, 30)
        brush.rectangle((x, y, x + side, y + side), fill=tuple(rng.randrange(220) for _ in range(3)))
    return photo


def on_wider_canvas(photo):
    """The same picture as another shop may have it."""
    return ImageOps.expand(photo, (30, 10, 50, 60), "white").resize((300, 290), Image.Resampling.LANCZOS)
