"""The photos that a table names."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fashionclip.tables.records import whole_number

EXAMPLES = 3  # names said of those that do not match
_SUFFIX = re.compile(r"\.[a-zA-Z]{3,4}$")  # of a photo, which a table may have in another case or as another kind


def composed(name: str) -> str:
    """A name with each accent as part of its letter; macOS keeps them apart in names of files."""
    return unicodedata.normalize("NFC", name)


def spellings(name: str) -> Iterator[str]:
    r"""The paths that a photo's name in a table may mean, likeliest first: with either slash, as a number, and without
    folders that lie above the photos.

    >>> list(spellings(r".\shop\1.jpg")), list(spellings("15970.0"))
    (['shop/1.jpg', '1.jpg'], ['15970.0', '15970'])
    """
    path = posixpath.normpath(composed(name.strip().replace("\\", "/")))
    yield path
    if whole_number(path) != path:
        yield whole_number(path)
    while "/" in path:
        path = path.partition("/")[2]
        yield path


@dataclass(frozen=True)
class Matches:
    """Which rows of a table name which photos.

    Attributes:
        rows: Row of each photo; None where it has none.
        strangers: Rows that name none of the photos.
    """

    rows: list[int | None]
    strangers: list[int]


def match_photos(paths: Sequence[str], names: Sequence[str]) -> Matches:
    """Finds the row of each photo in a table that names it by path or by file name, with suffix or without.

    Args:
        paths: Paths of the photos below their folder, with "/".
        names: Names as the rows of the table have them; of those that are the same, the last one counts.
    """
    paths = list(map(composed, paths))
    said = [next(spellings(name)) if name else "" for name in names]
    row_of = {name: row for row, name in enumerate(said) if name}
    for name, row in list(row_of.items()):
        row_of.setdefault(whole_number(name), row)
    rows = [next((row_of[key] for key in keys_of(path) if key in row_of), None) for path in paths]

    ends: dict[str, int | None] = {}  # of the paths that are left; None where two end alike
    for row in {row_of[name] for name in said if name} - set(rows) if None in rows else ():
        meant = list(spellings(said[row]))
        for end in dict.fromkeys([*meant[1:], *(_SUFFIX.sub("", path) for path in meant)]):
            ends[end] = None if end in ends else row
    for photo, path in enumerate(paths if ends else ()):
        if rows[photo] is None:
            rows[photo] = next((ends[key] for key in keys_of(path)[:2] if ends.get(key) is not None), None)
    used = set(rows)
    return Matches(rows, [row for row, name in enumerate(said) if not name or row_of[name] not in used])


def told(matches: Matches, *, paths: Sequence[str], names: Sequence[str]) -> str:
    """What a match leaves open: rows without photos and photos without rows, with examples; "" if nothing."""
    strangers = [names[row] for row in matches.strangers]
    alone = [path for path, row in zip(paths, matches.rows, strict=True) if row is None]
    says = []
    if strangers:
        says.append(f"{len(strangers):,} of {len(names):,} rows name none of the photos, such as {_some(strangers)}")
    if alone:
        says.append(f"{len(alone):,} of {len(paths):,} photos have no row, such as {_some(alone)}")
    return "; ".join(says)


@dataclass(frozen=True)
class Located:
    """Where a path of a table leads.

    Attributes:
        file: Photo, which may not exist.
        inside: Whether it lies in the root.
        key: Path below the root; of a photo outside, one by the hash of its place.
    """

    file: Path
    inside: bool
    key: str


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
    return Located(
        file=file,
        inside=False,
        key=f"outside/{hashlib.blake2b(str(file).encode(), digest_size=8).hexdigest()}/{file.name}",
    )


def keys_of(path: str) -> tuple[str, str, str, str]:
    """What a table may call a photo: path and file name, each with suffix and without."""
    stem = path.rpartition(".")[0]
    return path, stem, path.rpartition("/")[2], stem.rpartition("/")[2]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:EXAMPLES]))
