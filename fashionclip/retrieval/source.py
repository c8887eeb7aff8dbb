"""What is to be indexed: a prepared dataset, or any folder of photos, with a table of what they show."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import COLUMNS, read_dataset
from fashionclip.retrieval.photo import Photo, Value
from fashionclip.retrieval.where import LARGEST, plain_name

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
# Columns of a table by what they mean; the first that is there counts, of those for photos the one that names most.
IMAGE = ("image", "image_path", "path", "file", "file_name", "filename", "image_id", "id")
ITEM = ("item_id", "product_id", "sku")
TEXT = ("text", "full_text", "caption", "title", "display_name", "product_display_name", "name", "description")
CATEGORY = ("category", "article_type")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")  # "007" and "1e5" are codes


@dataclass(frozen=True)
class Source:
    """Photos to index.

    Attributes:
        root: Folder that their paths begin at.
        table: One row a photo, sorted as they shall be indexed: `image_id, item_id, path, text, category` and then
            attributes, each of text or of numbers; what is not known is None.
    """

    root: Path
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def photos(self) -> Iterator[Photo]:
        """One by one, since a million of them would be large."""
        fixed = ["image_id", "item_id", "path", "text", "category"]
        names = [str(name) for name in self.table if name not in fixed]
        columns = [self.table[name] for name in fixed + names]
        for image_id, item_id, path, text, category, *values in zip(*columns, strict=True):
            known = {name: _plain(value) for name, value in zip(names, values, strict=True) if value is not None}
            yield Photo(image_id, item_id, path, text, category, known)


def read_source(folder: Path, *, table: Path | None = None) -> Source:
    """Reads what is to be indexed.

    Args:
        folder: A prepared dataset, or a folder with photos in it or in its subfolders.
        table: CSV with a row a photo, for a plain folder.

    Raises:
        InputError: There is no photo, or the table fits none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a prepared dataset or a folder of photos.")
    if (folder / "dataset.json").is_file() and (folder / "manifest.parquet").is_file():
        if table is not None:
            raise InputError(f"--table {table}: {folder} is a prepared dataset and has its own. Leave it out.")
        manifest = read_dataset(folder).manifest
        return Source(
            folder,
            _typed(manifest.drop(columns=["split", "domain", "group_id", "photo_hash"], errors="ignore"), keep=COLUMNS),
        )
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    inside = sorted(path.relative_to(folder).as_posix() for path in paths if path.suffix.lower() in SUFFIXES)
    inside = [path for path in inside if not any(part.startswith(".") for part in path.split("/"))]
    odd = [path for path in inside if not _encodes(path)]
    if odd:
        first = odd[0].encode("utf-8", "backslashreplace").decode()
        print(f"{folder}: {len(odd)} file names are left out, since they are not UTF-8, such as {first!r}")
        inside = sorted(set(inside) - set(odd))
    if not inside:
        raise InputError(f"{folder}: no photos ({', '.join(sorted(SUFFIXES))}) in it or its subfolders.")
    photos = pd.DataFrame({"image_id": inside, "item_id": inside, "path": inside, "text": "", "category": ""})
    return Source(folder, photos if table is None else _described(photos, table))


def _encodes(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _described(photos: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Adds what a CSV says of the photos."""
    if not file.is_file():
        raise InputError(f"--table {file}: no such file. Give a CSV with a row a photo.")
    table = pd.read_csv(file, dtype=str, keep_default_na=False).rename(columns=str)
    names = {plain_name(name): name for name in reversed(list(table))}

    def column(choices: tuple[str, ...]) -> str | None:
        return next((names[choice] for choice in choices if choice in names), None)

    candidates = dict.fromkeys([names[choice] for choice in IMAGE if choice in names] + [str(table.columns[0])])
    rows_by = {name: _rows(photos["path"].tolist(), table[name].tolist()) for name in candidates}
    image = max(candidates, key=lambda name: sum(row is not None for row in rows_by[name]))
    rows = rows_by[image]
    if all(row is None for row in rows):
        raise InputError(
            f"--table {file}: column {image!r} names none of the photos; it begins with {list(table[image][:3])}, the "
            f"photos with {list(photos['path'][:3])}. Mend the names, or call the column with them 'image'."
        )
    told = table.reindex([-1 if row is None else row for row in rows]).fillna("").reset_index(drop=True)
    item, text, category = column(ITEM), column(TEXT), column(CATEGORY)
    photos = photos.assign(
        item_id=told[item].where(told[item] != "", photos["item_id"]) if item else photos["item_id"],
        text=told[text] if text else "",
        category=told[category] if category else "",
    )
    rest = told.drop(columns=[name for name in {image, item, text, category} if name])
    rest = rest.rename(columns={name: f"table_{name}" for name in rest if plain_name(str(name)) in photos})
    return _typed(pd.concat([photos, rest], axis=1), keep=tuple(map(str, photos)))


def _rows(paths: list[str], names: list[str]) -> list[int | None]:
    """Row of each photo in a table that names it by path or by file name, with suffix or without."""
    row_of = {name.strip().replace(os.sep, "/"): row for row, name in enumerate(names)}
    found = []
    for path in paths:
        stem = path.rpartition(".")[0]
        spellings = (path, stem, path.rpartition("/")[2], stem.rpartition("/")[2])
        found.append(next((row_of[spelling] for spelling in spellings if spelling in row_of), None))
    return found


def _typed(table: pd.DataFrame, *, keep: tuple[str, ...]) -> pd.DataFrame:
    """Attributes as numbers where every value of a column is one, else as text; missing and empty ones as None."""
    columns: dict[str, Any] = {}
    for name in table:
        plain = str(name).replace('"', "'").replace("\\", "/")  # such a name could not be asked for
        columns[plain] = table[name].tolist() if name in keep else _values(table[name].tolist())
    return pd.DataFrame(columns, dtype=object)


def _values(values: list[Any]) -> list[Value | None]:
    known = [None if _is_empty(value) else value for value in values]
    if any(isinstance(value, bool) or not _is_number(value) for value in known if value is not None):
        return [None if value is None else str(value).strip() for value in known]
    floats = [None if value is None else float(value) for value in known]
    whole = all(isinstance(value, int) or "." not in str(value) for value in known if value is not None)
    return [None if value is None else int(value) if whole else value for value in floats]


def _is_empty(value: Any) -> bool:
    return (pd.api.types.is_scalar(value) and bool(pd.isna(value))) or str(value).strip() == ""


def _is_number(value: Any) -> bool:
    text = str(value).strip()
    number = isinstance(value, int | float) or _NUMBER.fullmatch(text) is not None
    return number and math.isfinite(float(text)) and abs(float(text)) <= LARGEST


def _plain(value: Any) -> Value:
    return value.item() if hasattr(value, "item") else value
