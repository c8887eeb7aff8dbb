"""What the checks of judgements found: as a table in the terminal, and as `validation.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fashionclip.atomic import write_text
from fashionclip.foreign_text import shown
from fashionclip.manifest import LABELS, SPLITS
from fashionclip.prepare.judgements.validate import Validation

SHOWN = 5  # faults of a check


def print_report(found: Validation) -> None:
    """Prints counts, a line a check, and below them the first faults and what to do about them."""
    report = _report(found)
    table = Table(title=f"judgements in {found.source}", title_justify="left")
    table.add_column("level")
    table.add_column("check")
    table.add_column("count", justify="right")
    table.add_column("first at", overflow="fold")
    for finding in report["findings"]:
        places = ", ".join(line.partition(": ")[0] for line in finding["first"])
        more = ", …" if finding["count"] > len(finding["first"]) else ""
        table.add_row(finding["level"], finding["check"], str(finding["count"]), shown(places) + more)
    if not report["findings"]:
        table.add_row("", "all checks passed", "0", "")
    Console(width=100, markup=False).print(table)  # a file may be named [red].csv
    for finding in report["findings"]:
        for line in finding["first"]:
            print(f"{finding['level']}: {finding['check']}: {shown(line)}")
        print(f"  {finding['remedy']}")
    splits = (
        f", of {', '.join(f'{name} {count}' for name, count in report['splits'].items())}" if report["splits"] else ""
    )
    labels = ", ".join(f"{count} {label}" for label, count in report["labels"].items())
    print(
        f"{report['rows']} judgements{splits}: {labels}; checks with errors: {len(found.errors)}, with warnings: "
        f"{len(report['findings']) - len(found.errors)}; paths begin at {found.root}"
    )


def write_report(found: Validation, file: Path) -> None:
    """Writes `validation.json` in one step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(_report(found), indent=2, ensure_ascii=False) + "\n")


def _report(found: Validation) -> dict[str, Any]:
    rows, faults = found.rows, found.faults
    lines = faults["where"] + ": " + faults["says"]
    return {
        "source": found.source,
        "root": str(found.root),
        "rows": len(rows),
        "labels": {label: int((rows["label"] == label).sum()) for label in LABELS},
        "splits": {name: count for name in SPLITS if (count := int((rows["split"] == name).sum()))},
        "valid": not found.errors,
        "findings": [
            {
                "check": check,
                "level": part["level"].iloc[0],
                "count": len(part),
                "first": lines[part.index[:SHOWN]].tolist(),
                "remedy": part["remedy"].iloc[0],
            }
            for check, part in faults.groupby("check", sort=False)
        ],
    }
