"""`prepare.py check_only=true`: what a dataset would be, as a report and a sheet of photos, before it is prepared."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fashionclip.app.contact_sheet import GREY, Tile, draw_contact_sheet
from fashionclip.app.datasets import prepare
from fashionclip.foreign_text import shown
from fashionclip.manifest import LABELS, MANIFEST_COLUMNS, SPLITS, PreparedDataset

EXAMPLES = 3  # of rows that are left out for one reason, and of values of an attribute
LONGEST = 75  # letters of an example
COLOURS = {"match": "#1b7f3b", "mismatch": "#c0392b"}
NO_ATTRIBUTES = {*MANIFEST_COLUMNS, "photo_hash", "source_path"} - {"category"}


def check(cfg: DictConfig, *, to: Path, photos: int) -> None:
    """Converts a dataset into a folder that is removed again, and says what it is.

    So the numbers are those of `prepare` with the same config. The folder lies on the disk of the dataset's root, which
    must have room for the photos anyway.

    Args:
        cfg: Config of the dataset.
        to: Folder for `contact_sheet.png` and `dropped.csv`.
        photos: Number of photos of each split on the sheet, drawn by chance; where there are judgements, of those.

    Raises:
        InputError: The dataset cannot be prepared.
    """
    root = Path(cfg.root or "dataset").absolute()
    on_its_disk = next(folder for folder in root.parents if folder.is_dir())
    with TemporaryDirectory(prefix=".fashionclip-check-", dir=on_its_disk) as folder:
        cfg = cfg.copy()
        cfg.root = f"{folder}/{root.name}"
        print(f"checking in {cfg.root}, which is removed in the end")
        dataset = prepare(cfg)
        made = dataset.root / "judgements.parquet"
        judgements = pd.read_parquet(made) if made.is_file() else None
        to.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dataset.root / "dropped.csv", to / "dropped.csv")
        draw_contact_sheet(to / "contact_sheet.png", _sections(dataset, judgements, photos))
    print(f"\n{cfg.name}, as it would be prepared")
    _print_splits(dataset.manifest, judgements)
    _print_attributes(dataset.manifest, texts=dataset.info.get("text_fields", ()))
    _print_dropped(pd.read_csv(to / "dropped.csv", dtype=str, keep_default_na=False))
    print(f"{to / 'contact_sheet.png'}: photos of each split with their texts")
    print(f"{to / 'dropped.csv'}: every row that is left out, and why")
    print("nothing is prepared; the same command without check_only=true does that")


def _sections(dataset: PreparedDataset, judgements: pd.DataFrame | None, photos: int) -> list[tuple[str, list[Tile]]]:
    """Samples of each split; of judgements as many of either label, where there are."""
    rows = dataset.manifest.assign(label="", note=dataset.manifest["image_id"])
    if rows["domain"].nunique() > 1:
        rows["note"] = rows["domain"] + "  " + rows["note"]
    if judgements is not None:
        rows = judgements.merge(rows[["image_id", "path"]], on="image_id")
        kind = rows["kind"].where((rows["label"] == "mismatch") & (rows["kind"] != "given"), "")
        rows["note"] = (rows["label"] + " " + kind).str.strip() + "  " + rows["image_id"]
    sections = []
    for split, of_split in ((split, rows[rows["split"] == split]) for split in SPLITS):
        labels = [part for _, part in of_split.groupby("label")]
        chosen = [part.sample(min(-(-photos // len(labels)), len(part)), random_state=0) for part in labels]
        tiles = [
            Tile(dataset.root / row["path"], row["text"], row["note"], COLOURS.get(row["label"], GREY))
            for part in chosen
            for row in part.to_dict("records")
        ]
        if tiles:
            what = "photos" if judgements is None else "judgements"
            sections.append((f"{split}: {len(tiles)} of {len(of_split):,} {what}", tiles))
    return sections


def _print_splits(manifest: pd.DataFrame, judgements: pd.DataFrame | None) -> None:
    """A line a split: its photos, of each domain where there are several, products, texts, and judgements."""
    domains = sorted(set(manifest["domain"]))
    columns = [
        "photos",
        *(domains if len(domains) > 1 else []),
        "items",
        "groups",
        "texts",
        "no text",
        "words of a text",
    ]
    lines = []
    for split in (*SPLITS, "all"):
        part = manifest if split == "all" else manifest[manifest["split"] == split]
        texts = part["text"][part["text"] != ""]
        counts = [len(part), *((part["domain"] == domain).sum() for domain in columns[1 : columns.index("items")])]
        counts += [part["item_id"].nunique(), part["group_id"].nunique(), texts.nunique(), len(part) - len(texts)]
        lines.append([split, *(f"{count:,}" for count in counts), _span(texts.map(lambda text: len(text.split())))])
        if judgements is not None:
            labels = judgements["label"][judgements["image_id"].isin(part["image_id"])]
            lines[-1] += [f"{(labels == label).sum():,}" for label in LABELS]
    _print_table(["split", *columns, *(LABELS if judgements is not None else ())], lines)


def _print_attributes(manifest: pd.DataFrame, *, texts: Collection[str]) -> None:
    """A line an attribute or field of texts: how many rows have it, and which values are most frequent."""
    lines = []
    for name in (name for name in manifest if name not in NO_ATTRIBUTES):
        values = manifest[name][~manifest[name].isin([""]) & manifest[name].notna()].astype(str).value_counts()
        often = [f"{_short(value)} ({count:,})" for value, count in values.head(EXAMPLES).items()]
        if len(values):
            shown_name = f"{name} (text)" if name in texts else str(name)
            lines.append([shown_name, f"{values.sum():,}", f"{len(values):,}", ", ".join(often)])
    _print_table(["attribute", "rows", "values", "most frequent"], lines, none="no attributes")


def _print_dropped(dropped: pd.DataFrame) -> None:
    """A line a reason: how many rows are left out for it, and the first of them."""
    lines = []
    for reason, rows in dropped.groupby("reason", sort=False):
        first = [f"{_short(row.image_id)} {_short(row.detail)}".strip() for row in rows.head(EXAMPLES).itertuples()]
        lines.append([str(reason), f"{len(rows):,}", "\n".join(first)])
    _print_table(["left out", "rows", "such as"], lines, none="no row is left out")


def _print_table(columns: Sequence[str], lines: Sequence[Sequence[str]], *, none: str = "") -> None:
    if not lines:
        print(none)
        return
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        number = all(line[columns.index(column)].replace(",", "").isdigit() for line in lines)
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    Console(width=100, markup=False, emoji=False, highlight=False).print(table)


def _span(words: pd.Series) -> str:
    return f"{words.min()} to {words.max()}, median {words.median():.0f}" if len(words) else ""


def _short(text: object) -> str:
    safe = shown(str(text))
    return safe if len(safe) <= LONGEST else safe[: LONGEST - 1] + "…"
