"""A run's best model as a folder that open_clip and search load, checked against the checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "export"
HELP = "write a run's model as a folder that open_clip and search load"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trained", type=Path, metavar="RUN", help="run folder or .ckpt file")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="folder to write; replaces an older export"
    )
    parser.add_argument("--onnx", action="store_true", help="also both towers for onnxruntime, in DIR/onnx")
    parser.add_argument(
        "--transformers", action="store_true", help="also a CLIPModel of transformers, in DIR/transformers"
    )
    parser.add_argument("--hub", metavar="NAME", help="then upload DIR to this repository of the Hugging Face hub")
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="prepared dataset to check with, if it has moved since training"
    )


def run(options: argparse.Namespace) -> None:
    from fashionclip.app.export import export_run

    facts = export_run(
        options.trained, options.to, data=options.data, onnx=options.onnx, transformers=options.transformers
    )
    checked = facts["checked"]
    print(f"checked on {checked['photos']} photos and {checked['texts']} texts of {checked['source']}:")
    for form, cosine in checked["lowest_cosine"].items():
        print(f"  {form}: lowest cosine to the checkpoint {cosine['image']:.6f} (photos), {cosine['text']:.6f} (texts)")
    if run := checked.get("training_run"):
        image, text = run["lowest_cosine"]["image"], run["lowest_cosine"]["text"]
        print(f"checked on {run['photos']} photos and {run['texts']} texts that the training run has embedded:")
        print(f"  open_clip: lowest cosine to the run {image:.6f} (photos), {text:.6f} (texts)")
    print(f"export: {options.to}")
    if options.hub is not None:
        from fashionclip.retrieval.export.hub import upload

        print(f"uploaded: {upload(options.to, options.hub)}")
