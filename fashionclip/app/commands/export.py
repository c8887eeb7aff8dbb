"""`fashionclip export RUN --to DIR`: a run's best model as a folder that open_clip and search load."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "export"
HELP = "write a run's model as a folder that open_clip and search load"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder or .ckpt file")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write")


def run(options: argparse.Namespace) -> None:
    from fashionclip.app.checkpoint import backbone_of, judge_of, load_checkpoint
    from fashionclip.retrieval.export import write_export

    checkpoint = load_checkpoint(options.run)
    judge = {name: value.item() for name, value in judge_of(checkpoint).items()}
    facts = {"label": checkpoint["config"]["model"]["label"], "judge": judge or None}
    write_export(options.to, backbone_of(checkpoint).eval(), facts=facts)
    print(f"export: {options.to}")
