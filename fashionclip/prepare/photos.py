"""Writing a source's photos into a dataset: on all cores, resumable, each at no more than `max_side` pixels."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from fashionclip.atomic import whole_file
from fashionclip.images import (
    EXIF_ORIENTATION,
    UnreadableImageError,
    difference_hash,
    fit_within,
    load_image,
    open_photo,
    twin_hash,
)
from fashionclip.parallel import on_all_cores

JPEG_QUALITY = 92


@dataclass(frozen=True)
class WrittenPhoto:
    """What became of one photo: its `difference_hash` and `twin_hash`, or the error that kept it out."""

    hash: str = ""
    twin: bytes = b""
    error: str = ""


def write_photos(jobs: Sequence[tuple[Path, Path]], *, max_side: int, workers: int | None = None) -> list[WrittenPhoto]:
    """Copies or shrinks photos, and hashes what it wrote.

    A photo already at its target is kept, so a stopped run goes on where it was.

    Args:
        jobs: N pairs of source file and target file (`.jpg`); targets are distinct.
        max_side: Longer side of the written photo, in pixels, at most.
        workers: Number of processes, by default one a core; 0 works in this process.

    Returns:
        N outcomes in the order of `jobs`.
    """
    for folder in {target.parent for _, target in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    work = partial(_write_photo, max_side=max_side)
    done = on_all_cores(work, jobs, workers=workers, fewest=64, chunksize=16)
    return list(tqdm(done, total=len(jobs), desc="photos", unit="photo"))


def _write_photo(job: tuple[Path, Path], *, max_side: int) -> WrittenPhoto:
    source, target = job
    try:
        if target.exists():
            pass
        elif _fits_as_it_is(source, max_side):
            load_image(source)  # a truncated file must be found now, not in training
            with whole_file(target, sync=False) as file, source.open("rb") as original:
                shutil.copyfileobj(original, file)  # not a link: who writes over the source would change both
        else:
            photo = fit_within(load_image(source, at_least=max_side), max_side=max_side)
            write_jpeg(photo, target, quality=JPEG_QUALITY, subsampling=0)
        photo = load_image(target)
        return WrittenPhoto(hash=difference_hash(photo), twin=twin_hash(photo))
    except UnreadableImageError as error:
        return WrittenPhoto(error=str(error))


def write_jpeg(photo: Image.Image, file: Path, **options: Any) -> None:
    """Writes a photo whole or not at all. By itself Pillow does not notice a disk that took only the first part.

    Args:
        photo: Photo to write.
        file: File to write, replaced where it is there.
        options: Options of Pillow's JPEG, such as `quality`.
    """
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG", **options)
    with whole_file(file, sync=False) as stream:
        stream.write(encoded.getvalue())


def _fits_as_it_is(source: Path, max_side: int) -> bool:
    try:
        with open_photo(source) as image:
            upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
            return image.format == "JPEG" and image.mode == "RGB" and upright and max(image.size) <= max_side
    except Exception:
        return False  # load_image says what is wrong
