"""Judgements as a CSV that people look at and fill in: those of a prepared dataset, or to begin with, photos alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fashionclip.atomic import whole_file
from fashionclip.errors import InputError
from fashionclip.foreign_text import safe_cell
from fashionclip.manifest import read_dataset, read_judgements
from fashionclip.prepare.find_photos import photos_below

_BETWEEN = re.compile(r"[\W_]+")


def export_judgements(root: Path, to: Path) -> None:
    """Writes the judgements of a prepared dataset, which `dataset=judgements-csv` reads again to the same ones.

    Beside image_path, text and label there are `kind` (what is wrong) and `split`. The reader knows photos
    of the same bytes as one, and leaves out what is said of it again.

    Args:
        root: Root of the dataset.
        to: CSV to write.

    Raises:
        InputError: The dataset has no judgements, or `to` exists.
    """
    dataset = read_dataset(root)
    judgements = read_judgements(dataset)
    if judgements is None:
        raise InputError(
            f"{root}: has no judgements. Make them: python prepare.py dataset=judgements-derived dataset.source={root}"
        )
    rows = dataset.manifest.iloc[judgements["image_row"]]
    table = judgements[["text", "label", "kind"]].assign(split=rows["split"].tolist())
    _write(table, root, rows["path"].tolist(), to, says="dataset.columns.split=split")


def start_judgements(photos: Path, to: Path, *, texts: str = "blank") -> None:
    """Writes a row for each photo in a folder and its subfolders, for somebody to fill in.

    Args:
        photos: Folder of photos.
        to: CSV to write.
        texts: "blank" leaves text and label empty; "names" takes the words of the file's name, "folders" those of its
            folder's, as matching texts.

    Raises:
        InputError: There is no such folder or no photo in it, or `to` exists.
    """
    paths = photos_below(photos) if photos.is_dir() else []
    if not paths:
        got = "no photos in it" if photos.is_dir() else "no such folder"
        raise InputError(f"{photos}: {got}. Give a folder of photos, or a prepared dataset with judgements.")
    names = {
        "blank": ["" for _ in paths],
        "names": [Path(path).stem for path in paths],
        "folders": [(photos.resolve() / path).parent.name for path in paths],
    }[texts]
    said = [" ".join(_BETWEEN.split(name)).strip() for name in names]
    table = pd.DataFrame({"text": said, "label": ["match" if text else "" for text in said]})
    _write(table, photos, paths, to)


def _write(table: pd.DataFrame, folder: Path, paths: Sequence[str], to: Path, *, says: str = "") -> None:
    """Writes a CSV whose paths begin at its own folder where the photos lie below that, else at theirs."""
    if to.exists():
        raise InputError(f"{to}: exists, and may have been filled in, so it is left alone. Name another file.")
    below = folder.resolve().is_relative_to(to.resolve().parent)
    start = folder.resolve().relative_to(to.resolve().parent).as_posix() if below else "."
    table.insert(0, "image_path", [path if start == "." else f"{start}/{path}" for path in paths])
    with whole_file(to) as stream:  # with a mark at its beginning, by which spreadsheets know UTF-8
        table.map(safe_cell).to_csv(stream, index=False, encoding="utf-8-sig")
    command = ["python", "prepare.py", "dataset=judgements-csv", f"dataset.source={to}", says]
    command += [] if below else [f"dataset.image_root={folder}"]
    print(f"{to}: {len(table):,} rows; to check them: {shlex.join(filter(None, command))} check_only=true")
