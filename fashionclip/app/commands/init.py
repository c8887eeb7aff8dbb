"""`fashionclip init DIR --source CATALOGUE`: writes a folder to begin with, for a catalogue of your own: its config
and the commands that lead to a search in it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fashionclip.errors import InputError

NAME = "init"
HELP = "write a folder to begin with, for your own catalogue"
DATASET = Path("configs", "dataset", "shop.yaml")
ROLES = {  # of columns, with what is said of each
    "image": "photo: path, file name or address; a list where there are several columns",
    "texts": "what a photo is found by, joined in this order",
    "item": "product that a photo shows",
    "group": "what products have in common that must not straddle train and test, such as a style",
    "category": "kind of product",
    "split": "train, val or test; null: drawn by chance",
}
CONFIG = """\
# Your catalogue: fashionclip prepare dataset=shop
defaults:
  - products  # what is not said here is as there: fashionclip prepare dataset=products --cfg job
  - _self_

name: shop
# A table (CSV, TSV, Excel, Parquet, JSON lines), a folder with one or with a subfolder a category, or hf:NAME
source: {source}
# Titles of the table's columns by what they mean; null: there is none. Further names are attributes to filter by.
{columns}
"""
GUESSED = """\
columns: null  # null: guessed from the titles, and said; or such as
# columns:
#   image: Photo File
#   texts: {title: Name, description: Long Text}
#   item: SKU
#   colour: Farbe"""
README = """\
# Search in your own catalogue

`configs/dataset/shop.yaml` says where the catalogue is and what its columns mean. In this folder:

```
fashionclip prepare dataset=shop
fashionclip train dataset=shop loss=contrastive model=lite0 hydra.run.dir=runs/first
fashionclip export runs/first --to exports/shop
fashionclip index exports/shop data/prepared/shop --to indexes/shop
fashionclip search indexes/shop "red dress"
fashionclip serve indexes/shop --photos data/prepared/shop
```

`prepare` says how many rows it has read and dropped, and why; `train` takes minutes with `model=lite0` on a CPU, and
prints how much is found before and after. With a GPU: `model=vit-b-32 trainer=gpu`. `fashionclip train --help` lists
all choices; a YAML of your own in `configs/loss/`, `configs/model/` or another group stands beside them, and Python
modules that it names are looked for in this folder, too.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to write; empty, or not there yet")
    parser.add_argument(
        "--source",
        metavar="CATALOGUE",
        help="table of the catalogue, or its folder: written down with its columns, whose meaning is guessed",
    )


def run(options: argparse.Namespace) -> None:
    folder = options.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds something already. Expected an empty folder, or a new name.")
    config = CONFIG.format(source="???", columns=GUESSED)
    if options.source:
        source, columns = described(os.path.expanduser(options.source), folder)
        config = CONFIG.format(source=source, columns=columns)
    files = {str(DATASET): config, "README.md": README, ".gitignore": "data/\nruns/\nexports/\nindexes/\n"}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if "texts: null" in config:
        print(f"{folder / DATASET}: name the columns of texts there, by which photos are to be found")
    print(f"{folder / DATASET}: look whether it is right; {folder / 'README.md'} has the commands that follow")


def described(source: str, folder: Path) -> tuple[str, str]:
    """A catalogue's place as seen from `folder`, and the meaning of its columns, both in YAML.

    Raises:
        InputError: It is no catalogue, or no column names photos.
    """
    from fashionclip.prepare.products.columns import choose_columns
    from fashionclip.prepare.products.photos import NamedPhotos
    from fashionclip.prepare.products.source import HUB, read_catalogue

    if source.startswith(HUB):  # not fetched for this
        return source, GUESSED
    data = folder / "data"
    catalogue = read_catalogue(source, columns=None, root=data / "prepared", cache=data / "raw" / "photos")
    place = json.dumps(os.path.relpath(source, folder), ensure_ascii=False)
    if catalogue.columns:  # a folder by category, or of Hugging Face, says them itself
        return place, GUESSED
    photos = NamedPhotos(catalogue.folders, download=lambda names: {})
    tests = (photos.names_some, photos.names_listed)
    found = choose_columns(catalogue.table, None, names_photo=tests, where=catalogue.where)
    image = found.image[0] if len(found.image) == 1 else found.image
    meant = {"image": image, "texts": found.texts or None}
    meant |= {role: getattr(found, role) for role in ROLES if role not in meant} | found.attributes
    return place, "\n".join(["columns:", *_lines(meant)])


def _lines(columns: dict[str, Any]) -> Iterator[str]:
    for name, title in columns.items():
        comment = f"  # {ROLES[name]}" if name in ROLES else ""
        yield f"  {name}: {json.dumps(title, ensure_ascii=False)}{comment}"
