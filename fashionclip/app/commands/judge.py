"""Does this text describe this photo? `fashionclip judge MODEL PHOTO "TEXT"` says it of one pair, `fashionclip judge
MODEL --csv IN.csv --to OUT.csv` of a whole table. MODEL is the export of a run that was trained on judgements."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fashionclip.errors import InputError

if TYPE_CHECKING:
    from fashionclip.retrieval.judge.judge_csv import Judged

NAME = "judge"
HELP = "say whether a text describes a photo, or which of a CSV's texts do"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder that `fashionclip export` wrote")
    parser.add_argument("photo", type=Path, nargs="?", metavar="PHOTO", help="image file")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="description of it")
    parser.add_argument("--csv", type=Path, metavar="IN", help="table of image_path, text and perhaps label")
    parser.add_argument("--to", type=Path, metavar="OUT", help="table to write; a stopped run goes on with it")
    parser.add_argument("--image-root", type=Path, metavar="DIR", help="where paths begin; default: the table's folder")
    parser.add_argument("--allow-outside-root", action="store_true", help="take photos that lie elsewhere")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run(options: argparse.Namespace) -> None:
    single, table = (options.photo, options.text), (options.csv, options.to)
    if (None in single) == (None in table) or any(value is not None for value in (table if None in table else single)):
        raise InputError(
            'judge: expected a photo and a text, `fashionclip judge MODEL PHOTO "TEXT"`, or tables, '
            "`fashionclip judge MODEL --csv IN.csv --to OUT.csv`."
        )
    import torch

    from fashionclip.retrieval.encoder import load_encoder
    from fashionclip.retrieval.judge.judge import Judge
    from fashionclip.retrieval.judge.judge_csv import judge_table

    judge = Judge(load_encoder(options.model, device="cuda" if torch.cuda.is_available() else "cpu"))
    if options.csv is None:
        found = judge.one(options.photo, options.text)
        print(
            json.dumps(asdict(found))
            if options.json
            else f"{found.verdict}: probability of a match {found.probability:.3f}, score {found.score:.3f}, "
            f"threshold {found.threshold:.3f}"
        )
        return
    judged = judge_table(
        judge,
        options.csv,
        options.to,
        image_root=options.image_root,
        allow_outside_root=options.allow_outside_root,
    )
    print(json.dumps(_facts(judged, options.to)) if options.json else _sentence(judged, options.to))


def _facts(judged: Judged, to: Path) -> dict[str, object]:
    kept = {name: value for name, value in asdict(judged).items() if name not in ("fingerprint", "size")}
    return {"to": str(to), **kept, "accuracy": judged.accuracy}


def _sentence(judged: Judged, to: Path) -> str:
    fine = judged.rows - judged.errors
    said = [f"{to}: {judged.rows} rows, {judged.mismatches} of {fine} judged are mismatches"]
    if judged.errors:
        said.append(f"{judged.errors} could not be judged, column error says why")
    counts = [f"{judged.right[name]} of {count} {name}" for name, count in judged.labelled.items() if count]
    if judged.accuracy is not None:
        said.append(f"accuracy {judged.accuracy:.3f}")
    if counts:
        said.append(f"right: {', '.join(counts)}")
    return "\n".join(said)
