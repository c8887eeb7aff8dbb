"""What the ordered form of the triplet loss learns that the source's formula does not, on photos of real clothes.

    python prepare.py dataset=synthetic-triplet dataset.source=DIR/images dataset.groups_file=DIR/images.csv \\
        dataset.limit=1000 dataset.ratios='{train: 0.8, val: 0.05, test: 0.15}' dataset.root=data/prepared/own-clothes
    python benchmarks/semipos_forms.py --data data/prepared/own-clothes

Trains `model=lite0-unfrozen` once with `loss.form=ordered` and once with `loss.form=edit`, all else equal, and prints
triplet and order accuracy on base photos never seen in training, before and after, and order accuracy as a curve over
the semi-positive's distance, for captions and for logos. Draws the curves as well.

Run it with nothing beside it. About 20 minutes on 2 cores; results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).parents[1]
FORMS = ("ordered", "edit")
KINDS = ("logo/replaced", "text/replaced", "text/edited")
ORDER = "test/triplet/order_accuracy"


def train(data: Path, folder: Path, overrides: list[str]) -> tuple[float, dict[str, dict[str, float]]]:
    """Seconds of the whole command, and its test metrics before and after training."""
    command = [
        sys.executable,
        "train.py",
        "dataset=synthetic-triplet",
        f"dataset.root={data}",
        "loss=triplet-semipos",
        "model=lite0-unfrozen",
        f"hydra.run.dir={folder}",
        "trainer.enable_progress_bar=false",
        *overrides,
    ]
    print("$", " ".join(command), flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=REPO, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\nfailed with {done.returncode}")
    return time.perf_counter() - start, json.loads((folder / "results.json").read_text())


def line(name: str, metrics: dict[str, float]) -> str:
    shown = {"triplet accuracy": metrics["test/triplet/accuracy"]}
    shown |= {kind: metrics[f"{ORDER}/{kind}"] for kind in KINDS}
    return f"{name:<20}" + "   ".join(f"{key} {value:.3f}" for key, value in shown.items())


def curve(metrics: dict[str, float], overlay: str) -> dict[str, float]:
    """Order accuracy by the semi-positive's distance, such as "0.1-0.25"."""
    start = f"{ORDER}/{overlay}/"
    named = {name.removeprefix(start): value for name, value in metrics.items() if name.startswith(start)}
    return {distance: value for distance, value in named.items() if distance[0].isdigit()}


def draw(picture: Path, curves: dict[str, dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        middle = [sum(map(float, distance.split("-"))) / 2 for distance in points]
        axes.plot(middle, list(points.values()), "o--" if "edit" in name else "o-", label=name)
    axes.axhline(0.5, color="grey", linewidth=0.8)
    axes.set(xlabel="distance of the semi-positive's content", ylabel="order accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("unseen photos: positive nearer than semi-positive nearer than negative", fontsize=10)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset of synthetic triplets")
    parser.add_argument("--work", type=Path, default=REPO / "runs" / "semipos_forms", help="emptied first")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("overrides", nargs="*", help="for both runs, such as loss.mining=semi-hard")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    report, curves = [], {}
    for form in FORMS:
        folder = options.work.resolve() / form
        overrides = [f"loss.form={form}", f"trainer.max_epochs={options.epochs}", *options.overrides]
        seconds, results = train(options.data.resolve(), folder, overrides)
        if form == FORMS[0]:
            report.append(line("before training", results["before"]))
        report.append(line(f"{form}, {seconds:.0f} s", results["after"]))
        curves |= {f"{overlay}, {form}": curve(results["after"], overlay) for overlay in ("text", "logo")}
    report += [
        f"{name:<20}" + "   ".join(f"{distance}: {value:.2f}" for distance, value in points.items())
        for name, points in curves.items()
    ]
    draw(options.work / "curves.png", curves)
    print("\n".join(["", *report]))
    (options.work / "report.txt").write_text("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
