"""Pictures of what a run learns: photos nearest to some texts, or some triplets, before and after training; and the
judgements that it gets most wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashionclip.data.rows import Rows
from fashionclip.images import load_image
from fashionclip.manifest import ROLES
from fashionclip.metrics.accumulate import Nearest, RetrievalMetrics
from fashionclip.metrics.judged import Offenders
from fashionclip.metrics.triplet_scores import Shown, TripletScores

ACROSS = 4  # offenders in a line


@dataclass(frozen=True)
class Examples:
    """What an evaluation pass has kept to look at; None where it has no such thing."""

    nearest: Nearest | None
    triplets: Shown | None


def examples_of(metrics: RetrievalMetrics) -> Examples:
    """Of the last pass."""
    scores = [measure for measure in metrics.also if isinstance(measure, TripletScores)]
    return Examples(metrics.nearest if metrics.texts else None, scores[0].shown if scores else None)


def draw_examples(folder: Path, rows: Rows, stages: Mapping[str, Examples]) -> None:
    """Draws `examples.png` (texts and photos) and `triplets.png`, of "before" and "after", where there are such."""
    nearest = {
        stage: examples.nearest
        for stage, examples in stages.items()
        if examples.nearest and len(examples.nearest.text_id)
    }
    triplets = {stage: e.triplets for stage, e in stages.items() if e.triplets and len(e.triplets.rows)}
    if nearest:
        draw_nearest(folder / "examples.png", rows, nearest)
    if triplets:
        draw_triplets(folder / "triplets.png", rows, triplets)


def draw_nearest(picture: Path, rows: Rows, stages: Mapping[str, Nearest]) -> None:
    """Draws one line a text and one block of photos a stage, right answers framed.

    Args:
        picture: PNG to write.
        rows: The dataset.
        stages: Such as "before" and "after", of the same texts.
    """
    from matplotlib.figure import Figure

    texts = next(iter(stages.values())).text_id.tolist()
    found = {stage: nearest.image_row.shape[1] for stage, nearest in stages.items()}
    figure = Figure(figsize=(2.6 + 1.0 * sum(found.values()), 1.3 * len(texts) + 0.4), layout="constrained")
    blocks: Any = figure.subfigures(
        1, len(stages) + 1, wspace=0.03, width_ratios=[2.6, *(0.95 * n for n in found.values())]
    )
    for axes, text in zip(blocks[0].subplots(len(texts), 1, squeeze=False)[:, 0], texts, strict=True):
        axes.axis("off")
        shown = textwrap.shorten(rows.text[text], 90, placeholder="…")
        axes.text(0, 0.5, textwrap.fill(shown, 30), va="center", fontsize=9, parse_math=False)
    for block, (stage, nearest) in zip(blocks[1:], stages.items(), strict=True):
        block.suptitle(f"nearest photos {stage} training", fontsize=10)
        grid = block.subplots(len(texts), found[stage], squeeze=False)
        for line, text, image_rows in zip(grid, texts, nearest.image_row.tolist(), strict=True):
            for axes, row in zip(line, image_rows, strict=True):
                axes.imshow(load_image(rows.root / rows.path[row], at_least=160))
                axes.set(xticks=[], yticks=[])
                right = rows.text_key[rows.text_id[row]] == rows.text_key[text]
                for edge in axes.spines.values():
                    edge.set(color="tab:green" if right else "lightgrey", linewidth=3 if right else 0.5)
    figure.savefig(picture, dpi=110)


def draw_triplets(picture: Path, rows: Rows, stages: Mapping[str, Shown]) -> None:
    """Draws one line a triplet: the four photos, and under each its distance to the anchor at every stage.

    Args:
        picture: PNG to write.
        rows: The dataset.
        stages: Such as "before" and "after", of the same triplets.
    """
    from matplotlib.figure import Figure

    triplets = next(iter(stages.values())).rows.tolist()
    figure = Figure(figsize=(10, 2.6 * len(triplets)), layout="constrained")
    grid = figure.subplots(len(triplets), len(ROLES), squeeze=False)
    for nth, (line, image_rows) in enumerate(zip(grid, triplets, strict=True)):
        for column, (axes, row) in enumerate(zip(line, image_rows, strict=True)):
            axes.imshow(load_image(rows.root / rows.path[row], at_least=224))
            axes.set(xticks=[], yticks=[])
            distances = [f"{stage} {shown.distance[nth, column - 1]:.3f}" for stage, shown in stages.items() if column]
            axes.set_xlabel("distance " + ", ".join(distances) if column else "", fontsize=8)
            if nth == 0:
                axes.set_title(ROLES[column])
    figure.savefig(picture, dpi=80)


def draw_offenders(picture: Path, rows: Rows, offenders: Offenders) -> bool:
    """Draws the judgements that are most wrong: photo and text, what is right, and the probability of a match.

    Args:
        picture: PNG to write.
        rows: The dataset, with judgements.
        offenders: Of a pass; photos of those whose verdict is wrong are framed red.

    Returns:
        Whether there were any to draw.
    """
    from matplotlib.figure import Figure

    judged, count = rows.judgements, len(offenders.label)
    if judged is None or not count:
        return False
    places = [(offenders.label == label).nonzero()[:, 0] for label in (False, True)]
    lines = [part for some in places for part in some.split(ACROSS) if len(part)]
    figure = Figure(figsize=(2.9 * ACROSS, 3.9 * len(lines)), layout="constrained")
    figure.suptitle("the judgements that are most wrong; framed red: so is the verdict", fontsize=10)
    grid = figure.subplots(len(lines), ACROSS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for line, part in zip(grid, lines, strict=True):
        for axes, nth in zip(line, part.tolist(), strict=False):
            row = int(offenders.judgement_id[nth])
            label, verdict = bool(offenders.label[nth]), bool(offenders.verdict[nth])
            kind = judged.kinds[judged.kind[row]]
            right = "match" if label else "mismatch" if kind == "given" else f"mismatch, {kind}"
            axes.axis("on")
            axes.imshow(load_image(rows.root / rows.path[int(judged.image_row[row])], at_least=224))
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{right}\nprobability of a match {offenders.probability[nth]:.3f}", fontsize=9)
            shown = textwrap.shorten(rows.text[int(judged.text_id[row])], 160, placeholder="…")
            axes.set_xlabel(textwrap.fill(shown, 38), fontsize=8, parse_math=False)
            for edge in axes.spines.values():
                edge.set(color="lightgrey" if verdict == label else "tab:red", linewidth=0.5 if verdict == label else 3)
    figure.savefig(picture, dpi=90)
    return True
