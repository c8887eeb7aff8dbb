"""Ours against open_clip's own trainer, on Kaggle's products: same model, same training split, same wall-clock time.

    python benchmarks/contrastive_vs_open_clip.py --data data/prepared/kaggle-products

1. `open_clip_train` trains `model=tiny` from scratch for 8 epochs, and is timed.
2. `train.py loss=contrastive model=tiny` trains the same model in no more time, start-up and evaluations included.
3. `evaluate.py` measures open_clip's weights on the same test split, with the same definition of a right answer.
4. `train.py loss=contrastive model=lite0`, timed from the photos on: features of the frozen tower are computed anew.

Run it with nothing beside it. About 45 minutes on 2 cores; results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

REPO = Path(__file__).parents[1]
BATCH = 128
OPEN_CLIP = (  # the built-in configs do not hold ours, so it is registered before the trainer starts
    "import sys, open_clip; open_clip.add_model_config(sys.argv[1]); "
    "from open_clip_train.main import main; main(sys.argv[2:])"
)


def train_open_clip(data: Path, work: Path, epochs: int, precision: str) -> tuple[float, Path, list[float]]:
    """Trains with open_clip's trainer: seconds, checkpoint, and its own validation recall@10 after each epoch."""
    manifest = pd.read_parquet(data / "manifest.parquet")
    manifest["filepath"] = [str(data / path) for path in manifest["path"]]
    for split in ("train", "val"):
        manifest.loc[manifest["split"] == split, ["filepath", "text"]].to_csv(work / f"{split}.csv", index=False)
    steps = int((manifest["split"] == "train").sum()) // BATCH * epochs
    options = {
        "train-data": work / "train.csv",
        "val-data": work / "val.csv",
        "dataset-type": "csv",
        "csv-separator": ",",
        "csv-img-key": "filepath",
        "csv-caption-key": "text",
        "model": "fashionclip-tiny",
        "batch-size": BATCH,
        "epochs": epochs,
        "lr": 1e-3,
        "wd": 0.1,
        "warmup": steps // 10,
        "grad-clip-norm": 1.0,
        "precision": precision,
        "workers": 2,
        "device": "cpu",
        "logs": work,
        "name": "open_clip",
        "save-frequency": epochs,
    }
    arguments = [f"--{key}={value}" for key, value in options.items()]
    architecture = REPO / "fashionclip" / "models" / "architectures" / "fashionclip-tiny.json"
    seconds = run([sys.executable, "-c", OPEN_CLIP, str(architecture), *arguments])
    checkpoints = work / "open_clip" / "checkpoints"
    logged = [json.loads(line) for line in (checkpoints / "results.jsonl").read_text().splitlines()]
    return seconds, checkpoints / f"epoch_{epochs}.pt", [round(row["text_to_image_R@10"], 3) for row in logged]


def train_ours(data: Path, folder: Path, overrides: list[str]) -> tuple[float, dict[str, float], list[float]]:
    """Trains with train.py: seconds, test metrics, and validation recall@10 before and after each epoch."""
    seconds = run(
        [
            sys.executable,
            "train.py",
            "dataset=kaggle-products",
            "loss=contrastive",
            f"dataset.root={data}",
            f"hydra.run.dir={folder}",
            "trainer.enable_progress_bar=false",
            *overrides,
        ]
    )
    history = pd.read_csv(folder / "csv" / "metrics.csv")["val/text_to_image/recall@10"].dropna()
    after = json.loads((folder / "results.json").read_text())["after"]
    return seconds, after, [round(value, 3) for value in history]


def measure(data: Path, folder: Path, overrides: list[str]) -> dict[str, float]:
    """Test metrics of a weights file by evaluate.py."""
    command = [sys.executable, "evaluate.py", "dataset=kaggle-products", f"dataset.root={data}"]
    run([*command, f"hydra.run.dir={folder}", "trainer.enable_progress_bar=false", *overrides])
    return json.loads((folder / "results.json").read_text())["metrics"]


def run(command: list[str]) -> float:
    """Seconds a command took; ends the benchmark with its output if it fails."""
    print("$", " ".join(command)[:400], flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=REPO, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\nfailed with {done.returncode}: {command[:3]}")
    return time.perf_counter() - start


def line(name: str, seconds: float, metrics: dict[str, float]) -> str:
    shown = [f"{k} {metrics[f'test/text_to_image/{k}']:.3f}" for k in ("recall@1", "recall@10", "mrr")]
    return f"{name:<28} {seconds:5.0f} s   " + "   ".join(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset of Kaggle's products")
    parser.add_argument("--work", type=Path, default=REPO / "runs" / "benchmark", help="emptied first")
    parser.add_argument("--reuse", action="store_true", help="keep open_clip's part of the run before, to try ours")
    parser.add_argument("--epochs", type=int, default=8, help="of open_clip's trainer")
    parser.add_argument("--our-epochs", type=int, default=12, help="of ours; choose it so that the time is no longer")
    parser.add_argument("--precision", default="fp32", help="of open_clip's trainer")
    parser.add_argument("--only", choices=["tiny", "lite0"], help="one half of the comparison")
    options = parser.parse_args()
    if not options.reuse:
        shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True, exist_ok=True)
    data, work = options.data.resolve(), options.work.resolve()
    report = []
    if options.only != "lite0":
        measured = work / "open_clip.json"
        if not options.reuse:
            theirs, weights, their_curve = train_open_clip(data, work, options.epochs, options.precision)
            their_metrics = measure(data, work / "theirs", ["model=tiny", f"model.backbone.pretrained={weights}"])
            measured.write_text(json.dumps([theirs, their_metrics, their_curve]))
        theirs, their_metrics, their_curve = json.loads(measured.read_text())
        overrides = ["model=tiny", f"data.batch_size={BATCH}", f"trainer.max_epochs={options.our_epochs}"]
        ours, our_metrics, our_curve = train_ours(data, work / "ours", overrides)
        ratio = our_metrics["test/text_to_image/recall@10"] / their_metrics["test/text_to_image/recall@10"]
        report += [
            line("open_clip_train, tiny", theirs, their_metrics),
            line("train.py, tiny", ours, our_metrics),
            f"recall@10 ratio {ratio:.3f} in {ours / theirs:.2f} of the time",
            f"open_clip_train val recall@10 by epoch (only the photo's own text counts): {their_curve}",
            f"train.py        val recall@10 by epoch, from 0: {our_curve}",
        ]
    if options.only != "tiny":
        shutil.rmtree(data / "features", ignore_errors=True)  # computing them is part of the time
        seconds, metrics, curve = train_ours(data, work / "lite0", ["model=lite0"])
        report += [line("train.py, lite0", seconds, metrics), f"lite0 val recall@10 by epoch, from 0: {curve}"]
    print("\n".join(["", *report]))
    (work / "report.txt").write_text("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
