"""What each way of fine-tuning costs, what it reaches in the same time, and what it forgets.

    python benchmarks/tuning.py --kaggle DIR [--minutes 2] [--model lite0-unfrozen] [--only full lora wise-ft]
    python benchmarks/tuning.py --kaggle DIR --trainer gpu

Kaggle's products are parted in two: clothes, which a base model learns first, and all else, on which it is fine-tuned
in each way for the same time, evaluations included. On a CPU that is processor time, which other programs do not
change; on a GPU time by the clock. Of each way: weights trained, seconds a step, peak memory of the process or on the
GPU, recall@10 on what it was tuned for, and recall@10 on the clothes, beside that of the base model. Text to image,
test splits. Results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer

REPO = Path(__file__).parents[1]
METRIC = "test/text_to_image/recall@10"
CLOTHES = "masterCategory == 'Apparel'"
COLUMNS = "{image: id, texts: {title: productDisplayName}, category: articleType, colour: baseColour}"
WAYS = {
    "full": [],
    "linear-probe": ["tuning=linear-probe"],
    "lp-ft": ["tuning=lp-ft", "tuning.heads_first=0.005"],  # of 200 epochs, which nothing here reaches: the first
    "lock-image": ["tuning=lock-image"],
    "lock-text": ["tuning=lock-text"],
    "partial": ["tuning=partial"],
    "layerwise": ["tuning=layerwise"],
    "lora": ["tuning=lora"],
    "bias-only": ["tuning=bias-only"],
    "averaged": ["callbacks=ema"],
    "distilled": ["loss.distill.weight=1"],
    "wise-ft": ["wise_ft.alphas=[0,0.25,0.5,0.75,1]"],
    "distilled, wise-ft": ["loss.distill.weight=1", "wise_ft.alphas=[0,0.25,0.5,0.75,1]"],
    "text fields": ["loss.text_fields={category: 0.2, colour+category: 0.3}"],
}


class Budget(Callback):
    """Ends a training so many minutes after it began to fit, and prints the peak of memory on its GPU.

    Args:
        minutes: Minutes of processor time of all its threads together; on a GPU minutes by the clock.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds, self.begun, self.clock = 60 * minutes, 0.0, time.process_time

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        if module.device.type == "cuda":
            self.clock = time.perf_counter
        self.begun = self.clock()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = self.clock() - self.begun > self.seconds

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        if module.device.type == "cuda":
            print(f"peak on the GPU {torch.cuda.max_memory_allocated(module.device) / 2**20:.0f} MB")


class Run(NamedTuple):
    """What a command of ours printed, and the peak memory of its process, or of a training on its GPU, in MB."""

    printed: str
    memory: float


def run(*arguments: object) -> Run:
    """Runs one of the project's commands; ends everything where it fails."""
    command = [sys.executable, *map(str, arguments)]
    with TemporaryDirectory() as folder, open(Path(folder, "printed"), "w+") as printed:
        known = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "benchmarks")])}
        process = subprocess.Popen(command, cwd=REPO, stdout=printed, stderr=subprocess.STDOUT, env=known)
        _, status, usage = os.wait4(process.pid, 0)
        printed.seek(0)
        text = printed.read()
    if status:
        raise SystemExit(f"{' '.join(command)}\n{text[-3000:]}")
    peak = re.search(r"peak on the GPU (\d+) MB", text)
    return Run(text, float(peak[1]) if peak else usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def prepare(kaggle: Path, work: Path) -> None:
    """Prepares two datasets of Kaggle's table, clothes and the rest, in folders of these names."""
    table = pd.read_csv(kaggle / "styles.csv", on_bad_lines="skip", dtype=str)
    table = table[table["id"].map(lambda name: (kaggle / "images" / f"{name}.jpg").is_file())]
    parts = {"clothes": table.query(CLOTHES), "rest": table.drop(table.query(CLOTHES).index)}
    for name, part in parts.items():
        part.assign(id=[str(kaggle.resolve() / "images" / f"{one}.jpg") for one in part["id"]]).to_csv(
            work / f"{name}.csv", index=False
        )
        source = [f"dataset.source={work / name}.csv", f"dataset.columns={COLUMNS}", f"dataset.root={work / name}"]
        run("prepare.py", "dataset=products", "dataset.allow_outside_root=true", *source)


def train(folder: Path, data: Path, *overrides: str, minutes: float) -> Run:
    """A training of so many minutes, without an early stop."""
    budget = f"+callbacks.budget={{_target_: tuning.Budget, minutes: {minutes}}}"
    fixed = ["dataset=products", f"dataset.root={data}", "loss=contrastive", "trainer.max_epochs=200", budget]
    fixed += ["callbacks.early_stopping.patience=200", "trainer.enable_progress_bar=false", f"hydra.run.dir={folder}"]
    fixed += ["data.num_workers=0", "scheduler.warmup=0", "report=false"]
    return run("train.py", *fixed, *overrides)


def recall(folder: Path, part: str) -> float:
    return json.loads((folder / "results.json").read_text())[part][METRIC]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kaggle", type=Path, required=True, help="folder with styles.csv and images/")
    parser.add_argument("--minutes", type=float, default=2.0, help="time of each way; the base model has twice as much")
    parser.add_argument("--trainer", default="cpu", help="where to train, by its name in configs/trainer")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings, but for that of the base model")
    parser.add_argument("--model", default="lite0-unfrozen", help="base model, by its name in configs/model")
    parser.add_argument("--size", type=int, default=128, help="pixels of a photo's side")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), help="some of the ways")
    parser.add_argument(
        "--work",
        type=Path,
        help="folder for datasets and runs, whose base model is used again; default: a temporary one",
    )
    options = parser.parse_args()
    trainer = f"trainer={options.trainer}"
    with TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        data = {name: work / name for name in ("clothes", "rest")}
        if not (work / "export" / "open_clip_config.json").is_file():
            prepare(options.kaggle, work)
            base = [trainer, f"model={options.model}", f"model.backbone.image_size={options.size}"]
            train(work / "base", data["clothes"], *base, minutes=2 * options.minutes)
            run("-m", "fashionclip", "export", work / "base", "--to", work / "export")
        known = recall(work / "base", "after")
        print(f"base model, {2 * options.minutes:g} minutes of clothes: recall@10 of clothes {known:.3f}", flush=True)
        print(f"{'':20}{'trained':>10}{'s a step':>10}{'memory':>10}{'recall@10':>11}{'of clothes':>12}")
        model = ["model=tiny", "model.label=base", f"model.backbone.name=local-dir:{work / 'export'}", "model.lr=3e-4"]
        for way in options.only:
            folder = work / f"{re.sub('[^a-z]+', '-', way)}-{options.seed}"
            overrides = [trainer, f"seed={options.seed}", *model, *WAYS[way]]
            done = train(folder, data["rest"], *overrides, minutes=options.minutes)
            found = re.search(r"training ([\d.]+) of", done.printed)
            steps = pd.read_csv(folder / "csv" / "metrics.csv")["step"].max() + 1
            again = folder / "known"
            there = ["dataset=products", f"dataset.root={data['clothes']}", f"hydra.run.dir={again}"]
            run("evaluate.py", f"ckpt={folder}", trainer, *there)
            trained, step = float(found[1]) if found else 0.0, 60 * options.minutes / steps
            reached = f"{recall(folder, 'after'):11.3f}{recall(again, 'metrics'):12.3f}"
            print(f"{way:20}{trained:9.1f}M{step:10.2f}{done.memory:7.0f} MB{reached}", flush=True)


if __name__ == "__main__":
    main()
