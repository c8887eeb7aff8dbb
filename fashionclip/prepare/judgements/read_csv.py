"""Reading judgements from CSV: whatever separator and encoding, with the line number of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import SPLITS
from fashionclip.tables import columns_of, layout_of, records, value_of

REQUIRED = ("image_path", "text", "label")
OPTIONAL = ("product", "split")
ROW_COLUMNS = ("file", "line", *REQUIRED, *OPTIONAL)


@dataclass(frozen=True)
class ReadTable:
    """What one or more CSV files hold.

    Attributes:
        rows: `ROW_COLUMNS`, all text but `line`, which counts from 1; a column that is not mapped is empty.
        unread: `file, line, check, says`: columns that are missing, and lines that are no row.
    """

    rows: pd.DataFrame
    unread: pd.DataFrame


def find_tables(source: Path) -> dict[str, Path]:
    """The CSV files of a source by their split; of a single file that is "", which leaves the split open.

    Args:
        source: A CSV; or a folder that has, itself or in `datasets/`, one CSV, or `train.csv` and `val.csv` (and
            `test.csv`).

    Raises:
        InputError: There is no such file or folder, or it leaves open which CSV is meant.
    """
    if source.is_file():
        return {"": source}
    for folder in (source, source / "datasets"):
        by_split = {name: folder / f"{name}.csv" for name in SPLITS if (folder / f"{name}.csv").is_file()}
        if "train" in by_split and "val" in by_split:
            return by_split
        found = sorted(folder.glob("*.csv"))
        if len(found) == 1:
            return {"": found[0]}
        if found:
            raise InputError(
                f"dataset.source={source}: found {[file.name for file in found]}, expected train.csv and val.csv "
                "(and test.csv), or exactly one CSV. Name the file itself as dataset.source."
            )
    raise InputError(
        f"dataset.source={source}: {'no CSV in it' if source.is_dir() else 'no such file or folder'}. Expected a CSV "
        f"with the columns {', '.join(REQUIRED)}, or a folder with train.csv and val.csv. Give its path."
    )


def read_tables(tables: Mapping[str, Path], *, columns: Mapping[str, str | None]) -> ReadTable:
    """Reads all files of a source.

    Args:
        tables: Files by split, from `find_tables`.
        columns: For each of `REQUIRED` and `OPTIONAL` the name that the header gives it; None: it has none.

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
    read = [_read_table(file, split=split, wanted=wanted) for split, file in tables.items()]
    return ReadTable(
        rows=pd.concat([table.rows for table in read], ignore_index=True),
        unread=pd.concat([table.unread for table in read], ignore_index=True),
    )


def _read_table(file: Path, *, split: str, wanted: Mapping[str, str]) -> ReadTable:
    layout = layout_of(file, titles=list(wanted.values()))
    print(f"{file}: {layout.encoding}, separator {layout.separator!r}")
    rows: list[dict[str, object]] = []
    unread: list[tuple[str, int, str, str]] = []
    header: list[str] | None = None
    place: dict[str, int] = {}
    for line, cells, fault, _ in records(file, layout):
        if fault:
            unread.append((file.name, line, "malformed_line", fault))
        elif header is None:
            header = [cell.strip() for cell in cells]
            place = columns_of(header, wanted)
            missing = [title for name, title in wanted.items() if name not in place]
            if missing:
                says = f"no column {', '.join(map(repr, missing))}; has {header}"
                unread.append((file.name, line, "missing_column", says))
                break
        elif len(cells) != len(header):
            unread.append((file.name, line, "malformed_line", f"{len(cells)} cells, expected {len(header)}"))
        else:
            row = {name: " ".join(value_of(cells[index]).split()) for name, index in place.items()}
            row["image_path"] = value_of(cells[place["image_path"]])  # the name of a file may hold two blanks
            row["label"] = row["label"].casefold()
            row["split"] = split or row.get("split", "").casefold()
            rows.append({"file": file.name, "line": line, "product": "", **row})
    if header is None:
        unread.append((file.name, 1, "missing_column", "no header; the file is empty"))
    return ReadTable(
        rows=pd.DataFrame(rows, columns=list(ROW_COLUMNS)),
        unread=pd.DataFrame(unread, columns=["file", "line", "check", "says"]),
    )
