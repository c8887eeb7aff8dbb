"""The picture of what a run finds: some test texts, and the photos nearest to them before and after training."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashionclip.data.rows import Rows
from fashionclip.images import load_image
from fashionclip.metrics.accumulate import Nearest


def draw_examples(picture: Path, rows: Rows, stages: Mapping[str, Nearest]) -> None:
    """Draws one line a text and one block of photos a stage, right answers framed.

    Args:
        picture: PNG to write.
        rows: The dataset.
        stages: Such as "before" and "after", of the same texts.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    texts = next(iter(stages.values())).text_id.tolist()
    found = {stage: nearest.image_row.shape[1] for stage, nearest in stages.items()}
    figure = plt.figure(figsize=(2.6 + 1.0 * sum(found.values()), 1.3 * len(texts) + 0.4), layout="constrained")
    blocks: Any = figure.subfigures(
        1, len(stages) + 1, wspace=0.03, width_ratios=[2.6, *(0.95 * n for n in found.values())]
    )
    for axes, text in zip(blocks[0].subplots(len(texts), 1, squeeze=False)[:, 0], texts, strict=True):
        axes.axis("off")
        shown = textwrap.shorten(rows.text[text], 90, placeholder="…")
        axes.text(0, 0.5, textwrap.fill(shown, 30), va="center", fontsize=9)
    for block, (stage, nearest) in zip(blocks[1:], stages.items(), strict=True):
        block.suptitle(f"nearest photos {stage} training", fontsize=10)
        grid = block.subplots(len(texts), found[stage], squeeze=False)
        for line, text, image_rows in zip(grid, texts, nearest.image_row.tolist(), strict=True):
            for axes, row in zip(line, image_rows, strict=True):
                axes.imshow(load_image(rows.root / rows.path[row], at_least=160))
                axes.set(xticks=[], yticks=[])
                right = rows.text_id[row] == text
                for edge in axes.spines.values():
                    edge.set(color="tab:green" if right else "lightgrey", linewidth=3 if right else 0.5)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
