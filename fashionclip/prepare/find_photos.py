"""A folder of photos as a source: which photos it has, and which of them belong together."""

from __future__ import annotations

import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fashionclip.errors import InputError
from fashionclip.foreign_text import is_utf8
from fashionclip.images import SUFFIXES
from fashionclip.manifest import stable_hash
from fashionclip.tables.photo_names import match_photos, told
from fashionclip.tables.table import read_table

# Pictures that Pillow does not read, or not by itself.
NOT_READ = {".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".eps", ".ico", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
TWO_NEEDED = (
    "expected at least two base photos (a negative is another one). Give a folder with more photos as dataset.source, "
    "or raise dataset.limit."
)


def photos_below(folder: Path, *, without: Collection[Path] = ()) -> list[str]:
    """Finds the photos in a folder and its subfolders, and says on the terminal what is left out, and why.

    Names that begin with a dot are passed over. A link to a photo in the folder is a photo; whatever leads out of it
    is left out, and so is a linked folder in it, whose photos are found where they are.

    Args:
        folder: Folder to look in.
        without: Folders in it that are passed over, such as that of the dataset to be made.

    Returns:
        Paths below the folder, with "/", sorted.
    """
    top, found = os.path.realpath(folder), list[str]()
    passed = {os.path.realpath(one) for one in without}
    left_out: dict[tuple[str, str], list[str]] = defaultdict(list)  # what, why: names
    inside = [""]
    while inside:
        below = inside.pop()
        try:
            entries = list(os.scandir(folder / below))
        except PermissionError:
            left_out["folders", "they may not be opened"].append(below)
            continue
        for entry in entries:
            path, suffix = below + entry.name, os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            if not is_utf8(entry.name):
                left_out["file names", "they are not UTF-8"].append(path)
            elif entry.is_dir(follow_symlinks=False):
                inside += [] if os.path.realpath(entry.path) in passed else [f"{path}/"]
            elif entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(top):
                left_out["links", "they lead out of the folder (copy what they lead to)"].append(path)
            elif suffix in NOT_READ:
                left_out[f"{suffix} files", "they are not read (save them as JPEG)"].append(path)
            elif suffix in SUFFIXES and entry.is_file():
                found.append(path)
            elif suffix in SUFFIXES and not entry.is_dir():
                left_out["names of photos", "they are pipes, devices or links to nothing"].append(path)
    for (what, why), paths in sorted(left_out.items()):
        print(f"{folder}: {len(paths):,} {what} are left out, since {why}, such as {min(paths)!r}")
    return sorted(found)


def ids_of(paths: Iterable[str]) -> dict[str, str]:
    """The image id of each path: without suffix, where that leaves them apart.

    >>> ids_of(["a/1.jpg", "2.jpg", "2.png"])
    {'a/1.jpg': 'a/1', '2.jpg': '2.jpg', '2.png': '2.png'}
    """
    stem = {path: posixpath.splitext(path)[0] for path in paths}
    many = Counter(stem.values())
    return {path: short if many[short] == 1 else path for path, short in stem.items()}


def find_photos(folder: Path, *, root: Path, limit: int | None, seed: int) -> dict[str, Path]:
    """Finds the photos below a folder.

    Args:
        folder: Folder to look in, with its subfolders.
        root: Folder of the dataset to be prepared from them, which may not lie in `folder`.
        limit: Number of photos taken by chance; None for all.
        seed: Seed of that choice.

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
    files = photos_below(folder)
    ids = {base: file for file, base in ids_of(files).items()}
    # The split is by the hash of seed and name alone: chosen by that, all photos would lie in one split.
    chosen = sorted(ids, key=lambda base: stable_hash(f"{seed}/limit/{base}"))[:limit]
    if len(chosen) < 2:
        raise InputError(
            f"dataset.source={folder}: found {len(files)} photos ({', '.join(sorted(SUFFIXES))}) and took "
            f"{len(chosen)}; {TWO_NEEDED}"
        )
    return {base: folder / ids[base] for base in sorted(chosen)}


def read_groups(
    file: Path | str | None, *, image_column: str, group_column: str, photos: Mapping[str, Path], folder: Path
) -> dict[str, str]:
    """Reads which photos belong together.

    Args:
        file: CSV, or None where no photos belong together.
        image_column: Its column with the photo: file name or path below `folder`, with suffix or without.
        group_column: Its column with the group.
        photos: Photos from `find_photos`.
        folder: Folder that was given there.

    Returns:
        The group of each base_id; a photo that the file does not name is a group by itself.

    Raises:
        InputError: The file or a column is missing, or it names none of the photos.
    """
    groups = {base: f"photo {base}" for base in photos}
    if file is None:
        return groups
    titles = (image_column, group_column)
    remedy = "Set dataset.groups_image_column and dataset.groups_column to two of these."
    table = read_table(Path(file), titles=titles).with_titles(titles, where=file, remedy=remedy)
    names, group = table.column(image_column), table.column(group_column)
    paths = [path.relative_to(folder).as_posix() for path in photos.values()]
    matches = match_photos(paths, names)
    if len(matches.strangers) == len(names):
        raise InputError(
            f"{file}: column {image_column!r} names none of the photos in {folder}; it begins with {names[:3]}, the "
            f"photos with {list(photos)[:3]}. Mend the names or the column."
        )
    if says := told(matches, paths=paths, names=names):
        print(f"{file}: {says}")
    named = {base: row for base, row in zip(photos, matches.rows, strict=True) if row is not None and group[row]}
    return groups | {base: f"group {group[row]}" for base, row in named.items()}
