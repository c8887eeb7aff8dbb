"""A table of image_path, text and label: of a prepared dataset with judgements, those; of a folder of photos, one to
fill in. `prepare.py dataset=judgements-csv` reads both."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "judgements"
HELP = "write judgements as a CSV, or begin one of a folder of photos"
TEXTS = ("blank", "names", "folders")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="FOLDER", help="prepared dataset with judgements, or photos")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE.csv", help="table to write; never overwritten")
    parser.add_argument(
        "--texts",
        choices=TEXTS,
        help="of photos: leave texts and labels blank (default), or take names of files or folders as matching texts",
    )


def run(options: argparse.Namespace) -> None:
    from fashionclip.errors import InputError
    from fashionclip.prepare.judgements.to_csv import export_judgements, start_judgements

    if not (options.source / "dataset.json").is_file():
        start_judgements(options.source, options.to, texts=options.texts or TEXTS[0])
    elif options.texts:
        raise InputError("--texts: taken only of a folder of photos; a prepared dataset has its own. Leave it out.")
    else:
        export_judgements(options.source, options.to)
