"""The photos to index: a prepared dataset, or any folder of photos with a table of what they show."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.images import SUFFIXES
from fashionclip.manifest import read_dataset
from fashionclip.prepare.find_photos import photos_below
from fashionclip.retrieval.index.filter_fields import Fields, hints, kinds_of
from fashionclip.retrieval.index.filter_parser import LARGEST, holds, parse_where, plain_name
from fashionclip.retrieval.index.indexed_photo import IndexedPhoto, Value
from fashionclip.tables.photo_names import match_photos, told
from fashionclip.tables.table import read_table

# Titles of columns by what they mean. The first that a table has is taken; for photos, the one that names most.
IMAGE = ("image", "image_path", "path", "file", "file_name", "filename", "image_id", "id")
ITEM = ("item_id", "product_id", "sku")
TEXT = ("text", "full_text", "caption", "title", "display_name", "product_display_name", "name", "description")
CATEGORY = ("category", "article_type")
FIXED = ("image_id", "item_id", "path", "text", "category")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")  # "007" and "1e5" are codes, not numbers


@dataclass(frozen=True)
class Source:
    """Photos to index.

    Attributes:
        root: Folder at which their paths begin.
        table: One row a photo, in the order of indexing, with `image_id, item_id, path, text, category` and then
            attributes, each of texts or of numbers; unknown ones are None.
        fingerprint: Fingerprint of a prepared dataset; None for a plain folder.
    """

    root: Path
    table: pd.DataFrame
    fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.table)

    def photos(self) -> Iterator[IndexedPhoto]:
        """The photos one by one, since a million of them would be large."""
        names = [str(name) for name in self.table if name not in FIXED]
        columns = [self.table[name] for name in (*FIXED, *names)]
        for image_id, item_id, path, text, category, *values in zip(*columns, strict=True):
            known = {name: _plain(value) for name, value in zip(names, values, strict=True) if value is not None}
            yield IndexedPhoto(image_id, item_id, path, text, category, known)

    def fields(self) -> Fields:
        """The fields of the photos and their values."""
        fields = Fields()
        for photo in self.photos():
            fields.add(photo)
        return fields

    def passing(self, where: str) -> Source:
        """The photos that pass a filter, such as "domain = 'catalog'"; all of them for "".

        Raises:
            InputError: The filter cannot be read, or none passes it.
        """
        if not where.strip():
            return self
        fields = self.fields().to_json()
        condition = parse_where(where, kinds_of(fields))
        chosen = [holds(condition, photo) for photo in self.photos()]
        if not any(chosen):
            has = "; ".join(hints(condition, fields))
            raise InputError(f"--where {where}: no photo of {self.root} passes it. {has}")
        return replace(self, table=self.table[chosen])

    def sharing(self, field: str | None) -> Iterator[list[IndexedPhoto]]:
        """Lists of the photos that share a value of a field; with None, and without a value, each photo is alone."""
        if field is None:
            yield from ([photo] for photo in self.photos())
            return
        together = self.table.sort_values(field, kind="stable", key=lambda values: values.map(repr))
        for _, photos in groupby(replace(self, table=together).photos(), key=lambda photo: photo.group(field)):
            yield list(photos)


def read_source(folder: Path, *, table: Path | None = None) -> Source:
    """Reads the photos to index.

    Args:
        folder: A prepared dataset, or a folder with photos in it or in its subfolders.
        table: CSV or Excel workbook with one row a photo, for a plain folder; None: there is none.

    Raises:
        InputError: There is no photo, or the table names none of them.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a prepared dataset or a folder of photos.")
    if (folder / "dataset.json").is_file() and (folder / "manifest.parquet").is_file():
        if table is not None:
            raise InputError(f"--table {table}: {folder} is a prepared dataset and has its own. Leave it out.")
        dataset = read_dataset(folder)
        parts = dataset.info.get("text_fields", ())  # which `text` holds as well
        shown = dataset.manifest.drop(columns=["group_id", "photo_hash", *parts], errors="ignore")
        return Source(folder, _typed(shown, keep=FIXED), dataset.info.get("fingerprint"))
    inside = photos_below(folder)
    if not inside:
        raise InputError(f"{folder}: no photos ({', '.join(sorted(SUFFIXES))}) in it or its subfolders.")
    photos = pd.DataFrame({"image_id": inside, "item_id": inside, "path": inside, "text": "", "category": ""})
    return Source(folder, photos if table is None else _described(photos, table))


def _described(photos: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The photos with what a table says of them."""
    table = read_table(file, titles=(*IMAGE, *ITEM, *TEXT, *CATEGORY))
    names = {plain_name(name).replace("_", ""): name for name in reversed(table.header)}

    def columns(choices: tuple[str, ...]) -> list[str]:
        titles = (choice.replace("_", "") for choice in choices)  # as in Kaggle's "productDisplayName"
        return [names[title] for title in titles if title in names]

    paths = photos["path"].tolist()
    candidates = dict.fromkeys([*columns(IMAGE), *table.header[:1]])
    matched = {name: match_photos(paths, table.column(name)) for name in candidates}
    image = max(candidates, key=lambda name: sum(row is not None for row in matched[name].rows))
    rows, named = matched[image].rows, table.column(image)
    if all(row is None for row in rows):
        raise InputError(
            f"--table {file}: column {image!r} names none of the photos; it begins with {named[:3]}, the photos with "
            f"{paths[:3]}. Mend the names, or call the column with them 'image'."
        )
    if says := told(matched[image], paths=paths, names=named):
        print(f"{file}: {says}")
    nothing = [""] * len(table.header)
    known = pd.DataFrame([nothing if row is None else table.rows[row] for row in rows], columns=table.header)
    item, text, category = (next(iter(columns(choices)), None) for choices in (ITEM, TEXT, CATEGORY))
    if not text or not known[text].any():
        expected = f"one of the columns {', '.join(TEXT)}" if not text else f"texts in its column {text!r}"
        print(f"{file}: no photo has a text; expected {expected}, has {table.header}")
    photos = photos.assign(
        item_id=known[item].where(known[item] != "", photos["item_id"]) if item else photos["item_id"],
        text=known[text] if text else "",
        category=known[category] if category else "",
    )
    rest = known.drop(columns=[name for name in {image, item, text, category} if name])
    rest = rest.rename(columns={name: f"table_{name}" for name in rest if plain_name(str(name)) in photos})
    return _typed(pd.concat([photos, rest], axis=1), keep=tuple(map(str, photos)))


def _typed(table: pd.DataFrame, *, keep: tuple[str, ...]) -> pd.DataFrame:
    """The table with attributes as numbers where a column holds nothing else, or as text; missing ones are None."""
    columns: dict[str, Any] = {}
    for name in table:
        plain = str(name).replace('"', "'").replace("\\", "/")  # a filter could not name it
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
