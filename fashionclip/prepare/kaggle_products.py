"""Kaggle's fashion product photos, in either published layout, to a prepared dataset.

`styles.csv`, `images/<id>.jpg` and optionally `styles/<id>.json` (the 44k set "Fashion Product Images"), or one CSV
with the columns `image, description, display name, category` and the photos beside it or in `images/` or `data/`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
from fashionclip.tables import UNUSUAL, composed, layout_of, loose_records, read_table, spellings, value_of

STYLES_HEADER = (
    "id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year", "usage",
    "productDisplayName",
)  # fmt: skip
TABLE_HEADER = ("image", "description", "display name", "category")
ATTRIBUTES = {  # manifest column: styles.csv column
    "gender": "gender", "master_category": "masterCategory", "sub_category": "subCategory", "colour": "baseColour",
    "season": "season", "year": "year", "usage": "usage",
}  # fmt: skip
NO_DESCRIPTION = "style note"  # what the release writes where it has none, besides "-"


@dataclass
class _Source:
    """Rows read so far (image_id, photo, name, description, category, attributes) and what was left out."""

    rows: list[dict[str, str]] = field(default_factory=list)
    dropped: list[tuple[str, str, str]] = field(default_factory=list)  # image_id, reason, detail
    read: int = 0
    mended: int = 0

    def drop(self, image_id: str, reason: str, detail: str) -> None:
        self.dropped.append((image_id, reason, detail))


def prepare_kaggle_products(
    *,
    name: str = "kaggle-products",
    source: Path | str,
    root: Path | str,
    max_side: int = 448,
    ratios: Mapping[str, float] = RATIOS,
    seed: int = 0,
    download: bool = False,
    kaggle_handle: str = "paramaggarwal/fashion-product-images-dataset",
    workers: int | None = None,
) -> PreparedDataset:
    """Cleans, groups, splits and writes the products; see the module for the layouts.

    The text is the name, then ". ", then the description, whichever exist. Dropped and counted: rows without
    photo, with an unreadable one or without any text; in the table with a description column also rows whose
    description is missing, blank, `-` or `style note`; and repeats of (description, name) where there is a description.
    Products that show the same picture, or share a name but for case, punctuation and the order of its words, get one
    `group_id` and so one split.

    Args:
        name: Name of the dataset, for the record.
        source: Folder of the release, or the CSV file.
        root: Folder of the prepared dataset.
        max_side: Longer side of a written photo, in pixels, at most; about twice what the backbone sees.
        ratios: Shares of train, val and test.
        seed: Seed of the split.
        download: Whether to fetch `kaggle_handle` with kagglehub (extra `[kaggle]`) instead of reading `source`.
        kaggle_handle: `owner/dataset` on Kaggle.
        workers: Number of processes, by default one a core.

    Raises:
        InputError: Source or columns are missing, or no row is left.
    """
    check_ratios(ratios)
    table, photos = _locate(_download(kaggle_handle) if download else Path(source))
    photo_files, descriptions = _photo_files(photos), table.parent / "styles"
    with conversion(
        Path(root),
        config={"name": name, "max_side": max_side, "ratios": dict(ratios), "seed": seed},
        files=sorted([*photo_files.values(), *descriptions.glob("*.json")]),
        data=table.read_bytes(),
        besides={"grouped_by": "words of names"},  # a dataset that was grouped otherwise is not this one
    ) as new:
        if new.standing:
            return new.standing
        print(f"reading {table}")
        found = _read_styles(table, descriptions) if table.name == "styles.csv" else _read_table(table)
        rows = _with_photo(found, photo_files)
        named = {row["photo"] for row in found.rows} | {image_id for image_id, _, _ in found.dropped}
        if alone := sorted({*photo_files} - named):
            print(f"{table}: {len(alone):,} of {len(photo_files):,} photos have no row, such as {alone[0]!r}")
        jobs = [(photo_files[row["photo"]], new.folder / row["path"]) for row in rows]
        kept, hashes = [], []
        seen: set[tuple[str, str]] = set()
        for row, written in zip(rows, write_photos(jobs, max_side=max_side, workers=workers), strict=True):
            key = (row["description"], row["name"])
            if written.error:
                found.drop(row["image_id"], "photo_unreadable", written.error)
            elif row["description"] and key in seen:
                found.drop(row["image_id"], "duplicate", "same description and name as an earlier row")
            else:
                seen.add(key)
                kept.append(row)
                hashes.append(written.hash)
        return new.finish(
            manifest=_manifest(kept, hashes, ratios=ratios, seed=seed),
            dropped=found.dropped,
            read=found.read,
            record={"source": str(table), "mended_rows": found.mended},
            says=[f"mended {found.mended} rows"] if found.mended else [],
        )


def _manifest(rows: list[dict[str, str]], hashes: list[str], *, ratios: Mapping[str, float], seed: int) -> pd.DataFrame:
    manifest = pd.DataFrame(rows)
    if manifest.empty:
        return manifest
    names = manifest["name"].where(manifest["name"] != "", manifest["text"])
    manifest["group_id"] = joined_groups(
        manifest["image_id"],
        keys=[[_words(text) for text in column] for column in (names, manifest["text"])],
        pairs=near_pairs(hashes),
    )
    manifest["split"] = assign_splits(manifest["group_id"], ratios=ratios, seed=seed)
    manifest["domain"] = "catalog"
    manifest["item_id"] = manifest["image_id"]
    return manifest[[*MANIFEST_COLUMNS, *(column for column in ATTRIBUTES if column in manifest)]].astype(str)


def _locate(source: Path) -> tuple[Path, Path]:
    """The table and the folder of its photos."""
    if not source.exists():
        raise InputError(
            f"dataset.source={source}: no such file or folder. Expected a folder with styles.csv and images/, or a CSV "
            f"with the columns {', '.join(TABLE_HEADER)}. Give its path, or dataset.download=true."
        )
    if source.is_file():
        tables = [source]
    else:
        # Kaggle's archive holds everything in one inner folder.
        tables = (
            sorted(source.glob("styles.csv")) or sorted(source.glob("*/styles.csv")) or sorted(source.glob("*.csv"))
        )
    if len(tables) != 1:
        raise InputError(
            f"dataset.source={source}: found {len(tables)} tables {[table.name for table in tables]}, expected "
            "styles.csv or exactly one other CSV. Name the file itself as dataset.source."
        )
    table = tables[0]
    folders = [table.parent / "images", table.parent / "data", table.parent]
    return table, next(folder for folder in folders if folder.is_dir())


def _download(handle: str) -> Path:
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub raises requests', its own and OS errors alike
        raise InputError(
            f"dataset.download=true: could not fetch {handle} from Kaggle ({type(error).__name__}: {error}).\n"
            "Install the extra (pip install 'fashionclip[kaggle]') and put your token into ~/.kaggle/kaggle.json; or "
            f"download https://www.kaggle.com/datasets/{handle} in a browser, unzip it so that DIR/styles.csv and "
            "DIR/images/<id>.jpg exist, and run: python prepare.py dataset=kaggle-products dataset.source=DIR"
        ) from error


def _photo_files(folder: Path) -> dict[str, Path]:
    """Photos below a folder by relative name without suffix; real sets have tens of thousands, so it is listed once."""
    found: dict[str, Path] = {}
    for path in photos_below(folder):
        found.setdefault(composed(path.rpartition(".")[0]), folder / path)
    return found


def _photo_ids(name: str) -> list[str]:
    """What `_photo_files` may have for a photo as a table names it, likeliest first."""
    paths = ((path, Path(path).suffix) for path in spellings(name))
    return [path.removesuffix(suffix) if suffix.lower() in SUFFIXES else path for path, suffix in paths]


def _read_styles(table: Path, descriptions: Path) -> _Source:
    layout = layout_of(table, titles=STYLES_HEADER)
    if layout.encoding in UNUSUAL:
        print(f"{table}: read as {UNUSUAL[layout.encoding]}")
    records = loose_records(table, layout)
    _, first = next(records, (0, []))
    header = _without_empty_end([title.strip() for title in first])
    _check_header(header, STYLES_HEADER, table)
    source = _Source()
    for number, cells in records:
        source.read += 1
        cells = [*cells[: len(header)], *_without_empty_end(cells[len(header) :])]
        if len(cells) > len(header) and header[-1] == STYLES_HEADER[-1]:
            cells = [*cells[: len(header) - 1], layout.separator.join(cells[len(header) - 1 :])]  # of an unquoted name
            source.mended += 1
        if len(cells) != len(header):
            source.drop(cells[0], "malformed", f"line {number}: {len(cells)} cells, expected {len(header)}")
            continue
        cell = {name: _clean(value) for name, value in zip(header, cells, strict=True)}
        description = _json_description(descriptions / f"{cell['id']}.json")
        source.rows.append(
            {
                "photo": cell["id"],
                "name": _saying(cell["productDisplayName"]),
                "description": _saying(description),
                "category": cell["articleType"],
                **{ours: cell[theirs] for ours, theirs in ATTRIBUTES.items()},
            }
        )
    return source


def _read_table(table: Path) -> _Source:
    read = read_table(table, titles=TABLE_HEADER)
    _check_header(read.header, TABLE_HEADER, table)
    source = _Source(read=len(read.rows) + len(read.unread))
    for line, first, why in read.unread:
        source.drop(_photo_ids(first)[0], "malformed", f"line {line}: {why}")
    for cells in read.rows:
        cell = dict(zip(read.header, cells, strict=True))
        row = {
            "photo": cell["image"],
            "name": _saying(_clean(cell["display name"])),
            "description": _saying(_clean(cell["description"])),
            "category": _clean(cell["category"]),
        }
        if row["description"]:
            source.rows.append(row)
        else:
            source.drop(_photo_ids(row["photo"])[0], "no_description", f"description is {cell['description']!r}")
    return source


def _without_empty_end(cells: list[str]) -> list[str]:
    """Without the cells that a comma at the end of a line makes."""
    return cells[: max((place for place, cell in enumerate(cells, start=1) if cell.strip()), default=0)]


def _with_photo(source: _Source, photo_files: Mapping[str, Path]) -> list[dict[str, str]]:
    """The rows that have an id of their own, a text and a photo; the others are dropped."""
    kept: list[dict[str, str]] = []
    seen: set[str] = set()
    for row in source.rows:
        ids = _photo_ids(row["photo"])
        photo = next((one for one in ids if one in photo_files), ids[0])
        row["photo"] = row["image_id"] = photo
        row["path"] = f"images/{photo}.jpg"
        row["text"] = ". ".join(part for part in (row["name"], row["description"]) if part)
        if photo in seen:
            source.drop(photo, "duplicate_id", "an earlier row has this id")
        elif not row["text"]:
            source.drop(photo, "no_text", "neither name nor description")
        elif photo not in photo_files:
            source.drop(photo, "photo_missing", f"no photo named {photo!r} under the images folder")
        else:
            seen.add(photo)
            kept.append(row)
    return kept


def _check_header(header: list[str], needed: tuple[str, ...], table: Path) -> None:
    missing = [column for column in needed if column not in header]
    if missing:
        raise InputError(
            f"{table}: no column {', '.join(map(repr, missing))}; has {header}. Expected the columns "
            f"{', '.join(needed)}. Rename the columns or give another file."
        )


def _words(text: str) -> str:
    """A text's words in an order of their own: "Men Check Blue Shirt" and "Men Blue Check Shirt" have the same."""
    return " ".join(sorted(text_key(text).split()))


def _clean(value: str) -> str:
    value = " ".join(html.unescape(value).split())
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return value_of(value)


def _saying(text: str) -> str:
    """A name or description; "" where it says nothing, such as a dash."""
    return text if any(map(str.isalnum, text)) and text.lower() != NO_DESCRIPTION else ""


def _json_description(file: Path) -> str:
    """The description of a product's own JSON as plain text, empty where there is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))["data"]
        return _clean(re.sub(r"<[^>]+>", " ", data["productDescriptors"]["description"]["value"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ""
