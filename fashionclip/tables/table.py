"""Reading tables as people write them: CSV of any usual encoding and separator, JSON, Excel or Parquet."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fashionclip.errors import InputError
from fashionclip.tables.csv_rows import SEPARATOR_LINE, csv_records
from fashionclip.tables.records import Record, value_of
from fashionclip.tables.typed_rows import excel_records, json_records, parquet_records

SEPARATORS = (",", ";", "\t", "|")
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
EXCEL, PARQUET, JSON = "an Excel workbook", "Parquet", "JSON"
SIGNATURES = {b"PK\x03\x04": EXCEL, b"PAR1": PARQUET}  # how such a file begins, whatever it is called
UNUSUAL = {"cp1252": "Windows-1252", "latin-1": "Latin-1", "utf-16": "UTF-16"}
BLOCK = 1 << 20  # characters of a file looked at in one go


@dataclass(frozen=True)
class Layout:
    """How a table is written: its encoding and what parts the cells of a CSV; else its form, such as `EXCEL`."""

    encoding: str = "utf-8"
    separator: str = SEPARATORS[0]
    form: str = "CSV"


@dataclass(frozen=True)
class Table:
    """What a table holds.

    Attributes:
        header: Titles of its columns, all of them different.
        rows: Cells, as many as titles, as `value_of` has them.
        lines: Number of the line that each row begins at.
        unread: Number, first cell and fault of each line that is no row.
        mended: Number of rows of which the last cell was put together of several.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    unread: list[tuple[int, str, str]]
    mended: int = 0

    def column(self, title: str) -> list[str]:
        """The cells below a title."""
        place = self.header.index(title)
        return [row[place] for row in self.rows]

    def with_titles(self, titles: Sequence[str], *, where: Path | str, remedy: str) -> Table:
        """The table with some titles as they are wanted, whether it has them in upper or lower case.

        Raises:
            InputError: It lacks one; the message ends with the remedy.
        """
        place = columns_of(self.header, {title: title for title in titles})
        if missing := [title for title in titles if title not in place]:
            raise InputError(f"{where}: no column {', '.join(map(repr, missing))}; has {self.header}. {remedy}")
        wanted = {at: title for title, at in place.items()}
        return replace(self, header=[wanted.get(at, title) for at, title in enumerate(self.header)])


def read_table(file: Path, *, titles: Collection[str], open_end: str | None = None) -> Table:
    """Reads a whole table, and says on the terminal what is unusual about it.

    Rows that are too short are filled up, since spreadsheets leave out empty cells at the end. Empty cells beyond the
    header are cut off; where there is something in them, a text with commas is not quoted, and the row is left out.

    Args:
        file: CSV, JSON lines or a JSON list of objects, Parquet, or Excel workbook, of which the first sheet is read.
        titles: Some that its header may have, in upper or lower case.
        open_end: Title of which the texts may hold separators without being quoted, where it is the last.

    Raises:
        InputError: There is no such file, it holds no text or nothing, or its titles cannot be read.
    """
    layout = layout_of(file, titles=titles)
    if unusual := UNUSUAL.get(layout.encoding) if layout.form == "CSV" else layout.form:
        print(f"{file}: read as {unusual}")
    read = records(file, layout, open_end=open_end)
    titled = next(read, None)
    if titled is None:
        raise InputError(f"{file}: empty. Expected a line of titles, and rows below it. Save the table again.")
    if titled.fault:
        raise InputError(f"{file}: its titles in line {titled.line} are {titled.fault}. Mend them.")
    header = [cell.strip() for cell in titled.cells]
    kept, unread = list[Record](), list[tuple[int, str, str]]()
    for record in read:
        if record.fault:
            unread.append((record.line, record.cells[0].strip() if record.cells else "", record.fault))
        else:
            kept.append(record)
    if unread:
        line, _, why = unread[0]
        print(f"{file}: {len(unread):,} rows are left out, such as that of line {line}: {why}")
    rows = [[*map(value_of, record.cells), *[""] * (len(header) - len(record.cells))] for record in kept]
    empty = [place for place, title in enumerate(header) if not title and not any(row[place] for row in rows)]
    for row in [header, *rows] if empty else []:  # where each line ends in a comma
        for place in reversed(empty):
            del row[place]
    return Table(
        header=_all_different(header),
        rows=rows,
        lines=[record.line for record in kept],
        unread=unread,
        mended=sum(record.mended for record in kept),
    )


def layout_of(file: Path, *, titles: Collection[str]) -> Layout:
    """Finds out how a table is written. The separator is the one that a first line such as `sep=;` names; else the one
    that cuts its header into most of the wanted titles, and among equals, into most cells.

    Raises:
        InputError: There is no such file, or it holds no text.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file. Give a CSV or another table.")
    with file.open("rb") as start:
        begins = start.read(4)
    if begins in SIGNATURES:
        return Layout(form=SIGNATURES[begins])
    encoding = _encoding(file)
    with file.open(encoding=encoding, newline="") as stream:
        line = next((line for line in stream if line.strip()), "")
    if line.lstrip().startswith(("{", "[")):
        return Layout(encoding=encoding, form=JSON)
    if named := SEPARATOR_LINE.fullmatch(line):
        return Layout(encoding, named[1])
    wanted = {title.casefold() for title in titles}

    def score(separator: str) -> tuple[int, int]:
        cells = {cell.strip().casefold() for cell in next(csv.reader([line], delimiter=separator), [])}
        return len(cells & wanted), len(cells)

    return Layout(encoding=encoding, separator=max(SEPARATORS, key=score))


def records(file: Path, layout: Layout, *, open_end: str | None = None) -> Iterator[Record]:
    """The rows of a table, its titles first, without blank ones.

    Args:
        file: Table to read.
        layout: Way it is written in.
        open_end: Title of which the texts of a CSV may hold separators without being quoted, where it is the last.
    """
    if layout.form == EXCEL:
        yield from excel_records(file)
    elif layout.form == PARQUET:
        yield from parquet_records(file)
    elif layout.form == JSON:
        yield from json_records(file, layout.encoding)
    else:
        with file.open(encoding=layout.encoding, newline="") as stream:
            yield from csv_records(stream, layout.separator, open_end=open_end)


def columns_of(header: Sequence[str], wanted: Mapping[str, str]) -> dict[str, int]:
    """Where the wanted names are, by the titles they have in a header, in upper or lower case; missing ones are not."""
    folded = [cell.casefold() for cell in header]
    return {name: folded.index(title.casefold()) for name, title in wanted.items() if title.casefold() in folded}


def _all_different(titles: Sequence[str]) -> list[str]:
    """Titles; a column without one is called by its place, and one that repeats another has its place behind it."""
    seen = Counter[str]()
    different = []
    for place, title in enumerate(titles, start=1):
        seen[title] += 1
        different.append(f"{title or 'column'} {place}" if not title or seen[title] > 1 else title)
    return different


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
