"""Pictures for tests: `from drawn_photos import draw`."""

import numpy as np
from PIL import Image


def draw(seed, size=(160, 200)):
    """A soft pattern of colours, another one for each number or text, of a width and height in pixels."""
    rng = np.random.default_rng(seed if isinstance(seed, int) else list(str(seed).encode()))
    cells = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)
