"""A folder of photos as a source: which photos it has, and which of them belong together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import stable_hash

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
TWO_NEEDED = (
    "expected at least two base photos (a negative is another one). Give a folder with more photos as dataset.source, "
    "or raise dataset.limit."
)


def find_photos(folder: Path, *, root: Path, limit: int | None, seed: int) -> dict[str, Path]:
    """Finds the photos below a folder.

    Args:
        folder: Where to look, in any subfolder.
        root: Of the dataset that shall be prepared from them; it may not lie in `folder`.
        limit: Take so many by chance, None for all.
        seed: Of that choice.

    Returns:
        Files by base_id: the path below the folder without suffix (with it, where two differ in nothing else), sorted.

    Raises:
        InputError: There are fewer than two, or `root` lies among them.
    """
    if not folder.is_dir():
        raise InputError(f"dataset.source={folder}: no such folder. Give a folder of photos, or null for the demo's.")
    if root.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"dataset.root={root}: lies in dataset.source={folder}, where its photos would be read as base photos. "
            "Choose another dataset.root."
        )
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    files = sorted(path.relative_to(folder) for path in paths if path.suffix.lower() in PHOTO_SUFFIXES)
    stems = Counter(file.with_suffix("") for file in files)
    ids = {(file if stems[file.with_suffix("")] > 1 else file.with_suffix("")).as_posix(): file for file in files}
    # The split is by the hash of seed and name alone: chosen by that, all photos would lie in one split.
    chosen = sorted(ids, key=lambda base: stable_hash(f"{seed}/limit/{base}"))[:limit]
    if len(chosen) < 2:
        raise InputError(
            f"dataset.source={folder}: found {len(files)} photos ({', '.join(sorted(PHOTO_SUFFIXES))}) and took "
            f"{len(chosen)}; {TWO_NEEDED}"
        )
    return {base: folder / ids[base] for base in sorted(chosen)}


def read_groups(
    file: Path | str | None, *, image_column: str, group_column: str, photos: Mapping[str, Path], folder: Path
) -> dict[str, str]:
    """Reads which photos belong together.

    Args:
        file: CSV, or None where none do.
        image_column: Its column with the photo: file name or path below `folder`, with suffix or without.
        group_column: Its column with the group.
        photos: From `find_photos`.
        folder: As given there.

    Returns:
        The group of each base_id; a photo that the file does not name is a group by itself.

    Raises:
        InputError: The file or a column is missing, or it names none of the photos.
    """
    groups = {base: f"photo {base}" for base in photos}
    if file is None:
        return groups
    if not Path(file).is_file():
        raise InputError(f"dataset.groups_file={file}: no such file. Give a CSV, or null.")
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    missing = [column for column in (image_column, group_column) if column not in table]
    if missing:
        raise InputError(
            f"{file}: no column {', '.join(map(repr, missing))}; has {list(table.columns)}. Set "
            "dataset.groups_image_column and dataset.groups_column to two of these."
        )
    named = dict(zip(table[image_column], table[group_column], strict=True))
    found = 0
    for base, path in photos.items():
        inside = path.relative_to(folder)
        spellings = (inside.as_posix(), inside.with_suffix("").as_posix(), path.name, path.stem)
        group = next((named[spelling] for spelling in spellings if named.get(spelling)), None)
        if group is not None:
            groups[base], found = f"group {group}", found + 1
    if not found:
        raise InputError(
            f"{file}: column {image_column!r} names none of the photos in {folder}; it begins with "
            f"{list(table[image_column][:3])}, the photos with {list(photos)[:3]}. Mend the names or the column."
        )
    return groups
