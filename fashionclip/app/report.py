"""What a run leaves for people: the table, `results.json` and the picture of its history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fashionclip.atomic import write_text
from fashionclip.evaluation.outcome import COUNTS, Outcome
from fashionclip.metrics.judgement_functions import Reliability
from fashionclip.metrics.samples import Sample

MEANINGS = {  # by the metric's name without its @k; each fits a line
    "recall": "share of queries with a right answer among the first k",
    "recall_of_all": "share of a query's right answers that are among the first k",
    "precision": "share of the first k that are right answers",
    "mrr": "mean of 1 / rank of the first right answer",
    "median_rank": "of the first right answer: half of the queries have it by then",
    "map": "mean average precision among the first R, the number of right answers",
    "ndcg": "right answers among the first k, weighing less further down",
    "strict_ceiling": "highest recall if each text had to find its own product",
    "clip_score": "100 x mean cosine of each photo and its text, at least 0",
    "matching_accuracy": "share of photos nearer to their text than to all of others",
    "spread": "mean of 1 - cosine over all pairs of photos; 0: collapsed",
    "order_accuracy": "share of triplets, positive nearer than semi-positive; chance .5",
    "unseen": "captions, logos and fonts that training never shows; seen: the others",
    "auroc": "chance that a match scores above a mismatch",
    "text_only_auroc": "auroc of a model that sees only texts; .5: they tell nothing",
    "average_precision": "precision, averaged over all thresholds",
    "f1": "of matches, at the threshold chosen on val",
    "calibration_error": "mean gap between probability and share of matches",
}
PARTS_SHOWN, LEAST = 8, 5  # values of an attribute, those of most queries, and of no fewer than these


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes metrics by stage, and what belongs to them, as JSON, in one step."""
    write_text(path, json.dumps(results, indent=2) + "\n")


def print_table(outcomes: Mapping[str, Outcome], *, monitor: str | None = None, split: str = "test") -> None:
    """Prints a block a direction, a line a metric, a column a stage, with 95 % intervals, and what they mean.

    The direction of `monitor` comes first, and it the first of its lines, marked. Behind it come its slices, such as
    `query_to_sku/category/dress`, with recall@1 alone, for each attribute those of most queries. It fits 80 columns.

    Args:
        outcomes: What was found on one split, by stage of training.
        monitor: Validation metric that chose the best checkpoint.
        split: Name of the split that was measured.
    """
    stages = list(outcomes)
    last = outcomes[stages[-1]]
    if not last.figures:
        print("nothing was tested")
        return
    chosen_by = (monitor or "").removeprefix("val/")
    main = chosen_by.rpartition("/")[0]
    slices = {part.direction: part for part in last.parts}
    names = [name for name in last.figures if name.rpartition("/")[0] not in slices]
    ranked = [name.removesuffix("/recall@1") for name in names if name.endswith("/recall@1")]
    users = [direction for direction in ranked if direction.startswith("query_to_sku")]
    main = main if main in ranked else next(iter([*users, *ranked]), "")
    shown_parts = _shown_parts(last, main)
    names += [f"{direction}/recall@1" for direction in shown_parts]
    places = {name.partition("/")[0].removesuffix("_seen"): place for place, name in reversed([*enumerate(names)])}
    fields = {name.removesuffix("/queries") for name in names if name.endswith("/queries") and name.count("/") > 1}

    def order(name: str) -> tuple[bool, int, int, bool]:
        """The monitored direction; others as they come, but seen SKUs behind others; parts; what has no direction."""
        direction = name.rpartition("/")[0]
        kind = 2 if not direction else int(direction in slices or direction in fields)
        first = direction == chosen_by.rpartition("/")[0] and bool(chosen_by)
        return not first, kind, places[name.partition("/")[0].removesuffix("_seen")], name != chosen_by

    # Names are shown as they are: a category may be called "[new]" or ":bell:".
    console = Console(width=80, markup=False, emoji=False, highlight=False)
    table = Table(title=f"on the {split} split")
    table.add_column("metric", width=80 - 4 - 19 * len(stages), overflow="fold")
    for stage in stages:
        table.add_column(stage, justify="right", width=16)
    shown, metrics = None, set()
    for name in sorted(names, key=order):
        direction, _, metric = name.rpartition("/")
        block, line = direction.replace("_", " "), metric
        if direction in slices or direction in fields:
            if metric != "recall@1":
                continue
            if direction in slices:  # a value may have a slash of its own
                column, _, part = direction.removeprefix(f"{main}/").partition("/")
                block = f"{main}/{column}".replace("_", " ")
            else:
                block, _, part = block.rpartition("/")
            block, line = f"{block}: recall@1", f"{part} ({last.figures[f'{direction}/queries']:g} queries)"
        if block != shown:
            table.add_section()
            if block:
                table.add_row(Text(block, style="bold"))
        values = [_figure(metric, name, outcomes[stage]) for stage in stages]
        table.add_row(f"{'  ' if block else ''}{line}{' *' if name == chosen_by else ''}", *values)
        metrics.add(metric.partition("@")[0])
        shown = block
    console.print(table)
    if chosen_by in names:
        console.print("* the best checkpoint was chosen by it, on val")
        if split == "val":
            console.print("no test split: chosen and measured on val, so expect less of other photos")
    if left := len(slices) - len(shown_parts):
        console.print(f"{left} more slices are in results.json")
    console.print("in brackets: 95 % intervals, by drawing groups of queries anew", style="dim")
    for metric, meaning in MEANINGS.items():
        if metric in metrics:
            console.print(f"{metric}: {meaning}", style="dim")


def _shown_parts(outcome: Outcome, direction: str) -> list[str]:
    """Names of a direction's slices, for each attribute those of most queries."""
    of: dict[str, list[Sample]] = {}
    search = next((one.search for one in outcome.samples if one.direction == direction), None)
    for part in outcome.parts:
        # those of text_to_image/category, a text's field, are none of text_to_image
        if part.direction.startswith(f"{direction}/") and part.search is search:
            of.setdefault(part.direction.removeprefix(f"{direction}/").partition("/")[0], []).append(part)
    most = [sorted(parts, key=lambda part: -len(part.place))[:PARTS_SHOWN] for parts in of.values()]
    kept = {part.direction for parts in most for part in parts if len(part.place) >= LEAST}
    return [part.direction for part in outcome.parts if part.direction in kept]


def draw_history(metrics_csv: Path, picture: Path, *, monitor: str) -> None:
    """Draws losses, validation, CLIP score and learning rates from Lightning's `metrics.csv`.

    Validation is recall in `monitor`'s direction and accuracies of triplets, or else `monitor` and its parts.
    """
    from matplotlib.figure import Figure

    history = pd.read_csv(metrics_csv)
    direction = monitor.split("/")[1]
    drawn = ("val/triplet/accuracy", "val/triplet/order_accuracy")
    names = [str(name) for name in history]
    curves = [name for name in names if name.startswith(f"val/{direction}/recall@") or name in drawn]
    curves = curves or [name for name in names if name.startswith(monitor)]  # of all, and of each kind of mismatch
    curves.sort(key=lambda name: (name.partition("@")[0], int(name.partition("@")[2] or 0)))  # recall@5 before @10
    shares = any(name != "val/loss" for name in curves)
    panels = {
        "loss": ["train/loss", "val/loss"],
        f"validation, {direction.replace('_', ' ')}": curves if shares else [],
        "CLIP score: 100 x mean cosine": ["val/clip_score"],
        "learning rate": [name for name in names if name.startswith("lr-")],
    }
    panels = {title: there for title, lines in panels.items() if (there := [name for name in lines if name in names])}
    figure = Figure(figsize=(10, 3.2 * ((len(panels) + 1) // 2)), layout="constrained")
    for place, (title, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot((len(panels) + 1) // 2, 2, place)
        seen = set()
        for name in lines:
            points = history.dropna(subset=name)
            values = tuple(points[name])
            if values in seen and name.startswith("lr-"):  # groups of weights with one rate
                continue
            seen.add(values)
            label = name.removeprefix("val/").removeprefix(f"{direction}/").replace("/", " ").replace("_", " ")
            label = {"train/loss": "train", "val/loss": "val"}.get(name, label)
            marker = "o" if name.startswith("val/") else None
            axes.plot(points["step"], points[name], marker=marker, markersize=3, label=label)
        axes.set(title=title, xlabel="step")
        if lines == curves:
            axes.set_ylim(-0.02, 1.02)
        if len(axes.lines) > 1:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))  # beside the curves, not on them
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


def draw_reliability(picture: Path, stages: Mapping[str, Reliability], *, split: str) -> None:
    """Draws how often judgements match, over the probability they were given, of "before" and "after"."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for stage, found in stages.items():
        some = found.count > 0
        axes.plot(found.probability[some], found.matches[some], marker="o", markersize=3, label=f"{stage} training")
    axes.set(title=f"reliability on the {split} split", xlabel="probability of a match", ylabel="share of matches")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


def _figure(metric: str, name: str, outcome: Outcome) -> str:
    value = outcome.figures.get(name, float("nan"))
    if metric in COUNTS:
        return f"{value:g}"
    low, high = outcome.intervals.get(name, (None, None))
    if metric == "median_rank":
        return f"{value:g}" if low is None or high is None else f"{value:g} ({max(low, 1):.0f}-{high:.0f})"
    if low is None or high is None:
        return f"{value:.3f}"
    if max(abs(value), abs(high)) > 2:  # a CLIP score
        return f"{value:.1f} ({low:.1f}-{high:.1f})"
    return f"{value:.3f} ({low:.2f}-{high:.2f})".replace("(0", "(").replace("-0", "-")
