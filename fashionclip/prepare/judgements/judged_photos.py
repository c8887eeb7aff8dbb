"""The photos that judgements name: where they lie, and what can be said of them without a model."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from fashionclip.images import UnreadableImageError, difference_hash, load_image
from fashionclip.manifest import stable_hash
from fashionclip.parallel import on_all_cores


@dataclass(frozen=True)
class Located:
    """Where a path of a table leads.

    Attributes:
        file: The photo; it may not exist.
        inside: Whether it lies in the root.
        key: Its path below the root; of a photo outside, one by the hash of its place.
    """

    file: Path
    inside: bool
    key: str


@dataclass(frozen=True)
class Look:
    """A photo as it was decoded: its shorter side in pixels, hashes of bytes and picture, or why it could not be."""

    side: int = 0
    digest: str = ""
    hash: str = ""
    error: str = ""


def choose_root(paths: Sequence[str], *, table: Path) -> Path:
    """The folder that relative paths of a table begin at: the table's own or the one above, whichever has more."""
    candidates = (table.parent, table.parent.parent)
    names = [path.replace("\\", "/") for path in paths if path]
    # os.path: Path.is_file() raises an error where a name is too long for any file
    return max(candidates, key=lambda folder: sum(os.path.isfile(folder / name) for name in names))


def locate(path: str, *, root: Path) -> Located:
    """Finds the photo of a path, absolute or relative to `root`, with either kind of slash.

    A link that leads out of the root is outside of it.
    """
    forms = (unicodedata.normalize(form, path.replace("\\", "/")) for form in ("NFC", "NFD"))
    files = [Path(os.path.abspath(root / form)) for form in (path.replace("\\", "/"), *forms)]
    file = next(filter(os.path.isfile, files), files[0])  # macOS keeps accents apart in names of files
    top = root.resolve()
    inside = Path(os.path.realpath(file)).is_relative_to(top)  # also where it or a folder above it is a link
    for above in (Path(os.path.abspath(root)), top) if inside else ():
        if file.is_relative_to(above):
            return Located(file=file, inside=True, key=file.relative_to(above).as_posix())
    return Located(file=file, inside=False, key=f"outside/{stable_hash(str(file)):016x}/{file.name}")


def look_at(files: Sequence[Path], *, workers: int | None) -> list[Look]:
    """Decodes photos in full, on all cores; in the order of `files`."""
    looks = on_all_cores(_look, files, workers=workers, fewest=64, chunksize=16)
    return list(tqdm(looks, total=len(files), desc="checking photos", unit="photo"))


def _look(file: Path) -> Look:
    try:
        image = load_image(file)
    except UnreadableImageError as error:
        return Look(error=str(error))
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    return Look(side=min(image.size), digest=digest, hash=difference_hash(image))
