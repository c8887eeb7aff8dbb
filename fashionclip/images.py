"""Reading photos safely: any common file in, an upright RGB picture out, or one clear error."""

from __future__ import annotations

import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from fashionclip.errors import InputError

# Pillow reads more, but hands some of it to other programs (EPS to Ghostscript), whatever the file is called.
Image.init()  # to ask for a format that is not registered, such as AVIF in some builds, is an error
FORMATS = tuple(one for one in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if one in Image.OPEN)
# Endings by which photos are found in a folder.
SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"))
MAX_PIXELS = 178_956_970  # Pillow's own limit against decompression bombs (a 13,000 x 13,000 photo)
MAX_SCANS = 100  # scans of a JPEG, as in libtiff; a progressive one has about 10, and each costs as much as a photo
SCANNED = 600_000_000  # pixels that all scans of a JPEG may decode: 100 scans of 6 megapixels, or 50 of 12
USUAL_SCANS = 16  # scans that a JPEG of any size may have
MAX_RATIO = 20  # longer side over shorter side of what a model sees
LARGE = 1 << 25  # pixels; a process decodes larger photos one at a time, since each takes hundreds of MB
BAND = 1 << 22  # pixels that are converted at a time, so that copies are small beside the photo
HASH_SIDE = 16
HASH_MARGIN = 4  # grey levels of 255: JPEG noise on a flat white background must not become hash bits
BACKGROUND = 24  # grey levels of 255 from that of the edge, up to which a pixel is background
EVEN = 1.0  # sizes of coefficients up to which a surface is even
_COSINES = np.cos(np.pi * np.outer(np.arange(16), 2 * np.arange(32) + 1) / 64).astype(np.float32)  # (16, 32), of a DCT
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SAME_COLOUR = 3  # levels of 255, by which profiles that call themselves sRGB differ
_SRGB = ImageCms.createProfile("sRGB")
_one_large = threading.Lock()
# The marker of a JPEG's segment with a length: no stuffed byte, no fill byte, no marker without a length.
_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")


class UnreadableImageError(InputError):
    """A photo that cannot be decoded; the message names the file and the reason."""


@dataclass(frozen=True)
class Preprocess:
    """How a backbone wants its pixels, as open_clip states it.

    Attributes:
        size: Side of the square input in pixels.
        mean, std: Mean and standard deviation of each channel, of pixels scaled to [0, 1].
        interpolation: Filter of the resizing: "bicubic", "bilinear" or "random".
        resize_mode: Way to the square: "shortest" (side to size, then centre crop), "longest" (then pad) or "squash".
        fill_color: Grey level of the padding for "longest", 0 to 255.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0


@contextmanager
def open_photo(path: Path | str | BinaryIO) -> Iterator[Image.Image]:
    """Opens a photo of one of `FORMATS` and reads its header; what the body of the `with` raises counts as its fault.

    Args:
        path: Path of the file, or the file opened for reading.

    Yields:
        The picture, its pixels not yet decoded.

    Raises:
        UnreadableImageError: The file is missing, a pipe or a device, truncated, no image, of over `MAX_PIXELS` pixels,
            or has too many scans for its size. Its `__cause__` is what the decoder raised.
    """
    try:
        with (
            open_file(path) if isinstance(path, (str, Path)) else nullcontext(path) as file,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of odd metadata, and of bombs, which are photos up to MAX_PIXELS
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImageError(_too_large(path, image.width * image.height))
                if isinstance(image, JpegImageFile):
                    _check_scans(path, image)
                yield image
    except (UnreadableImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UnreadableImageError(_too_large(path)) from None
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: no such photo. Put it there or re-run prepare.py.") from None
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, RuntimeError, NotImplementedError, ...
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # its message names the stream, not the file
            error = UnidentifiedImageError("cannot identify image file")
            reason = f"{error} as {', '.join(FORMATS)}"
        raise UnreadableImageError(
            f"{path}: cannot be decoded ({reason}). Replace the file, or remove it and re-run prepare.py."
        ) from error


def open_file(path: Path | str) -> BinaryIO:
    """Opens a photo's file to read its bytes. Python's own `open` would wait for ever on a pipe called `.jpg`.

    Raises:
        UnreadableImageError: The path is no regular file.
        OSError: The file cannot be opened.
    """
    return open(path, "rb", opener=_open_regular)


def load_image(path: Path | str | BinaryIO, *, at_least: int | None = None) -> Image.Image:
    """Decodes a photo to an upright RGB picture, without any metadata.

    Greyscale, palette, CMYK, 16-bit and floating-point files are converted; transparency is laid on white, as shops
    show it; colours of another profile, such as Adobe RGB, become those of sRGB; the EXIF orientation is applied.

    Args:
        path: Path of a file of `FORMATS`, or the file opened for reading.
        at_least: Pixels that the shorter side needs at least, or None for the full size. A JPEG may be decoded at 1/2,
            1/4 or 1/8 of its size (Pillow's `draft`; 1080x1440 to 224: 3.8 ms against 16.0), and a photo of over
            `LARGE` pixels is shrunk by a whole number.

    Raises:
        UnreadableImageError: The photo cannot be opened or decoded, as in `open_photo`.
    """
    with open_photo(path) as image:
        if at_least is not None:
            shrink = max(1.0, min(image.size) / at_least)
            image.draft("RGB", (int(image.width / shrink), int(image.height / shrink)))
        large = image.width * image.height > LARGE
        shrink = max(1, min(image.size) // at_least) if large and at_least is not None else 1
        with _one_large if large else nullcontext():
            return upright_rgb(image, shrink=shrink)


def upright_rgb(image: Image.Image, *, shrink: int = 1) -> Image.Image:
    """An opened photo as `load_image` gives it, its sides divided by `shrink`; the photo itself is used up."""
    image.load()
    turn = UPRIGHT.get(_orientation(image))
    picture = _to_srgb(image, shrink=shrink)
    return picture if turn is None else picture.transpose(turn)


def without_ends(image: Image.Image) -> Image.Image:
    """Cuts a strip to its middle, `MAX_RATIO` times as long as its shorter side; leaves any other photo alone.

    Resized for a model, a strip of 1 x 16,000 pixels would have 224 x 3,584,000, which takes 4 GB.
    """
    most = MAX_RATIO * min(image.size)
    if max(image.size) <= most:
        return image
    width, height = (min(side, most) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def fit_within(image: Image.Image, *, max_side: int) -> Image.Image:
    """Scales a picture down, never up, until its longer side is at most `max_side` pixels."""
    if max(image.size) <= max_side:
        return image
    scale = max_side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def difference_hash(image: Image.Image) -> str:
    """A 256-bit perceptual hash as 64 hex digits; re-encoding or resizing a picture slightly changes a few bits.

    Each bit says whether a cell of a 17x16 grey thumbnail is clearly brighter than its right neighbour. Photos must be
    decoded in full: `draft` moves up to 27 bits.

    Source: N. Krawetz, "Kind of Like That" (2013), with a margin added (`HASH_MARGIN`).
    """
    # With BOX, which weighs whole pixels, scaling to 0.75 moved 16 % of hashes by over 4 bits; with LANCZOS 0.3 %.
    grey = np.asarray(image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.LANCZOS), dtype=np.int16)
    bits = grey[:, :-1] - grey[:, 1:] > HASH_MARGIN  # (16, 16)
    return np.packbits(bits).tobytes().hex()


def twin_hash(image: Image.Image) -> bytes:
    """What a photo shows without its even background: 256 signs of frequencies, colours of 4x4 cells, and its shape.

    So it sees one picture on a wider canvas, moved, or larger, for which `difference_hash` has no eye.

    Returns:
        32 bytes of signs, 48 of colours, and the logarithm of width / height as float32.

    Source: C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), the DCT hash.
    """
    grey = image.convert("L")
    pixels = np.asarray(grey)
    edge = int(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))
    box = grey.point([255 * (abs(level - edge) > BACKGROUND) for level in range(256)]).getbbox() or (0, 0, *image.size)
    shown = np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS, box=box), dtype=np.float32)
    signs = _COSINES @ shown @ _COSINES.T > EVEN  # (16, 16)
    colours = np.asarray(image.convert("RGB").resize((4, 4), Image.Resampling.BOX, box=box))
    shape = np.float32(np.log((box[2] - box[0]) / (box[3] - box[1])))
    return np.packbits(signs).tobytes() + colours.tobytes() + shape.tobytes()


def _open_regular(path: str, flags: int) -> int:
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has no such flag and no such pipes
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise UnreadableImageError(f"{path}: cannot be decoded (no file, but a folder, pipe or device). Leave it out.")
    return number


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where it is missing or damaged, since the pixels are whole all the same."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION)
    except Exception:
        return 1
    number = value[0] if isinstance(value, bytes) and len(value) == 1 else value  # some write it as a byte
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def _to_srgb(image: Image.Image, *, shrink: int) -> Image.Image:
    """The decoded picture in RGB, on white and without metadata, its sides divided by `shrink`."""
    profile = image.info.get("icc_profile")
    if image.mode == "RGB" and "transparency" not in image.info:
        picture = _by_profile(image.reduce(shrink) if shrink > 1 else image, profile)
    else:
        picture, white = Image.new("RGB", [-(-side // shrink) for side in image.size]), _white(image)
        rows = max(1, BAND // image.width // shrink) * shrink
        for top in range(0, image.height, rows):
            band = image.crop((0, top, image.width, min(top + rows, image.height)))
            band = _by_profile(_on_white(band, white=white), profile)
            picture.paste(band.reduce(shrink) if shrink > 1 else band, (0, top // shrink))
    picture.info = {}  # Pillow would write comments, EXIF and profiles again
    return picture


def _white(image: Image.Image) -> float:
    """The value of white in a picture of numbers: 1, 255 or 65535, the least that its largest pixel does not exceed."""
    if image.mode not in ("I", "F"):
        return 65535  # the mode says 16 bits, however dark the photo is
    high = image.getextrema()[1]
    assert isinstance(high, int | float)  # the mode has one band
    return next((white for white in (1, 255, 65535)[image.mode == "I" :] if high <= white), high)


def _on_white(image: Image.Image, *, white: float) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # convert("RGB") would clip 16 bits to white, and turn 0 to 1 into black
        values = np.asarray(image)
        grey = np.nan_to_num(values / (white / 255)).round().clip(0, 255)
        grey[values == image.info.get("transparency", np.nan)] = 255
        return Image.fromarray(grey.astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image


def _by_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in sRGB; one that is RGB already is changed in place."""
    mode = image.mode if image.mode in ("L", "CMYK") else "RGB"
    transform = _transform(profile, mode) if profile else None
    if transform is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image if image.mode == mode else image.convert(mode)
    return transform.apply(image, image if mode == "RGB" else None)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None where they are the same, or it is broken or of another mode."""
    try:
        made = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.ImageCmsTransform(made, ImageCms.ImageCmsProfile(_SRGB), mode, "RGB")
    except Exception:
        return None
    if mode == "RGB":
        cube = np.stack(np.meshgrid(*[np.linspace(0, 255, 9).round()] * 3), axis=-1).astype(np.uint8).reshape(27, 27, 3)
        moved = np.asarray(transform.apply(Image.fromarray(cube))).astype(int) - cube
        if np.abs(moved).max() <= SAME_COLOUR:
            return None
    return transform


def _check_scans(path: Path | str | BinaryIO, image: JpegImageFile) -> None:
    """Refuses a JPEG of so many scans that it would keep the decoder busy for minutes."""
    file = image.fp
    assert file is not None
    back = 8 + 2 * image.layers
    if "progressive" not in image.info and file.tell() >= back:  # of a file of several pictures, Pillow is at the start
        # Pillow has just read the header of the first scan. If that has all colours, libjpeg decodes no other scan.
        header = bytes((0xFF, 0xDA, 0, back - 2, image.layers))
        file.seek(-back, os.SEEK_CUR)
        if file.read(len(header)) == header:
            return
    file.seek(0)
    data = file.read()
    most = max(USUAL_SCANS, min(MAX_SCANS, SCANNED // (image.width * image.height)))
    if data.count(b"\xff\xda") > most and (scans := _scans(data)) > most:
        raise UnreadableImageError(
            f"{path}: {scans:,} scans in a JPEG, at most {most} are decoded at its size (a progressive one has about "
            "10). Save it anew."
        )


def _scans(data: bytes) -> int:
    """Number of scans of a JPEG's first picture; bytes in metadata and behind the picture may only look like one."""
    scans, place = 0, 2
    while (marker := _SEGMENT.search(data, place)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def _too_large(path: Path | str | BinaryIO, pixels: int | None = None) -> str:
    got = f"{pixels:,} pixels" if pixels else "too many pixels"
    return f"{path}: {got}, at most {MAX_PIXELS:,} are decoded. Scale the photo down first."
