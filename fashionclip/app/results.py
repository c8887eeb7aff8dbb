"""What an evaluation leaves in its folder: figures, a table of queries, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.app.examples import Examples, draw_examples, draw_offenders, examples_of
from fashionclip.app.metrics import outcome, ranking_latency
from fashionclip.app.report import MEANINGS, draw_reliability, write_results
from fashionclip.atomic import whole_file
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.evaluation.embedding_map import draw_maps, embedding_map
from fashionclip.evaluation.outcome import Outcome
from fashionclip.evaluation.report import write_report
from fashionclip.metrics.judgement_functions import Reliability
from fashionclip.metrics.samples import Found
from fashionclip.training.module import RetrievalModule

QUERIES = "queries.parquet"
REPORT = "report.html"
PICTURES = {  # of the report, by what they show
    "The course of training": "training_history.png",
    "Share of matches over the probability of a match": "reliability.png",
    "The judgements that are most wrong": "offenders.png",
    "Triplets, and their distances": "triplets.png",
}


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
    report: Mapping[str, str] | None,
) -> dict[str, dict[str, float]]:
    """Writes `results.json`, `queries.parquet`, pictures and the report; says where the worst judgements are drawn.

    Args:
        folder: Folder of the run.
        stages: Test passes by the stage of training, such as "before" and "after".
        module: Module of the last test pass.
        data: Data that was measured.
        split: Name of the split that was measured.
        also: Further parts of `results.json`.
        report: Head of `report.html`, such as the model's name; None: no report and no embedding map.

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
    if report is not None:
        measured_on = {
            "dataset": str(data.dataset.root),
            "measured on": f"{split}, {len(data.rows.split[split])} photos",
        }
        pictures = {says: folder / picture for says, picture in PICTURES.items()}
        seen = module.metrics.embedded
        write_report(
            folder / REPORT,
            {stage: one.outcome for stage, one in stages.items()},
            data.dataset,
            texts=data.rows.text,
            title=folder.name,
            facts={**report, **measured_on, **_chosen(also)},
            monitor=also.get("monitor"),
            meanings=MEANINGS,
            pictures=pictures | draw_maps(folder, embedding_map(seen.image_row, seen.image), data.dataset),
        )
    return named


def _chosen(also: Mapping[str, Any]) -> dict[str, str]:
    """What chose the checkpoint, for the head of the report; nothing where none was chosen."""
    if not also.get("chosen_on"):
        return {}
    monitor = also["monitor"]
    return {"checkpoint": f"the best of training by {monitor}, {also['val'].get(monitor, float('nan')):.3f}"}
