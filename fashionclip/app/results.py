"""What an evaluation leaves in its folder: figures, a table of queries, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.app.examples import Examples, draw_examples, draw_offenders, examples_of
from fashionclip.app.metrics import outcome, ranking_latency
from fashionclip.app.report import draw_reliability, write_results
from fashionclip.atomic import whole_file
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.evaluation.outcome import Outcome
from fashionclip.metrics.judgement_functions import Reliability
from fashionclip.metrics.samples import Found
from fashionclip.training.module import RetrievalModule

QUERIES = "queries.parquet"


@dataclass(frozen=True)
class Stage:
    """What one test pass found, and what it has to show."""

    outcome: Outcome
    examples: Examples
    calibration: Reliability | None


def stage_of(
    module: RetrievalModule, data: RetrievalDataModule, figures: Mapping[str, float], *, also: Found | None = None
) -> Stage:
    """The last test pass of a module, from its metrics and the figures that Lightning returned of it, and of tasks."""
    examples = examples_of(module.metrics, data.dataset.manifest["domain"].tolist())
    calibration = module.judged.calibration if module.judged else None
    return Stage(outcome(module, data, figures, also=also), examples, calibration)


def leave_results(
    folder: Path,
    stages: Mapping[str, Stage],
    module: RetrievalModule,
    data: RetrievalDataModule,
    *,
    split: str,
    also: Mapping[str, Any],
) -> dict[str, dict[str, float]]:
    """Writes `results.json`, `queries.parquet` and pictures, and prints where the worst judgements are drawn.

    Args:
        folder: Folder of the run.
        stages: Test passes by the stage of training, such as "before" and "after".
        module: Module of the last test pass.
        data: Data that was measured.
        split: Name of the split that was measured.
        also: Further parts of `results.json`.

    Returns:
        Figures by stage and name, such as "test/text_to_image/recall@1".
    """
    named = {stage: {f"{split}/{name}": v for name, v in one.outcome.figures.items()} for stage, one in stages.items()}
    intervals = {
        stage: {f"{split}/{name}": list(edges) for name, edges in one.outcome.intervals.items()}
        for stage, one in stages.items()
    }
    measured = {"measured_on": split, "dataset": data.dataset.info["fingerprint"]}
    latency = ranking_latency(module.metrics, data)
    results = {**also, **measured, **named, "intervals": intervals, "ranking_latency": latency}
    write_results(folder / "results.json", results)
    queries = pd.concat([one.outcome.queries.assign(stage=stage) for stage, one in stages.items()], ignore_index=True)
    if len(queries):
        with whole_file(folder / QUERIES) as file:
            queries.to_parquet(file, index=False)
    draw_examples(folder, data.rows, {stage: one.examples for stage, one in stages.items()})
    curves = {stage: one.calibration for stage, one in stages.items() if one.calibration is not None}
    if curves:
        draw_reliability(folder / "reliability.png", curves, split=split)
    if module.judged and draw_offenders(folder / "offenders.png", data.rows, module.judged.offenders):
        print(f"worst judgements: {folder / 'offenders.png'}")
    return named
