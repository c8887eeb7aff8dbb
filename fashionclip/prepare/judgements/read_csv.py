"""Reading judgements from tables: whatever separator and encoding, with the line number of every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.foreign_text import plain_cell
from fashionclip.manifest import SPLITS
from fashionclip.prepare.judgements.rules import Fault, unread_fault
from fashionclip.prepare.judgements.special_characters import SPECIAL, mended
from fashionclip.tables.records import Record, value_of
from fashionclip.tables.table import columns_of, layout_of, records

REQUIRED = ("image_path", "text", "label")
OPTIONAL = ("product", "split")
COLUMNS: dict[str, str | None] = {**{name: name for name in REQUIRED}, **dict.fromkeys(OPTIONAL)}
ROW_COLUMNS = ("file", "line", *REQUIRED, *OPTIONAL, *(special.name for special in SPECIAL))


def find_tables(source: Path) -> dict[str, Path]:
    """The CSV files of a source by their split; of a single file that is "", which leaves the split open.

    Args:
        source: A CSV or other table (`layout_of`); or a folder that has, itself or in `datasets/`, one CSV, or
            `train.csv` and `val.csv` or `test.csv` (or both).

    Raises:
        InputError: There is no such file or folder, or it leaves open which CSV is meant.
    """
    if source.is_file():
        return {"": source}
    for folder in (source, source / "datasets"):
        by_split = {name: folder / f"{name}.csv" for name in SPLITS if (folder / f"{name}.csv").is_file()}
        if "train" in by_split and len(by_split) > 1:
            return by_split
        found = sorted(folder.glob("*.csv"))
        if len(found) == 1:
            return {"": found[0]}
        if found:
            raise InputError(
                f"dataset.source={source}: found {[file.name for file in found]}, expected train.csv and val.csv "
                "(and test.csv), or exactly one CSV. Name the file itself as dataset.source."
            )
    got = "no CSV in it" if source.is_dir() else "no such file or folder"
    start = f" `fashionclip judgements {source} --to pairs.csv` starts one of its photos." if source.is_dir() else ""
    raise InputError(
        f"dataset.source={source}: {got}. Expected a CSV with the columns {', '.join(REQUIRED)}, or a folder with "
        f"train.csv and val.csv. Give its path.{start}"
    )


def read_tables(
    tables: Mapping[str, Path | pd.DataFrame], *, columns: Mapping[str, str | None]
) -> tuple[pd.DataFrame, list[Fault]]:
    """Reads all tables of a source.

    Args:
        tables: Tables by split; "" leaves the split to their own column. Rows of a DataFrame are counted from 0.
        columns: For each of `REQUIRED` and `OPTIONAL` the name that the header gives it; None: it has none.

    Returns:
        `ROW_COLUMNS`, all text but `line`, which counts from 1; a column that is not mapped is empty, and the last ones
        have an example of each kind of special characters that the text had. Then what was not read.

    Raises:
        InputError: A column that cannot be done without is mapped to nothing, an unknown one is mapped, or a file holds
            no text.
    """
    unknown = sorted(set(columns) - {*REQUIRED, *OPTIONAL})
    unmapped = [name for name in REQUIRED if not columns.get(name)]
    if unknown or unmapped:
        raise InputError(
            f"dataset.columns: got {dict(columns)}, expected a header for each of {', '.join(REQUIRED)}, and perhaps "
            f"for {', '.join(OPTIONAL)}. Mend {', '.join(unknown + unmapped)}."
        )
    wanted = {name: str(header) for name, header in columns.items() if header}
    rows: list[dict[str, object]] = []
    unread: list[Fault] = []
    for split, table in tables.items():
        if isinstance(table, pd.DataFrame):
            cells = table.astype(object).where(table.notna(), "").astype(str).to_numpy().tolist()
            found = iter([Record(line, texts) for line, texts in enumerate([[*map(str, table)], *cells], start=-1)])
            name = "table"
        else:
            layout = layout_of(table, titles=list(wanted.values()))
            is_csv = layout.form == "CSV"
            print(f"{table}: {f'{layout.encoding}, separator {layout.separator!r}' if is_csv else layout.form}")
            found, name = records(table, layout), table.name
        _read(found, name, split=split, wanted=wanted, rows=rows, unread=unread)
    return pd.DataFrame(rows, columns=list(ROW_COLUMNS)).fillna(""), unread


def _read(
    found: Iterable[Record],
    name: str,
    *,
    split: str,
    wanted: Mapping[str, str],
    rows: list[dict[str, object]],
    unread: list[Fault],
) -> None:
    """Adds to rows and unread lines those of one table."""
    header: list[str] | None = None
    place: dict[str, int] = {}
    for line, cells, fault, _ in found:
        if fault:
            unread.append(unread_fault("malformed_line", f"{name}:{line}", fault))
        elif header is None:
            header = [cell.strip() for cell in cells]
            place = columns_of(header, wanted)
            if missing := [title for column, title in wanted.items() if column not in place]:
                says = f"no column {', '.join(map(repr, missing))}; has {header}"
                unread.append(unread_fault("missing_column", f"{name}:{line}", says))
                return
        elif len(cells) != len(header):
            unread.append(
                unread_fault("malformed_line", f"{name}:{line}", f"{len(cells)} cells, expected {len(header)}")
            )
        else:
            row = {column: value_of(cells[index]) for column, index in place.items()}
            text, special = mended(plain_cell(row["text"]))
            rest = {column: " ".join(row.get(column, "").split()).casefold() for column in ("label", "split")}
            product = " ".join(row.get("product", "").split())
            rows.append({"file": name, "line": line, **row, **rest, "product": product, "text": text, **special})
            rows[-1]["split"] = split or rest["split"]
    if header is None:
        unread.append(unread_fault("missing_column", f"{name}:1", "no header; the file is empty"))
