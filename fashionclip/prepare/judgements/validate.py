"""The checks of judgements, for a notebook or for `prepare.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.prepare.judgements.facts import photo_facts, row_facts, split_facts
from fashionclip.prepare.judgements.read_csv import COLUMNS, find_tables, read_tables
from fashionclip.prepare.judgements.rules import (
    READING,
    Fault,
    JudgementLimits,
    faults,
    row_rules,
    split_rules,
    unread_fault,
)
from fashionclip.tables.photo_names import choose_root

LIMITS = JudgementLimits()


@dataclass(frozen=True)
class Validation:
    """What a table of judgements holds, and what is wrong with it.

    Attributes:
        source: Name of the table.
        root: Folder that its paths begin at.
        rows: Judgements that could be read: `where` ("train.csv:3"), `image_path`, `text` (as it is read), `label`,
            `product`, `split`, and further facts (`row_facts`).
        faults: What is wrong, errors first: `check`, `level` ("error", "warning"), `row` (index in `rows`, or -1),
            `where`, `says`, `remedy`.
    """

    source: str
    root: Path
    rows: pd.DataFrame
    faults: pd.DataFrame

    @property
    def errors(self) -> dict[str, int]:
        """Number of faults of each check that keeps the table from being prepared."""
        errors = self.faults[self.faults["level"] == "error"]
        return {str(check): len(part) for check, part in errors.groupby("check", sort=False)}

    @property
    def left_out(self) -> pd.DataFrame:
        """The first fault of each row with an error or a repeat, then lines that are no row: what can be left out."""
        breaks = self.faults[(self.faults["level"] == "error") | (self.faults["check"] == "duplicate")]
        rows = breaks[breaks["row"] >= 0].drop_duplicates("row").sort_values("row")
        return pd.concat([rows, breaks[breaks["check"].isin(READING)]])


def validate_judgements(
    source: Path | str | pd.DataFrame,
    *,
    columns: Mapping[str, str | None] = COLUMNS,
    image_root: Path | str | None = None,
    allow_outside_root: bool = False,
    limits: JudgementLimits = LIMITS,
    tokenizer: Any = None,
    workers: int | None = None,
) -> Validation:
    """Reads judgements, decodes their photos, and applies all checks.

        from fashionclip.prepare.judgements.validate import validate_judgements

        found = validate_judgements("pairs.csv")
        found.faults.groupby(["level", "check"]).size()
        found.rows[found.rows["label"] == "mismatch"]

    Args:
        source: A CSV; a folder with one, or with `train.csv` and `val.csv` (and `test.csv`); or a DataFrame, whose
            fourth row is called "table:3".
        columns: Header of each column, as `read_tables` takes it.
        image_root: Folder that relative paths begin at; None: that of the CSV or the one above, where the photos are;
            of a DataFrame, the one that Python runs in.
        allow_outside_root: Whether photos may lie elsewhere.
        limits: Bounds of the checks that warn.
        tokenizer: Tokenizer of the model, as `count_tokens` takes it; None: tokens are not counted.
        workers: Number of processes, by default one a core.

    Raises:
        InputError: There is no such table or folder, or `columns` is not usable; never for what the table holds.
    """
    if image_root is not None and not Path(image_root).is_dir():
        raise InputError(f"dataset.image_root={image_root}: no such folder. Give the one that paths begin at, or null.")
    if limits.context_length is None and tokenizer is not None:
        limits = replace(limits, context_length=tokenizer.context_length)
    tables: Mapping[str, Path | pd.DataFrame] = (
        {"": source} if isinstance(source, pd.DataFrame) else find_tables(Path(source))
    )
    rows, unread = read_tables(tables, columns=columns)
    paths = rows["image_path"].unique().tolist()
    first = next(iter(tables.values()))
    if isinstance(first, Path) and image_root is None:
        image_root = choose_root(paths, table=first)
    root = Path(image_root or ".")
    photos = photo_facts(paths, root=root, allow_outside=allow_outside_root, workers=workers)
    facts = row_facts(rows, photos, tokenizer=tokenizer)
    name = "table" if isinstance(source, pd.DataFrame) else str(source)
    if facts.empty and not any(line.check == "missing_column" for line in unread):
        unread.append(unread_fault("no_rows", f"{Path(name).name}:1", "no judgement below the header"))
    found = [*unread, *faults(facts, row_rules(limits))]
    if not facts.empty:
        found += [fault._replace(row=-1) for fault in faults(split_facts(facts), split_rules(limits))]
    table = pd.DataFrame(found, columns=list(Fault._fields)).sort_values("level", kind="stable", ignore_index=True)
    return Validation(name, root, facts, table)
