"""Any catalogue to a prepared dataset: a table with a row a photo or a product, read by a map of its columns.

A row may name several photos: in one cell, in several columns, or in further rows of the same product. What a row does
not say of its product, such as its title, the first row of that product which says it does.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.images import SUFFIXES
from fashionclip.manifest import (
    MANIFEST_COLUMNS,
    RATIOS,
    PreparedDataset,
    assign_splits,
    check_ratios,
    joined_groups,
    text_key,
)
from fashionclip.prepare.conversion import conversion
from fashionclip.prepare.find_photos import photos_below
from fashionclip.prepare.near_duplicates import near_pairs
from fashionclip.prepare.photos import write_photos
from fashionclip.prepare.products.columns import KNOWN_TITLES, ProductColumns, choose_columns, titles_in
from fashionclip.tables import Table, composed, match_photos, read_table, value_of

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx")
PHOTO_FOLDERS = ("images", "photos", "data", ".")  # beside the table
SAYS_KIND = (20, 0.05)  # a text that more photos and a larger share of them have is not one product's
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_WHOLE = re.compile(r"(\d+)\.0+")  # a number that a program wrote with decimals


def prepare_products(
    *,
    name: str = "products",
    source: Path | str,
    root: Path | str,
    columns: Mapping[str, str | list[str] | Mapping[str, str | None] | None] | None = None,
    max_side: int = 448,
    ratios: Mapping[str, float] = RATIOS,
    seed: int = 0,
    workers: int | None = None,
) -> PreparedDataset:
    """Reads, groups, splits and writes a catalogue; see the module for its form.

    The text is the fields of `texts` that a product has, joined by ". "; where there are several, each is a column of
    the manifest as well (`text_fields` of dataset.json). Photos of one product, of one group, of one text or that show
    the same picture share a `group_id`, and so a split; a text that is no product's own, such as a kind of garment,
    does not count.

    Args:
        name: Name of the dataset, for the record.
        source: Table, or folder with exactly one.
        root: Folder of the prepared dataset.
        columns: Titles of the table's columns by what they mean: `image` (one or several), `texts` (by field, such as
            title and description), `item` (the product), `group` (what must not straddle splits, such as a style),
            `category`, and further names of attributes. What is not given is guessed; null: the table has none.
        max_side: Longer side of a written photo, in pixels, at most; about twice what the backbone sees.
        ratios: Shares of train, val and test.
        seed: Seed of the split.
        workers: Number of processes, by default one a core.

    Raises:
        InputError: Source or columns are missing, or no row is left.
    """
    check_ratios(ratios)
    file = _find_table(Path(source))
    print(f"reading {file}")
    table = read_table(file, titles=[*KNOWN_TITLES, *titles_in(columns)])
    photos = _Photos(file.parent)
    chosen = choose_columns(table, columns, names_photo=photos.names_one, where=str(file))
    rows, dropped = _rows(table, chosen, photos)
    config = {"name": name, "columns": columns, "max_side": max_side, "ratios": dict(ratios), "seed": seed}
    with conversion(
        Path(root),
        config=config,
        files=sorted(photos.files.values()),
        data=file.read_bytes(),
        besides={"grouped_by": "item, group, words of texts"},
    ) as new:
        if new.standing:
            return new.standing
        read = len(rows) + len(dropped)
        jobs = [(photos.files[row["photo"]], new.folder / row["path"]) for row in rows]
        kept, hashes = [], []
        for row, written in zip(rows, write_photos(jobs, max_side=max_side, workers=workers), strict=True):
            if written.error:
                dropped.append((row["image_id"], "photo_unreadable", written.error))
            else:
                kept.append(row)
                hashes.append(written.hash)
        manifest = _manifest(kept, hashes, chosen, ratios=ratios, seed=seed)
        values = {name: manifest[name].nunique() for name in chosen.attributes if name in manifest}
        shared = [name for name, count in values.items() if 2 * count <= len(manifest)]
        return new.finish(
            manifest=manifest,
            about={"text_fields": _fields(chosen), "attributes": shared},
            dropped=dropped,
            read=read,
            record={"source": str(source), "table": file.name},
        )


def _find_table(source: Path) -> Path:
    if source.is_file():
        return source
    found = sorted(file for file in source.glob("*") if file.suffix.lower() in TABLE_SUFFIXES)
    if len(found) != 1:
        got = (
            f"found {len(found)} tables {[file.name for file in found]}"
            if source.exists()
            else "no such file or folder"
        )
        raise InputError(
            f"dataset.source={source}: {got}. Expected a table ({', '.join(TABLE_SUFFIXES)}), or a folder with exactly "
            "one. Name the file itself as dataset.source."
        )
    return found[0]


class _Photos:
    """Photos that a table names, found by path, or by a name that only one photo below its folder has.

    Attributes:
        files: File of each name that was found.
    """

    def __init__(self, folder: Path) -> None:
        self.folders = [folder / name for name in PHOTO_FOLDERS if (folder / name).is_dir()]
        self.files: dict[str, Path] = {}
        self._direct = lru_cache(maxsize=None)(self._look_up)

    def names_one(self, cell: str) -> bool:
        """Whether all that a cell names look like photos, or are there."""
        return all(_like_a_photo(name) or self._direct(name) for name in self.split(cell))

    def split(self, cell: str) -> list[str]:
        """The photos that a cell names: one, a JSON list, or several parted by "|", ";" or ","."""
        if cell.startswith("[") and cell.endswith("]"):
            try:
                return [str(name) for name in json.loads(cell) if name]
            except ValueError:
                pass
        for separator in "|;," if not self._direct(cell) else "":
            parts = [part.strip() for part in cell.split(separator) if part.strip()]
            if len(parts) > 1 and all(_like_a_photo(part) or self._direct(part) for part in parts):
                return parts
        return [cell]

    def find(self, names: Sequence[str]) -> None:
        """Finds the files of distinct names, and says which photos are not among them."""
        self.files = {name: file for name in names if (file := self._direct(name))}
        folder = self.folders[0]
        listed = photos_below(folder)
        rest = [name for name in names if name not in self.files]
        matches = match_photos(listed, rest).rows
        several = Counter(matches)
        for path, place in zip(listed, matches, strict=True):
            if place is not None and several[place] == 1:
                self.files[rest[place]] = folder / path
        known = {os.path.realpath(file) for file in self.files.values()}
        if alone := [path for path in listed if os.path.realpath(folder / path) not in known]:
            print(f"{folder}: {len(alone):,} of {len(listed):,} photos have no row, such as {alone[0]!r}")

    def ids(self) -> dict[str, str]:
        """The image id of each name that was found: path of its photo, without suffix where that is enough."""
        keys = {name: self._key(file) for name, file in self.files.items()}
        stems = {key: key.rpartition(".")[0] for key in keys.values()}
        many = Counter(stems.values())
        return {name: stems[key] if many[stems[key]] == 1 else key for name, key in keys.items()}

    def _key(self, file: Path) -> str:
        for folder in self.folders:
            if file.is_relative_to(folder):
                return composed(file.relative_to(folder).as_posix())
        return f"outside/{hashlib.blake2b(str(file).encode(), digest_size=8).hexdigest()}/{file.name}"

    def _look_up(self, name: str) -> Path | None:
        if name.lower().startswith("file:"):
            name = unquote(urlsplit(name).path)
        name = name.replace("\\", "/")
        forms = dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
        files = (os.path.normpath(folder / form) for folder in self.folders for form in forms)
        return next((Path(file) for file in files if os.path.isfile(file)), None)


def _like_a_photo(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _rows(
    table: Table, columns: ProductColumns, photos: _Photos
) -> tuple[list[dict[str, str]], list[tuple[str, str, str]]]:
    """One row a photo (`photo`, its name; `image_id, path, item_id, group, category, text`, fields, attributes), and
    image id, reason and detail of what is left out."""
    dropped = [(first, "malformed", f"line {line}: {why}") for line, first, why in table.unread]
    products: list[dict[str, str]] = []  # one each row of the table
    named: list[list[str]] = []
    cells = {title: table.column(title) for title in table.header}
    for place in range(len(table.rows)):
        row = {field: _clean(cells[title][place]) for field, title in {**columns.texts, **columns.attributes}.items()}
        for role, title in (("item", columns.item), ("group", columns.group), ("category", columns.category)):
            row[role] = cells[title][place] if title else ""
        row["item"] = whole[1] if (whole := _WHOLE.fullmatch(row["item"])) else row["item"]
        products.append(row)
        images = (cells[title][place] for title in columns.image)
        named.append([name for cell in images if cell for name in photos.split(cell)])
    photos.find(list(dict.fromkeys(name for names in named for name in names)))
    ids = photos.ids()
    _fill_up(products)
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for product, names, line in zip(products, named, table.lines, strict=True):
        if not names:
            dropped.append((product["item"], "no_photo", f"line {line}: names no photo"))
        known = [ids[name] for name in names if name in ids]
        for name in names:
            if name not in ids:
                dropped.append((name, "photo_missing", f"line {line}: no photo {name!r}"))
                continue
            image_id = ids[name]
            if image_id in seen:
                dropped.append((image_id, "repeated_photo", f"line {line}: an earlier row has this photo"))
                continue
            seen.add(image_id)
            text = ". ".join(part for part in (product[field] for field in columns.texts) if part)
            own = {"photo": name, "image_id": image_id, "path": f"images/{image_id}.jpg", "text": text}
            rows.append({**product, **own, "item_id": product["item"] or known[0]})
    return rows, dropped


def _fill_up(products: list[dict[str, str]]) -> None:
    """Gives rows of one item what only another of them says."""
    of_item: dict[str, dict[str, str]] = {}
    for row in products:
        if row["item"]:
            known = of_item.setdefault(row["item"], {})
            for name, value in row.items():
                if value:
                    known.setdefault(name, value)
    for row in products:
        if row["item"]:
            row.update({name: of_item[row["item"]].get(name, "") for name, value in row.items() if not value})


def _manifest(
    rows: list[dict[str, str]], hashes: list[str], columns: ProductColumns, *, ratios: Mapping[str, float], seed: int
) -> pd.DataFrame:
    manifest = pd.DataFrame(rows)
    if manifest.empty:
        return manifest
    first = manifest[next(iter(columns.texts))] if columns.texts else manifest["text"]
    names = first.where(first != "", manifest["text"])
    texts = [_own_texts(column) for column in (names, manifest["text"])]
    pairs = near_pairs(hashes)
    for values in (manifest["item_id"], manifest["group"], *texts):
        pairs += _neighbours(values)
    manifest["group_id"] = joined_groups(manifest["image_id"], pairs=pairs)
    manifest["split"] = assign_splits(manifest["group_id"], ratios=ratios, seed=seed)
    manifest["domain"] = "catalog"
    return manifest[[*MANIFEST_COLUMNS, *_fields(columns), *columns.attributes]].astype(str)


def _fields(columns: ProductColumns) -> list[str]:
    """Parts of the text that are columns of the manifest as well."""
    return list(columns.texts) if len(columns.texts) > 1 else []


def _own_texts(texts: Sequence[str]) -> list[str]:
    """Each text's words in an order of their own; "" where so many have them that they are no product's own."""
    words = [" ".join(sorted(text_key(text).split())) for text in texts]
    many = Counter(words)
    most = max(SAYS_KIND[0], SAYS_KIND[1] * len(words))
    return [one if many[one] <= most else "" for one in words]


def _neighbours(values: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of each value and of where it stood before; "" is none."""
    last: dict[str, int] = {}
    pairs = []
    for place, value in enumerate(values):
        if value and value in last:
            pairs.append((last[value], place))
        last[value] = place
    return pairs


def _clean(value: str) -> str:
    return value_of(" ".join(html.unescape(_TAG.sub(" ", value)).split()))
