"""The table at the end of a Hydra multirun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

MEASURED = ["monitor", "val", "test"]


class SweepSummary(Callback):
    """After all jobs, prints what was varied and measured, best first, and writes `summary.csv` beside them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if OmegaConf.select(config, "trainer.fast_dev_run"):
            return  # which leaves no results
        failed = summarize(Path(config.hydra.sweep.dir))
        if failed:
            raise SystemExit(f"error: failed jobs: {', '.join(failed)}; what each said is above")


def summarize(folder: Path) -> list[str]:
    """Reads each job's `results.json` below `folder`; one without is listed as failed, and returned.

    Jobs are sorted by their own `loss.monitor` on val, of their best checkpoint; the test split is shown beside it, but
    selects nothing. Jobs that monitor different metrics are sorted within each metric.
    """
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    rows: list[dict[str, Any]] = []
    failed = []
    for job in sorted(path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")):
        overrides = (str(override).partition("=") for override in OmegaConf.load(job / ".hydra" / "overrides.yaml"))
        row: dict[str, Any] = {"job": job.name, **{key: value for key, _, value in overrides}}
        if (job / "results.json").is_file():
            row |= _measured(json.loads((job / "results.json").read_text(encoding="utf-8")))
        else:
            failed.append(job.name)
        rows.append(row)
    if not rows:
        return []
    given = dict.fromkeys(key for row in rows for key in row if key not in ("job", *MEASURED))
    varied = [key for key in given if len({row.get(key) for row in rows}) > 1] or list(given)
    frame = pd.DataFrame(rows).reindex(columns=["job", *varied, *MEASURED])
    frame = frame.sort_values(["monitor", "val"], ascending=[True, False], na_position="last")
    frame.to_csv(folder / "summary.csv", index=False)
    monitors = frame["monitor"].dropna().unique()
    # Values are shown as they are given: [visual] is no markup, :fire: no emoji.
    console = Console(markup=False, emoji=False, highlight=False)
    table = Table(title=f"{len(frame)} runs in {folder}")
    shown = ["job", *varied, *(["monitor"] if len(monitors) > 1 else []), "val", "test"]
    for column in shown:
        table.add_column("val *" if column == "val" else column, overflow="fold")
    for values in frame[shown].to_dict("records"):
        cells = [_cell(values[column]) for column in shown]
        if values["job"] in failed:
            cells[shown.index("val")] = "failed"
        table.add_row(*cells)
    console.print(table)
    console.print(f"* sorted by loss.monitor on val: {', '.join(monitors) or 'no run has measured it'}")
    return failed


def _measured(results: dict[str, Any]) -> dict[str, Any]:
    """Monitored metric, its value on val, and the same on the test split where that is measured."""
    monitor = results.get("monitor")
    if monitor is None:  # of a run before they were kept
        return {}
    of_test = results["after"].get(monitor.replace("val/", "test/", 1))
    return {"monitor": monitor, "val": results["val"].get(monitor), "test": of_test}


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
