"""The table at the end of a Hydra multirun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

METRICS = ("recall@10", "recall@1", "mrr")  # sorted by the first


class SweepSummary(Callback):
    """After all jobs, prints their overrides and test metrics, best first, and writes `summary.csv` beside them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        summarize(Path(config.hydra.sweep.dir))


def summarize(folder: Path) -> None:
    """Reads each job's `results.json` below `folder`; a job without one is listed as failed."""
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    rows: list[dict[str, Any]] = []
    shown: dict[str, None] = {}  # metrics, in order
    for job in sorted(path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")):
        row: dict[str, Any] = {"job": job.name}
        row |= dict(str(o).split("=", 1) for o in OmegaConf.load(job / ".hydra" / "overrides.yaml"))
        if (job / "results.json").is_file():
            after = json.loads((job / "results.json").read_text())["after"]
            direction = "text_to_image" if "test/text_to_image/mrr" in after else "image_to_image"  # without texts
            shown |= {f"{direction}/{metric}": None for metric in METRICS}
            row |= {f"{direction}/{metric}": after[f"test/{direction}/{metric}"] for metric in METRICS}
        rows.append(row)
    if not rows:
        return
    frame = pd.DataFrame(rows).reindex(
        columns=[*dict.fromkeys(key for row in rows for key in row if key not in shown), *shown]
    )
    frame = frame.sort_values(list(shown)[:1], ascending=False, na_position="last") if shown else frame
    frame.to_csv(folder / "summary.csv", index=False)
    table = Table(title=f"{len(frame)} runs in {folder}")
    for column in frame:
        table.add_column(column)
    for values in frame.to_dict("records"):
        cells = [f"{values[c]:.3f}" if c in shown else str(values[c]) for c in frame]
        table.add_row(*["failed" if cell == "nan" else cell for cell in cells])
    Console().print(table)
