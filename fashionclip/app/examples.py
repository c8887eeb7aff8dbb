"""Pictures of what a run has learned: the photos nearest to some texts or photos, some triplets, and the judgements
that are most wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.images import load_image
from fashionclip.manifest import ROLES
from fashionclip.metrics.judgement_metrics import Offenders
from fashionclip.metrics.retrieval_metrics import EXAMPLES, NEAREST, Nearest, RetrievalMetrics
from fashionclip.metrics.triplet_metrics import Shown, TripletScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 4  # judgements in a line


@dataclass(frozen=True)
class Alike:
    """Some photos, and the photos nearest to them.

    Attributes:
        image_row: (E,) rows of the manifest.
        nearest_row: (E, N) rows of the nearest photos, the best first.
        right: (E, N) bool, whether they are right answers.
    """

    image_row: Tensor
    nearest_row: Tensor
    right: Tensor


@dataclass(frozen=True)
class Examples:
    """What an evaluation pass has kept to be looked at; None where it has nothing of a kind."""

    nearest: Nearest | None
    alike: Alike | None
    triplets: Shown | None


def examples_of(metrics: RetrievalMetrics, domain: Sequence[str]) -> Examples:
    """The examples of the last pass: photos nearest to texts (to photos, where no texts are embedded), and triplets.

    Args:
        metrics: Metrics of the pass.
        domain: Domain of each row of the manifest; photos of users are searched for among those of shops.
    """
    scores = [measure for measure in metrics.also if isinstance(measure, TripletScores)]
    return Examples(
        nearest=metrics.nearest if metrics.texts else None,
        alike=None if metrics.texts else _alike(metrics, domain),
        triplets=scores[0].shown if scores else None,
    )


def _alike(metrics: RetrievalMetrics, domain: Sequence[str]) -> Alike:
    row, image = metrics.embedded.image_row, metrics.embedded.image  # (I,), (I, D)
    of_user = torch.tensor([domain[place] == "query" for place in row.tolist()], device=row.device)
    among = torch.ones_like(of_user) if of_user.all() or not of_user.any() else ~of_user  # (I,) the gallery
    asking = (of_user if of_user.any() else among).nonzero()[:, 0]
    asking = _spread(asking, 20 * EXAMPLES)  # (A,), of which those with a right answer are shown
    right = torch.zeros(len(asking), len(row), dtype=torch.bool, device=row.device)
    for code in metrics.alike:
        right |= code.to(row.device)[row][asking, None] == code.to(row.device)[row]
    allowed = among & (asking[:, None] != torch.arange(len(row), device=row.device))  # (A, I)
    right &= allowed
    some = _spread(right.any(1).nonzero()[:, 0], EXAMPLES)  # (E,)
    scores = (image[asking[some]] @ image.T).masked_fill(~allowed[some], -torch.inf)
    closest = scores.topk(min(NEAREST, int(allowed.sum(1).min()))).indices
    return Alike(row[asking[some]].cpu(), row[closest].cpu(), right[some].gather(1, closest).cpu())


def _spread(values: Tensor, most: int) -> Tensor:
    """At most `most` of the values, evenly spread."""
    return values[torch.linspace(0, len(values) - 1, min(most, len(values)), device=values.device).long()]


def draw_examples(folder: Path, rows: ManifestTensors, stages: Mapping[str, Examples]) -> None:
    """Draws `examples.png` and `triplets.png` where there is something to show.

    Args:
        folder: Folder of both pictures.
        rows: Dataset of the photos.
        stages: Examples by the stage of training, "before" and "after".
    """
    nearest = {stage: e.nearest for stage, e in stages.items() if e.nearest and len(e.nearest.text_id)}
    alike = {stage: e.alike for stage, e in stages.items() if e.alike and len(e.alike.image_row)}
    triplets = {stage: e.triplets for stage, e in stages.items() if e.triplets and len(e.triplets.rows)}
    if nearest:
        draw_nearest(folder / "examples.png", rows, nearest)
    if alike:
        draw_alike(folder / "examples.png", rows, alike)
    if triplets:
        draw_triplets(folder / "triplets.png", rows, triplets)


def draw_nearest(picture: Path, rows: ManifestTensors, stages: Mapping[str, Nearest]) -> None:
    """Draws each text in a line of its own, with the photos nearest to it at each stage; right ones are framed."""
    texts = next(iter(stages.values())).text_id

    def ask(axes: Axes, line: int) -> None:
        axes.axis("off")
        shown = textwrap.shorten(rows.text[int(texts[line])], 90, placeholder="…")
        axes.text(0, 0.5, textwrap.fill(shown, 30), va="center", fontsize=9, parse_math=False)

    def right(n: Nearest) -> Tensor:
        return rows.text_key[rows.text_id[n.image_row]] == rows.text_key[n.text_id][:, None]  # in any spelling

    found = {stage: (n.image_row, right(n)) for stage, n in stages.items()}
    _draw_found(picture, rows, found, ask=ask, width=2.6)


def draw_alike(picture: Path, rows: ManifestTensors, stages: Mapping[str, Alike]) -> None:
    """Draws each photo in a line of its own, with the photos nearest to it at each stage; right ones are framed."""
    asked = next(iter(stages.values())).image_row

    def ask(axes: Axes, line: int) -> None:
        _show(axes, rows, int(asked[line]))

    found = {stage: (alike.nearest_row, alike.right) for stage, alike in stages.items()}
    _draw_found(picture, rows, found, ask=ask, width=1.1)


def _show(axes: Axes, rows: ManifestTensors, row: int, *, frame: str | None = None) -> None:
    """Draws a photo, in a coloured frame where a colour is given."""
    axes.imshow(load_image(rows.root / rows.path[row], at_least=224))
    axes.set(xticks=[], yticks=[])
    for edge in axes.spines.values():
        edge.set(color=frame or "lightgrey", linewidth=3 if frame else 0.5)


def _draw_found(
    picture: Path,
    rows: ManifestTensors,
    stages: Mapping[str, tuple[Tensor, Tensor]],
    *,
    ask: Callable[[Axes, int], None],
    width: float,
) -> None:
    """Draws queries, each in a line of its own, with the photos found at each stage.

    Args:
        picture: PNG to write.
        rows: Dataset of the photos.
        stages: Rows (E, N) of the photos found, and whether they are right, by the stage of training.
        ask: Function that draws the query of a line, from 0 to E - 1.
        width: Width of the column of queries, in inches.
    """
    from matplotlib.figure import Figure

    lines = len(next(iter(stages.values()))[0])
    across = [found.shape[1] for found, _ in stages.values()]
    figure = Figure(figsize=(width + 1.0 * sum(across), 1.3 * lines + 0.4), layout="constrained")
    blocks: Any = figure.subfigures(1, len(stages) + 1, wspace=0.03, width_ratios=[width, *(0.95 * n for n in across)])
    for line, axes in enumerate(blocks[0].subplots(lines, 1, squeeze=False)[:, 0]):
        ask(axes, line)
    blocks[0].suptitle(" ", fontsize=10)  # as high as the titles beside it, so that lines are level
    for block, (stage, (found, right)) in zip(blocks[1:], stages.items(), strict=True):
        block.suptitle(f"nearest photos {stage} training", fontsize=10)
        grid = block.subplots(lines, found.shape[1], squeeze=False)
        for axes, row, is_right in zip(grid.flat, found.flatten().tolist(), right.flatten().tolist(), strict=True):
            _show(axes, rows, row, frame="tab:green" if is_right else None)
    figure.savefig(picture, dpi=110)


def draw_triplets(picture: Path, rows: ManifestTensors, stages: Mapping[str, Shown]) -> None:
    """Draws the four photos of each triplet in a line, and under each its distance to the anchor at each stage."""
    from matplotlib.figure import Figure

    triplets = next(iter(stages.values())).rows.tolist()
    figure = Figure(figsize=(10, 2.6 * len(triplets)), layout="constrained")
    grid = figure.subplots(len(triplets), len(ROLES), squeeze=False)
    for nth, (line, image_rows) in enumerate(zip(grid, triplets, strict=True)):
        for column, (axes, row) in enumerate(zip(line, image_rows, strict=True)):
            _show(axes, rows, row)
            distances = [f"{stage} {shown.distance[nth, column - 1]:.3f}" for stage, shown in stages.items() if column]
            axes.set_xlabel("distance " + ", ".join(distances) if column else "", fontsize=8)
            if nth == 0:
                axes.set_title(ROLES[column])
    figure.savefig(picture, dpi=80)


def draw_offenders(picture: Path, rows: ManifestTensors, offenders: Offenders) -> bool:
    """Draws the judgements that are most wrong, each with its photo, text, right answer and probability of a match.

    Args:
        picture: PNG to write.
        rows: Dataset with judgements.
        offenders: Judgements to draw; where the verdict is wrong, the photo is framed red.

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
    figure.suptitle("the judgements that are most wrong; framed red: wrong verdicts", fontsize=10)
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
            _show(axes, rows, int(judged.image_row[row]), frame=None if verdict == label else "tab:red")
            axes.set_title(f"{right}\nprobability of a match {offenders.probability[nth]:.3f}", fontsize=9)
            shown = textwrap.shorten(rows.text[int(judged.text_id[row])], 160, placeholder="…")
            axes.set_xlabel(textwrap.fill(shown, 38), fontsize=8, parse_math=False)
    figure.savefig(picture, dpi=90)
    return True
