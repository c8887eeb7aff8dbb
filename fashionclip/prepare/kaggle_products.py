"""Kaggle's fashion product photos, in either published layout, to a prepared dataset.

`styles.csv`, `images/<id>.jpg` and optionally `styles/<id>.json` (the 44k set "Fashion Product Images"), or one CSV
with the columns `image, description, display name, category` and the photos beside it or in `images/` or `data/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fashionclip.errors import InputError
from fashionclip.manifest import RATIOS, PreparedDataset, ratios_with_val
from fashionclip.prepare.products.columns import ProductColumns
from fashionclip.prepare.products.convert import clean, prepare_table
from fashionclip.prepare.products.photos import NamedPhotos
from fashionclip.tables.records import whole_number
from fashionclip.tables.table import Table, read_table

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
        ratios: Shares of train, val and test; without val a tenth of train becomes val.
        seed: Seed of the split.
        download: Whether to fetch `kaggle_handle` with kagglehub (extra `[kaggle]`) instead of reading `source`.
        kaggle_handle: `owner/dataset` on Kaggle.
        workers: Number of processes, by default one a core.

    Raises:
        InputError: Source or columns are missing, or no row is left.
    """
    ratios = ratios_with_val(ratios)
    file, folder = _locate(_download(kaggle_handle) if download else Path(source))
    print(f"reading {file}")
    is_release = file.name == "styles.csv"
    titles = STYLES_HEADER if is_release else TABLE_HEADER
    remedy = f"Expected the columns {', '.join(titles)}. Rename the columns or give another file."
    table = read_table(file, titles=titles, open_end=STYLES_HEADER[-1] if is_release else None)
    table = table.with_titles(titles, where=file, remedy=remedy)
    descriptions = sorted((file.parent / "styles").glob("*.json")) if is_release else []
    table = _described(table, descriptions) if is_release else table
    place = table.header.index("description")
    for row in table.rows:
        row[place] = "" if clean(row[place]).lower() == NO_DESCRIPTION else row[place]
    return prepare_table(
        table,
        ProductColumns(
            image=[titles[0]],
            texts={"name": STYLES_HEADER[-1] if is_release else "display name", "description": "description"},
            item=None,
            group=None,
            category="articleType" if is_release else "category",
            split=None,
            attributes=ATTRIBUTES if is_release else {},
        ),
        NamedPhotos([folder], download=lambda addresses: dict.fromkeys(addresses, "an address")),
        root=Path(root),
        config={"name": name, "max_side": max_side, "ratios": ratios, "seed": seed},
        data=file.read_bytes(),
        files=descriptions,
        record={"source": str(file)},
        needed="text" if is_release else "description",
        distinct=("description", "name"),
        workers=workers,
    )


def _described(table: Table, files: list[Path]) -> Table:
    """Adds the description that a product's own JSON has, empty where there is none."""
    file_of = {file.stem: file for file in files}
    place = table.header.index("id")

    def description(row: list[str]) -> str:
        try:
            data = json.loads(file_of[whole_number(row[place])].read_text(encoding="utf-8"))["data"]
            return str(data["productDescriptors"]["description"]["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    rows = [[*row, description(row)] for row in table.rows]
    return replace(table, header=[*table.header, "description"], rows=rows)


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
