"""What the checks of judgements found: as a table in the terminal, and as `validation.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from fashionclip.atomic import write_text
from fashionclip.foreign_text import shown
from fashionclip.manifest import SPLITS
from fashionclip.prepare.judgements.rules import READING, JudgementLimits, Rule, breaches, row_rules, split_rules

SHOWN = 5  # offenders a finding


@dataclass(frozen=True)
class Finding:
    """One check that something breaks.

    Attributes:
        check, level, remedy: Name, level and remedy of the rule.
        count: Number of rows, lines or splits that break it.
        first: Up to `SHOWN` of them, as "train.csv:12: what is wrong".
    """

    check: str
    level: str
    count: int
    first: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class Report:
    """All findings on a source.

    Attributes:
        source, root: Place of the tables, and the folder that their paths begin at.
        rows, matches, mismatches: Counts of judgements.
        splits: Counts by split, where the source gives splits.
        findings: Findings, errors first.
        broken: First check broken, by each row with an error or a repeat: what preparation leaves out.
    """

    source: str
    root: str
    rows: int
    matches: int
    mismatches: int
    splits: Mapping[str, int]
    findings: tuple[Finding, ...]
    broken: Mapping[int, str]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "error")


def report_on(
    facts: pd.DataFrame,
    splits: pd.DataFrame,
    unread: pd.DataFrame,
    *,
    source: Path,
    root: Path,
    limits: JudgementLimits,
) -> Report:
    """Applies all rules.

    Args:
        facts: Facts from `row_facts`.
        splits: Facts from `split_facts`.
        unread: Unread lines of the `ReadTable`.
        source, root: Place of the tables and of their photos, for the record.
        limits: Bounds of the warnings.
    """
    findings = []
    if facts.empty and not (unread["check"] == "missing_column").any():
        row = {"file": source.name, "line": 1, "check": "no_rows", "says": "no judgement below the header"}
        unread = pd.concat([unread, pd.DataFrame([row])], ignore_index=True)
    for check, remedy in READING:
        part = unread[unread["check"] == check]
        lines = [f"{row['file']}:{row['line']}: {row['says']}" for row in part.head(SHOWN).to_dict("records")]
        findings += [Finding(check, "error", len(part), tuple(lines), remedy)] if lines else []
    rules = row_rules(limits)
    broken = breaches(facts, rules)
    findings += _findings(facts, rules, broken)
    if not facts.empty:
        by_split = split_rules(limits)
        findings += _findings(splits, by_split, breaches(splits, by_split))
    left_out: dict[int, str] = {}
    for rule in rules:
        if rule.level == "error" or rule.name == "duplicate":
            left_out = dict.fromkeys(broken[rule.name], rule.name) | left_out  # the first check counts
    labels = facts["label"].value_counts()
    return Report(
        source=str(source),
        root=str(root),
        rows=len(facts),
        matches=int(labels.get("match", 0)),
        mismatches=int(labels.get("mismatch", 0)),
        splits={name: int(n) for name in SPLITS if (n := (facts["split"] == name).sum())},
        findings=tuple(sorted(findings, key=lambda finding: finding.level != "error")),
        broken=dict(sorted(left_out.items())),
    )


def print_report(report: Report) -> None:
    """Prints counts, one line a finding, and below them the first offenders and what to do about them."""
    table = Table(title=f"judgements in {report.source}", title_justify="left")
    table.add_column("level")
    table.add_column("check")
    table.add_column("count", justify="right")
    table.add_column("first at", overflow="fold")
    for finding in report.findings:
        places = ", ".join(line.partition(": ")[0] for line in finding.first)
        more = ", …" if finding.count > len(finding.first) else ""
        table.add_row(finding.level, finding.check, str(finding.count), shown(places) + more)
    if not report.findings:
        table.add_row("", "all checks passed", "0", "")
    Console(width=100, markup=False).print(table)  # a file may be named [red].csv
    for finding in report.findings:
        for line in finding.first:
            print(f"{finding.level}: {finding.check}: {shown(line)}")
        print(f"  {finding.remedy}")
    splits = f", of {', '.join(f'{name} {count}' for name, count in report.splits.items())}" if report.splits else ""
    print(
        f"{report.rows} judgements{splits}: {report.matches} match, {report.mismatches} mismatch; "
        f"checks with errors: {len(report.errors)}, with warnings: {len(report.findings) - len(report.errors)}; "
        f"paths begin at {report.root}"
    )


def write_report(report: Report, file: Path) -> None:
    """Writes `validation.json` in one step."""
    content = {
        "source": report.source,
        "root": report.root,
        "rows": report.rows,
        "labels": {"match": report.matches, "mismatch": report.mismatches},
        "splits": dict(report.splits),
        "valid": not report.errors,
        "findings": [asdict(finding) for finding in report.findings],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _findings(facts: pd.DataFrame, rules: Sequence[Rule], broken: Mapping[str, list[int]]) -> list[Finding]:
    found = []
    for rule in rules:
        rows = broken[rule.name]
        if not rows:
            continue
        offenders = facts.loc[rows[:SHOWN]].to_dict("records")
        lines = []
        for row in offenders:
            says = rule.says.format(**{str(name): value for name, value in row.items()})
            lines.append(says if says.startswith(f"{row['where']}: ") else f"{row['where']}: {says}")
        found.append(Finding(rule.name, rule.level, len(rows), tuple(lines), rule.remedy))
    return found
