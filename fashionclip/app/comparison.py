"""Two runs beside each other, by the queries that both have measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fashionclip.app.results import QUERIES
from fashionclip.errors import InputError
from fashionclip.evaluation.compare import compared

SHOWN = 20  # slices
MEASURED = ("measured_on", "dataset")  # what two runs must have in common, in results.json


def compare(runs: object, folder: Path) -> pd.DataFrame:
    """Prints what tells two runs apart, and writes `comparison.csv` with all metrics and slices.

    Args:
        runs: Folders of two runs of training, of which that after it counts, or of evaluations.
        folder: Folder to write in.

    Raises:
        InputError: They are not two, one has no table of queries, they were measured on other photos, or
            by other tasks.
    """
    if not isinstance(runs, list) or len(runs) != 2:
        raise InputError(f"compare={runs}: expected two folders of runs: compare=[RUN,RUN].")
    runs = [str(run) for run in runs]
    (first, facts), (second, others) = (_measured(Path(run)) for run in runs)
    for fact in MEASURED:
        if facts[fact] != others[fact]:
            raise InputError(
                f"compare: {runs[0]} has {fact} {facts[fact]}, {runs[1]} has {others[fact]}, so their queries are not "
                "the same. Measure both on one: python evaluate.py ckpt=RUN dataset=NAME split=test"
            )
    table = compared(first, second)
    if table.empty:
        raise InputError(
            f"compare: {runs[0]} and {runs[1]} have no metric of the same queries. Measure both by the same tasks: "
            "python evaluate.py ckpt=RUN [evaluation=NAME]"
        )
    table.to_csv(folder / "comparison.csv", index=False)
    _print(table, runs)
    print(f"all metrics and slices: {folder / 'comparison.csv'}")
    return table


def _measured(run: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    if not (run / QUERIES).is_file() or not (run / "results.json").is_file():
        raise InputError(
            f"compare: {run} has no {QUERIES} and results.json. Expected the folder of a run that has ended, or of an "
            "evaluation: python evaluate.py ckpt=RUN"
        )
    queries = pd.read_parquet(run / QUERIES)
    facts = json.loads((run / "results.json").read_text(encoding="utf-8"))
    last = queries["stage"].iloc[-1]  # "after", or the one of an evaluation
    return queries[queries["stage"] == last].drop(columns="stage"), {fact: facts.get(fact) for fact in MEASURED}


def _print(table: pd.DataFrame, runs: Sequence[str]) -> None:
    """Whole directions, then the slices that are told from chance by the first metric of their direction."""
    console = Console(width=80, markup=False, emoji=False, highlight=False)
    console.print(f"1: {runs[0]}\n2: {runs[1]}")
    shown = Table()
    for name, width in (("metric", 30), ("1", 7), ("2", 7), ("2 - 1 (95 % interval)", 21)):
        shown.add_column(name, width=width, justify="left" if name == "metric" else "right", overflow="fold")
    direction = None
    for line in table[table["slice"] == ""].to_dict("records"):
        if line["direction"] != direction:
            direction = line["direction"]
            shown.add_section()
            shown.add_row(
                Text(f"{direction.replace('_', ' ')} ({line['queries']} queries)" if direction else "", style="bold")
            )
        shown.add_row(f"  {line['metric']}", *_cells(line))
    console.print(shown)
    main = table[table["metric"] == table.groupby("direction")["metric"].transform("first")]
    parts = main[main["slice"] != ""]
    for line in parts[parts["sure"]].sort_values("p").head(SHOWN).to_dict("records"):
        one, two, apart = _cells(line)
        console.print(f"{line['direction']}/{line['slice']} {line['metric']}: {one} -> {two}, {apart}")
    console.print("* told from chance at 5 %, by swapping the two in groups of queries", style="dim")
    console.print(
        f"slices: {parts['sure'].sum()} of {len(parts)} are told from chance by their first metric (Holm)", style="dim"
    )


def _cells(line: dict[str, Any]) -> tuple[str, str, str]:
    digits = 1 if max(abs(line["first"]), abs(line["second"])) > 2 else 3
    mark = " *" if line["sure"] else ""
    apart = f"{line['difference']:+.{digits}f} ({line['low']:+.{digits}f} {line['high']:+.{digits}f}){mark}"
    return (
        f"{line['first']:.{digits}f}",
        f"{line['second']:.{digits}f}",
        apart.replace("+0.", "+.").replace("-0.", "-."),
    )
