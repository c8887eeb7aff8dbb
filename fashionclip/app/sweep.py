"""The table at the end of a Hydra multirun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from fashionclip.app.run_folder import mode_of
from fashionclip.app.user_errors import ERROR


class SweepSummary(Callback):
    """After all jobs, prints what was varied and measured, best first, and writes `multirun.csv` beside them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if OmegaConf.select(config, "trainer.fast_dev_run"):
            return  # which leaves no results
        failed = summarize(Path(config.hydra.sweep.dir))
        if failed:
            raise SystemExit(f"error: failed jobs: {', '.join(failed)}; what each said is above")


def summarize(folder: Path) -> list[str]:
    """Reads each job's `results.json` below `folder`; one without is listed as failed, with its error, and returned.

    Jobs are sorted by their own `loss.monitor` on val, of their best checkpoint; the test split is shown beside it, but
    selects nothing. Jobs that monitor different metrics are sorted within each metric. The table shows what was varied,
    `multirun.csv` has all overrides and all metrics.
    """
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    jobs = sorted((path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")), key=_number)
    if not jobs:
        return []
    overrides = pd.DataFrame([_overrides(job) for job in jobs], dtype=object)
    results = [_results(job) for job in jobs]
    measured = pd.DataFrame([_measured(job, found) for job, found in zip(jobs, results, strict=True)])
    metrics = pd.DataFrame([found.get("val", {}) | found.get("after", {}) | _known(found) for found in results])
    frame = pd.concat([pd.Series([job.name for job in jobs], name="job"), overrides, measured, metrics], axis=1)
    frame = frame.sort_values(["monitor", "worth"], ascending=[True, False], na_position="last")
    frame.drop(columns="worth").to_csv(folder / "multirun.csv", index=False)

    varied = [key for key in overrides if overrides[key].nunique(dropna=False) > 1]
    monitors = frame["monitor"].dropna().unique()
    failed = frame[frame["error"].notna()]
    # Values are shown as they are given: [visual] is no markup, :fire: no emoji.
    console = Console(markup=False, emoji=False, highlight=False)
    table = Table(title=f"{len(frame)} runs in {folder}")
    shown = ["job", *varied, *(["monitor"] if len(monitors) > 1 else []), "val", "test"]
    for column in shown:
        table.add_column("val *" if column == "val" else column, overflow="fold")
    for values in frame.to_dict("records"):
        table.add_row(*("failed" if c == "val" and pd.notna(values["error"]) else _cell(values[c]) for c in shown))
    console.print(table)
    console.print(f"* sorted by loss.monitor on val: {', '.join(monitors) or 'no run has measured it'}")
    for job, error in zip(failed["job"], failed["error"], strict=True):
        console.print(f"job {job} failed: {error}")
    return list(failed["job"])


def _number(job: Path) -> tuple[int, str]:
    return len(job.name), job.name  # 9 before 10


def _overrides(job: Path) -> dict[str, str]:
    parted = (str(override).partition("=") for override in OmegaConf.load(job / ".hydra" / "overrides.yaml"))
    return {key: value for key, _, value in parted}


def _results(job: Path) -> dict[str, Any]:
    file = job / "results.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _known(results: dict[str, Any]) -> dict[str, Any]:
    """What a job still knew of the dataset that `retention` names."""
    return {f"retention/{name}": value for name, value in results.get("retention", {}).get("after", {}).items()}


def _measured(job: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Monitored metric, its value on val and on the test split where that is measured, and how a failed job ended."""
    monitor = results.get("monitor")
    val = results.get("val", {}).get(monitor)
    test = results.get("after", {}).get(str(monitor).replace("val/", "test/", 1))
    worth = -val if val is not None and mode_of(str(monitor)) == "min" else val
    error = None
    if not results:
        file = job / ERROR
        error = file.read_text(encoding="utf-8").splitlines()[0] if file.is_file() else "it was killed, or stopped"
    return {"monitor": monitor, "val": val, "test": test, "error": error, "worth": worth}


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
