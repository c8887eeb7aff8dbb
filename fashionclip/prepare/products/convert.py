"""Any catalogue to a prepared dataset: a table with a row a photo or a product, read by a map of its columns.

A row may name several photos: in one cell, in several columns, or in further rows of the same product. What a row does
not say of its product, such as its title, the first row of that product says which has it.
"""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.images import SUFFIXES
from fashionclip.manifest import (
    MANIFEST_COLUMNS,
    RATIOS,
    SPLITS,
    PreparedDataset,
    assign_splits,
    joined_groups,
    ratios_with_val,
    text_key,
)
from fashionclip.prepare.conversion import conversion
from fashionclip.prepare.download import download_photos
from fashionclip.prepare.near_duplicates import near_pairs, twins_across
from fashionclip.prepare.photos import write_photos
from fashionclip.prepare.products.columns import SPLIT_NAMES, ProductColumns, choose_columns
from fashionclip.prepare.products.photos import NamedPhotos, is_address
from fashionclip.prepare.products.source import read_catalogue
from fashionclip.tables.records import value_of, whole_number
from fashionclip.tables.table import Table

SAYS_KIND = (20, 0.05)  # a text that more photos and a larger share of them have is not one product's
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


def prepare_products(
    *,
    name: str = "products",
    source: Path | str,
    root: Path | str,
    columns: Mapping[str, str | list[str] | Mapping[str, str | None] | None] | None = None,
    allow_outside_root: bool = False,
    cache: Path | str = "data/raw/photos",
    max_bytes: int = 20_000_000,
    retries: int = 2,
    timeout: float = 20.0,
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
        source: Table, or folder of which `read_catalogue` knows the form, or `hf:NAME`.
        root: Folder of the prepared dataset.
        columns: Titles of the table's columns by what they mean: `image` (one or several), `texts` (by field, such as
            title and description), `item` (the product), `group` (what must not straddle splits, such as a style),
            `category`, `split`, and further names of attributes. What is not given is guessed; null: there is none.
        allow_outside_root: Whether photos may lie outside the folder of the table.
        cache: Folder of photos that are downloaded, or taken out of a Hugging Face dataset.
        max_bytes: Largest size of a downloaded photo.
        retries: Number of further tries of a download.
        timeout: Seconds that one try may take.
        max_side: Longer side of a written photo, in pixels, at most; about twice what the backbone sees.
        ratios: Shares of train, val and test, where the catalogue gives no splits; without val a tenth of train becomes
            val.
        seed: Seed of the split.
        workers: Number of processes, by default one a core.

    Raises:
        InputError: Source or columns are missing, or no row is left.
    """
    ratios = ratios_with_val(ratios)
    catalogue = read_catalogue(str(source), columns=columns, root=Path(root), cache=Path(cache))
    download = partial(download_photos, cache=Path(cache), max_bytes=max_bytes, retries=retries, timeout=timeout)
    photos = NamedPhotos(
        catalogue.folders, download=download, without=(Path(root), Path(cache)), allow_outside=allow_outside_root
    )
    given = {**catalogue.columns, **(columns or {})}
    return prepare_table(
        catalogue.table,
        choose_columns(
            catalogue.table, given, names_photo=(photos.names_some, photos.names_listed), where=catalogue.where
        ),
        photos,
        root=Path(root),
        config={"name": name, "columns": columns, "max_side": max_side, "ratios": ratios, "seed": seed},
        data=catalogue.data,
        record={"source": str(source)},
        workers=workers,
    )


def prepare_table(
    table: Table,
    columns: ProductColumns,
    photos: NamedPhotos,
    *,
    root: Path,
    config: Mapping[str, Any],
    data: bytes,
    files: Iterable[Path] = (),
    record: Mapping[str, Any],
    needed: str | None = None,
    distinct: Sequence[str] = (),
    workers: int | None,
) -> PreparedDataset:
    """Prepares what a table says of photos.

    Args:
        table: Catalogue.
        columns: Meaning of its columns.
        photos: What finds its photos.
        root: Folder of the prepared dataset.
        config: Settings, `max_side`, `ratios` and `seed` among them, which `dataset.json` records.
        data: Contents of the table, compared byte for byte.
        files: Further files that the table was made of.
        record: What `dataset.json` says in `config` beside the settings.
        needed: Text field, or "text", without which a row is dropped.
        distinct: Text fields of which no two rows may have the same, where they have the first of them.
        workers: Number of processes, by default one a core.
    """
    rows, dropped = _rows(table, columns, photos, needed=needed)
    read = len(rows) + len(dropped)
    with conversion(
        root,
        config=config,
        files=[*sorted(photos.files.values()), *files],
        data=data,
        besides={"grouped_by": "item, group, words of texts that are not many photos'"},
    ) as new:
        if new.standing:
            return new.standing
        jobs = [(photos.files[row["photo"]], new.folder / row["path"]) for row in rows]
        kept, hashes, looks = [], [], []
        seen: set[tuple[str, ...]] = set()
        for row, photo in zip(rows, write_photos(jobs, max_side=config["max_side"], workers=workers), strict=True):
            said = tuple(row[field] for field in distinct)
            if photo.error:
                dropped.append((row["image_id"], "photo_unreadable", photo.error))
            elif said and said[0] and said in seen:
                dropped.append((row["image_id"], "duplicate", f"same {' and '.join(distinct)} as an earlier row"))
            else:
                seen.add(said)
                kept.append(row)
                hashes.append(photo.hash)
                looks.append(photo.twin)
        manifest = _manifest(kept, hashes, columns, ratios=config["ratios"], seed=config["seed"])
        values = {name: manifest[name].nunique() for name in columns.attributes if name in manifest}
        wordless = sum(not row["text"] for row in kept)
        return new.finish(
            manifest=manifest,
            about={
                "text_fields": _fields(columns, manifest),
                "attributes": [name for name, count in values.items() if 2 * count <= len(manifest)],
            },
            dropped=dropped,
            read=read,
            twins=twins_across(manifest["image_id"].tolist(), looks, manifest["split"].tolist()) if kept else None,
            record={**record, "mended_rows": table.mended},
            says=[
                *([f"mended {table.mended} rows"] if table.mended else []),
                *([f"{wordless:,} of {len(kept):,} photos have no text"] if wordless else []),
            ],
        )


def _rows(
    table: Table, columns: ProductColumns, photos: NamedPhotos, *, needed: str | None
) -> tuple[list[dict[str, str]], list[tuple[str, str, str]]]:
    """One row a photo (`photo`, its name; `image_id, path, item_id, group, category, split, text`, fields, attributes),
    and image id, reason and detail of what is left out."""
    dropped = [(_stem(first), "malformed", f"line {line}: {why}") for line, first, why in table.unread]
    cells = {title: table.column(title) for title in table.header}
    roles = {"item": columns.item, "group": columns.group, "category": columns.category, "split": columns.split}
    products: list[dict[str, str]] = []  # one each row of the table
    named: list[list[str]] = []
    for place in range(len(table.rows)):
        row = {name: cells[title][place] if title else "" for name, title in roles.items()}
        row |= {name: clean(cells[title][place]) for name, title in (columns.texts | columns.attributes).items()}
        row |= {name: "" for name in columns.texts if not any(map(str.isalnum, row[name]))}  # such as a dash
        row["category"], row["split"] = clean(row["category"]), SPLIT_NAMES.get(row["split"].casefold(), "")
        row["item"], row["group"] = whole_number(row["item"]), whole_number(row["group"])
        products.append(row)
        images = (cells[title][place] for title in columns.image)
        named.append([name for cell in images if cell for name in photos.split(cell)])
    photos.find(list(dict.fromkeys(name for names in named for name in names)))
    ids = photos.ids()
    _fill_up(products)
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for product, names, line in zip(products, named, table.lines, strict=True):
        product["text"] = ". ".join(part for part in (product[field] for field in columns.texts) if part)
        item = product["item"] or next((ids[name] for name in names if name in ids), "")
        if not names:
            dropped.append((item, "no_photo", f"line {line}: names no photo"))
        for name in names:
            image_id = ids.get(name, _stem(name))
            if image_id in seen:
                dropped.append((image_id, "repeated_photo", f"line {line}: an earlier row has this photo"))
            elif needed and not product[needed]:
                dropped.append((image_id, f"no_{needed}", f"line {line}: it has no {needed}"))
            elif name not in ids:
                why = photos.missing[name] or f"no photo {name!r}"
                reason = "download_failed" if is_address(name) else "photo_missing"
                dropped.append((image_id, reason, f"line {line}: {why}"))
            else:
                seen.add(image_id)
                rows.append(
                    {**product, "photo": name, "image_id": image_id, "path": f"images/{image_id}.jpg", "item_id": item}
                )
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
    given = manifest["split"].tolist()
    apart = dict.fromkeys((one, other) for one, other in pairs if given[one] != given[other])
    if apart:
        one, other = (manifest["image_id"][place] for place in next(iter(apart)))
        print(
            f"{len(apart):,} pairs of photos that belong together lie in two of the given splits, such as {one!r} and "
            f"{other!r}; the splits are kept as they are"
        )
    manifest["group_id"] = joined_groups(manifest["image_id"], pairs=[pair for pair in pairs if pair not in apart])
    manifest["split"] = _splits(manifest["group_id"], given, ratios=ratios, seed=seed)
    manifest["domain"] = "catalog"
    fields = _fields(columns, manifest)
    return manifest[[*MANIFEST_COLUMNS, *fields, *columns.attributes]].astype(str)


def _fields(columns: ProductColumns, manifest: pd.DataFrame) -> list[str]:
    """Parts of the text that are columns of the manifest as well: none where it has one part only."""
    fields = [name for name in columns.texts if name in manifest and (manifest[name] != "").any()]
    return fields if len(fields) > 1 else []


def _splits(groups: Sequence[str], given: Sequence[str], *, ratios: Mapping[str, float], seed: int) -> list[str]:
    """The given splits, and chosen ones where none is given; one that nothing is given for gets a part of another.

    That is train for val, and val for test; all are parts of train where nothing else is given.
    """
    has = {split for split in given if split}
    deal: dict[str, Sequence[str]] = {"": SPLITS}
    if has == {"train"}:
        deal["train"] = SPLITS
    elif has == {"train", "test"}:
        deal["train"] = ("train", "val")
    elif has == {"train", "val"}:
        deal["val"] = ("val", "test")
    chosen = list(given)
    for split, parts in deal.items():
        places = [place for place, one in enumerate(given) if one == split]
        total = sum(ratios[part] for part in parts)
        shares = {part: ratios[part] / total if total and part in parts else 0.0 for part in SPLITS}
        dealt = assign_splits([groups[place] for place in places], ratios=shares if total else ratios, seed=seed)
        for place, one in zip(places, dealt, strict=True) if total else ():
            chosen[place] = one
        if split and (new := [part for part in parts if part != split and part in dealt]):
            print(f"the catalogue gives no {' and no '.join(new)}; a part of its {split} becomes {' and '.join(new)}")
    return chosen


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


def clean(value: str) -> str:
    """A text on one line, without tags and entities of HTML and without quotes around it."""
    if "<" in value or "&" in value:
        value = html.unescape(_TAG.sub(" ", value))
    value = " ".join(value.split())
    return value_of(value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value)


def _stem(name: str) -> str:
    """A name of a photo without the suffix that it may have; an address as it is."""
    if is_address(name):
        return name
    stem, suffix = os.path.splitext(name.strip().replace("\\", "/"))
    return stem if suffix.lower() in SUFFIXES else stem + suffix
