"""Photos in and out: uploads are decoded within limits, and photos of the index are drawn anew as small JPEGs."""

from __future__ import annotations

import asyncio
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from fashionclip.images import UnreadableImageError, fit_within, load_image, open_photo
from fashionclip.retrieval.search.search import Searcher

LARGEST = 480  # pixels of the longer side of a photo as shown
KEPT = 2048  # JPEGs kept in memory, some 30 KB each
THREADS = 2  # decoding takes up to 300 MB: a transparent PNG of 15 megapixels
WHOLE = 4  # other formats than JPEG are decoded in full, and may have so many times fewer pixels
SEARCHED = 768  # pixels of the longer side of an uploaded photo while it waits; models take 224 to 512


class NotAPhoto(Exception):
    """An upload that cannot be searched with; the message is meant for the client."""


class Pictures:
    """Decodes photos on threads of its own.

    Args:
        searcher: Index that knows where its photos are.
        pixels: Largest number of pixels of an uploaded JPEG; of another format a quarter of it.
    """

    def __init__(self, searcher: Searcher, *, pixels: int) -> None:
        self.searcher = searcher
        self.pixels = pixels
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="picture")
        self._uploads = ThreadPoolExecutor(
            THREADS, thread_name_prefix="upload"
        )  # apart, so that photos to show do not hold them up
        self._drawn = lru_cache(maxsize=KEPT)(_draw)

    def close(self) -> None:
        for threads in (self._threads, self._uploads):
            threads.shutdown(cancel_futures=True)

    async def uploaded(self, file: BinaryIO) -> Image.Image:
        """Decodes an upload.

        Raises:
            NotAPhoto: The upload is not a photo, or too large.
        """
        return await asyncio.get_running_loop().run_in_executor(self._uploads, self._decode, file)

    async def shown(self, image_id: str, size: int) -> tuple[bytes, str]:
        """A photo of the index as a small JPEG without metadata, and a hash of it.

        Raises:
            KeyError: The index has no such photo.
            UnreadableImageError: The file is gone or torn; the message names it.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._show, image_id, size)

    def _show(self, image_id: str, size: int) -> tuple[bytes, str]:
        path = self.searcher.photo(image_id)
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            raise UnreadableImageError(f"{path}: no such photo.") from None
        return self._drawn(path, changed, min(size, LARGEST))

    def _decode(self, file: BinaryIO) -> Image.Image:
        try:
            with open_photo(file) as header:  # reads no pixels yet
                pixels, most = header.width * header.height, self.pixels
                most = most if isinstance(header, JpegImageFile) else most // WHOLE  # MPO of phones is JPEG too
            if pixels > most:
                raise NotAPhoto(
                    f"The photo has {pixels:,} pixels, at most {most:,} are read of {header.format}. Scale it down."
                )
            file.seek(0)
            return fit_within(load_image(file, at_least=SEARCHED), max_side=SEARCHED)
        except UnreadableImageError as error:
            if isinstance(error.__cause__, UnidentifiedImageError):
                raise NotAPhoto("That is not a photo. JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF are read.") from None
            raise NotAPhoto("The photo cannot be decoded; it may be torn. Send another one.") from None


def _draw(path: Path, changed: int, size: int) -> tuple[bytes, str]:
    """The JPEG and its hash. `changed`, when the file was written, is a key of the cache."""
    image = fit_within(load_image(path, at_least=size), max_side=size)
    image.info = {}  # Pillow would write the file's comment again
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85, optimize=True)
    data = file.getvalue()
    return data, hashlib.blake2b(data, digest_size=16).hexdigest()
