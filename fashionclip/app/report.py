"""What a run leaves for people: the table, `results.json` and the picture of its history."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from fashionclip.metrics.interval import wilson_interval
from fashionclip.metrics.judgement import Reliability

Results = Mapping[str, Mapping[str, float]]  # stage ("before", "after") -> "test/text_to_image/recall@1" -> value


def write_results(path: Path, results: Results) -> None:
    """Writes metrics by stage as JSON, in one step."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def print_table(results: Results) -> None:
    """Prints one block a direction, one line a metric, one column a stage; recall with its 95 % interval.

    A direction's parts, such as `query_to_sku/category/dress`, come behind all directions, with recall@1 alone.
    """
    stages = list(results)
    names = [name.removeprefix("test/") for name in results[stages[-1]]]
    parts = {name.removesuffix("/queries") for name in names if name.endswith("/queries") and name.count("/") > 1}
    places = {name.partition("/")[0].removesuffix("_seen"): place for place, name in reversed([*enumerate(names)])}

    def order(name: str) -> tuple[int, int]:
        """Directions as they come, but that of seen SKUs behind that of others; parts; what has no direction."""
        direction = name.rpartition("/")[0]
        kind = 2 if not direction else int(direction in parts)
        return kind, places[name.partition("/")[0].removesuffix("_seen")]

    table = Table(title="on the test split")
    for column in ("", "metric", *stages):
        table.add_column(column, justify="right" if column in stages else "left")
    shown = None
    for name in sorted(names, key=order):
        direction, _, metric = name.rpartition("/")
        block, line = direction, metric
        if direction in parts:
            if metric != "recall@1":
                continue
            block, _, part = direction.rpartition("/")
            line = f"{metric}, {part} ({results[stages[-1]][f'test/{direction}/queries']:g} queries)"
        if block != shown:
            table.add_section()
        values = [results[stage].get(f"test/{name}", float("nan")) for stage in stages]
        queries = [results[stage].get(f"test/{direction}/queries", 0.0) for stage in stages]
        table.add_row(
            "" if block == shown else block.replace("_", " "),
            line,
            *(_figure(metric, value, count) for value, count in zip(values, queries, strict=True)),
        )
        shown = block
    Console(width=76 + 22 * len(stages)).print(table)


def draw_history(metrics_csv: Path, picture: Path, *, monitor: str) -> None:
    """Draws training loss and validation from Lightning's `metrics.csv`.

    Validation is recall in `monitor`'s direction and accuracies of triplets, or else `monitor` and its parts.
    """
    from matplotlib.figure import Figure

    history = pd.read_csv(metrics_csv)
    direction = monitor.split("/")[1]
    drawn = ("val/triplet/accuracy", "val/triplet/order_accuracy")
    names = [str(name) for name in history]
    curves = [name for name in names if name.startswith(f"val/{direction}/recall@") or name in drawn]
    curves = curves or [name for name in names if name.startswith(monitor)]  # of all, and of each kind of mismatch
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    if "train/loss" in history:
        loss = history.dropna(subset="train/loss")
        left.plot(loss["step"], loss["train/loss"])
    left.set(title="training loss", xlabel="step")
    for name in curves:
        points = history.dropna(subset=name)
        label = name.removeprefix("val/").removeprefix(f"{direction}/").replace("/", " ").replace("_", " ")
        right.plot(points["step"], points[name], marker="o", markersize=3, label=label)
    right.set(title=f"validation, {direction.replace('_', ' ')}", xlabel="step", ylim=(0, 1))
    if curves:
        right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


def draw_reliability(picture: Path, stages: Mapping[str, Reliability]) -> None:
    """Draws how often judgements match, over the probability they were given, of "before" and "after"."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for stage, found in stages.items():
        some = found.count > 0
        axes.plot(found.probability[some], found.matches[some], marker="o", markersize=3, label=f"{stage} training")
    axes.set(title="reliability on the test split", xlabel="probability of a match", ylabel="share of matches")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


def _figure(metric: str, value: float, queries: float) -> str:
    if metric in ("median_rank", "queries", "texts", "skus", "count"):
        return f"{value:g}"
    if metric.startswith("recall@") and queries:
        low, high = wilson_interval(value, queries)
        return f"{value:.3f} ({low:.2f} to {high:.2f})"
    return f"{value:.3f}"
