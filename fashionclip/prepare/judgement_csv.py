"""Reading judgements from CSV: whatever separator and encoding, with the line number of every row."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import SPLITS

SEPARATORS = (",", ";", "\t", "|")
REQUIRED = ("image_path", "text", "label")
OPTIONAL = ("product", "split")
ROW_COLUMNS = ("file", "line", *REQUIRED, *OPTIONAL)
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
BLOCK = 1 << 20  # characters of a file looked at in one go


@dataclass(frozen=True)
class Layout:
    """How a CSV is written: its encoding, and what parts its cells."""

    encoding: str
    separator: str


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
    for line, cells in records(file, layout):
        if isinstance(cells, str):
            unread.append((file.name, line, "malformed_line", cells))
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
            row = {name: " ".join(cells[index].split()) for name, index in place.items()}
            row["image_path"] = cells[place["image_path"]].strip()  # the name of a file may hold two blanks
            row["label"] = row["label"].casefold()
            row["split"] = split or row.get("split", "").casefold()
            rows.append({"file": file.name, "line": line, "product": "", **row})
    if header is None:
        unread.append((file.name, 1, "missing_column", "no header; the file is empty"))
    return ReadTable(
        rows=pd.DataFrame(rows, columns=list(ROW_COLUMNS)),
        unread=pd.DataFrame(unread, columns=["file", "line", "check", "says"]),
    )


def layout_of(file: Path, *, titles: Collection[str]) -> Layout:
    """Finds out how a CSV is written. The separator is the one that cuts its header into most of the wanted titles;
    among equals, into most cells.

    Raises:
        InputError: It holds no text.
    """
    encoding = _encoding(file)
    with file.open(encoding=encoding, newline="") as stream:
        line = next((line for line in stream if line.strip()), "")
    wanted = {title.casefold() for title in titles}

    def score(separator: str) -> tuple[int, int]:
        cells = {cell.strip().casefold() for cell in next(csv.reader([line], delimiter=separator), [])}
        return len(cells & wanted), len(cells)

    return Layout(encoding=encoding, separator=max(SEPARATORS, key=score))


def records(file: Path, layout: Layout) -> Iterator[tuple[int, list[str] | str]]:
    """The line each record begins at, and its cells, or why it is none; blank ones are left out."""
    with file.open(encoding=layout.encoding, newline="") as stream:
        # strict: else a quote that is never closed would swallow all that follows without a word
        reader = csv.reader(stream, delimiter=layout.separator, strict=True, skipinitialspace=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, f"not readable as CSV ({error}); is a quote not closed, or not doubled within quotes?"
                continue
            if any(cell.strip() for cell in cells):
                yield line, cells


def columns_of(header: Sequence[str], wanted: Mapping[str, str]) -> dict[str, int]:
    """Where the wanted names are, by the titles they have in a header, in upper or lower case; missing ones are not."""
    folded = [cell.casefold() for cell in header]
    return {name: folded.index(title.casefold()) for name, title in wanted.items() if title.casefold() in folded}


def _encoding(file: Path) -> str:
    with file.open("rb") as stream:
        start = stream.read(4)
    mark = next((mark for mark in BYTE_ORDER_MARKS if start.startswith(mark)), None)
    for encoding in ("utf-8" if mark is None else BYTE_ORDER_MARKS[mark], "cp1252", "latin-1"):
        try:
            with file.open(encoding=encoding, newline="") as stream:
                zeros = any("\0" in block for block in iter(lambda: stream.read(BLOCK), ""))
            break
        except UnicodeDecodeError:
            continue
    if zeros:
        raise InputError(f"{file}: holds zero bytes, so it is no text in a known encoding. Save it as UTF-8 CSV.")
    return encoding
