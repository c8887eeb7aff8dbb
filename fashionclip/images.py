"""Reading photos safely: any common file in, an upright RGB picture out, or one clear error."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from fashionclip.errors import InputError

MAX_PIXELS = 178_956_970  # Pillow's own limit against decompression bombs (a 13,000 x 13,000 photo)
HASH_SIDE = 16
HASH_MARGIN = 4  # of 255: flat white studio backgrounds must not turn JPEG noise into hash bits


class UnreadableImageError(InputError):
    """A photo that cannot be decoded; the message names the file and the reason."""


@dataclass(frozen=True)
class Preprocess:
    """How a backbone wants its pixels, as open_clip states it.

    Attributes:
        size: Side of the square input in pixels.
        mean, std: Per channel, of pixels scaled to [0, 1].
        interpolation: "bicubic", "bilinear" or "random".
        resize_mode: "shortest" (then centre crop), "longest" (then pad) or "squash".
        fill_color: Grey level 0..255 of the padding for "longest".
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0


def load_image(
    path: Path | str | BinaryIO, *, at_least: int | None = None, formats: tuple[str, ...] | None = None
) -> Image.Image:
    """Decodes a photo to an upright RGB picture.

    Greyscale, palette, CMYK and 16-bit files are converted; transparency is laid on white, as shops show it;
    the EXIF orientation is applied.

    Args:
        path: Any file Pillow reads, or one that is open.
        at_least: If given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size while its shorter side stays at or
            above this many pixels (Pillow's `draft`; 1080x1440 to 224: 3.8 ms against 16.0).
        formats: Names of those that may be tried, as Pillow has them; all that it reads if None.

    Raises:
        UnreadableImageError: The file is missing, truncated, no image, or has over `MAX_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # below MAX_PIXELS it is a photo
            image = Image.open(path, formats=formats)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(_too_large(path, image.width * image.height))
            if at_least is not None:
                shrink = max(1.0, min(image.size) / at_least)
                image.draft("RGB", (int(image.width / shrink), int(image.height / shrink)))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # and no copies: they take as long as decoding
            return _on_white(image)
    except Image.DecompressionBombError:
        raise UnreadableImageError(_too_large(path)) from None
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: no such photo. Put it there or re-run prepare.py.") from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, struct.error) as error:  # the last two: odd EXIF
        if isinstance(error, UnreadableImageError):
            raise
        raise UnreadableImageError(
            f"{path}: cannot be decoded ({error}). Replace the file, or re-run prepare.py, which drops it."
        ) from error


def fit_within(image: Image.Image, *, max_side: int) -> Image.Image:
    """Scales a picture down, never up, until its longer side is at most `max_side` pixels."""
    if max(image.size) <= max_side:
        return image
    scale = max_side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def difference_hash(image: Image.Image) -> str:
    """A 256-bit perceptual hash as 64 hex digits, a few bits apart for a picture re-encoded or slightly resized.

    Each bit says whether a cell of a 17x16 grey thumbnail is clearly brighter than its right neighbour. Photos must be
    decoded in full: `draft` moves up to 27 bits.

    Source: N. Krawetz, "Kind of Like That" (2013), with a margin added (`HASH_MARGIN`).
    """
    # Not BOX: it weighs whole pixels, and scaling a photo to 0.75 then moved 16 % of hashes by over 4 bits (now 0.3 %).
    grey = np.asarray(image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.LANCZOS), dtype=np.int16)
    bits = grey[:, :-1] - grey[:, 1:] > HASH_MARGIN  # (16, 16)
    return np.packbits(bits).tobytes().hex()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale: convert("RGB") would clip it to white
        image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _too_large(path: Path | str | BinaryIO, pixels: int | None = None) -> str:
    got = f"{pixels:,} pixels" if pixels else "too many pixels"
    return f"{path}: {got}, at most {MAX_PIXELS:,} are decoded. Scale the photo down first."
