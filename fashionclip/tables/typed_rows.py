"""Records of tables of typed values: Excel, Parquet and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from fashionclip.errors import InputError
from fashionclip.tables.records import PHOTO_FIELDS, Record, text_of


def excel_records(file: Path) -> Iterator[Record]:
    """Rows of a workbook's first sheet, its titles first; further sheets are said.

    Raises:
        InputError: It cannot be read, or openpyxl is not installed.
    """
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise InputError(
            f"{file}: an Excel workbook, which takes openpyxl to read. Save it as CSV, or: pip install openpyxl"
        ) from None
    try:
        book = load_workbook(file, read_only=True, data_only=True)
        if further := book.sheetnames[1:]:
            print(f"{file}: only its first sheet {book.sheetnames[0]!r} is read, not {', '.join(map(repr, further))}")
        for line, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1):
            texts = [text_of(cell) for cell in cells]
            if any(texts):
                yield Record(line, texts)
        book.close()
    except (OSError, KeyError, ValueError, IndexError, BadZipFile) as error:
        raise InputError(f"{file}: an Excel workbook that cannot be read ({error}). Save it as CSV.") from error


def parquet_records(file: Path) -> Iterator[Record]:
    """Rows of a Parquet file, its titles first.

    Raises:
        InputError: It cannot be read.
    """
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        titles = list(_titles_of_fields(table.schema_arrow))
        yield Record(1, titles)
        rows = (_flat(row) for batch in table.iter_batches() for row in batch.to_pylist())
        for line, row in enumerate(rows, start=2):
            yield Record(line, [text_of(row.get(title)) for title in titles])
    except (OSError, ValueError) as error:  # pyarrow's own are of these
        raise InputError(f"{file}: Parquet that cannot be read ({error}). Save the table again.") from error


def _titles_of_fields(fields: Iterable[Any]) -> Iterator[str]:
    """Titles that `_flat` gives rows of these fields of pyarrow."""
    for field in fields:
        within = (
            [field.type[place] for place in range(field.type.num_fields)] if str(field.type)[:6] == "struct" else []
        )
        if within and {one.name for one in within} != PHOTO_FIELDS:
            yield from (f"{field.name}.{title}" for title in _titles_of_fields(within))
        else:
            yield field.name


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose objects are cells of their own.

    >>> _flat({"id": 7, "name": {"en": "hat", "de": "Hut"}})
    {'id': 7, 'name.en': 'hat', 'name.de': 'Hut'}
    """
    cells: dict[str, Any] = {}
    for title, value in row.items():
        if isinstance(value, dict) and set(value) != PHOTO_FIELDS:
            cells |= {f"{title}.{name}": cell for name, cell in _flat(value).items()}
        else:
            cells[title] = value
    return cells


def json_records(file: Path, encoding: str) -> Iterator[Record]:
    """Rows of a list of objects, or of one object a line, below all the names that any of them has.

    Raises:
        InputError: There are no objects in it.
    """
    text = file.read_text(encoding=encoding)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    found: list[tuple[int, object]] = []
    try:
        whole = json.loads(text)
        found = list(enumerate(whole if isinstance(whole, list) else [whole], start=1))
    except ValueError:
        for number, line in lines:
            try:
                found.append((number, json.loads(line)))
            except ValueError as error:
                found.append((number, error))
    found = [(number, _flat(row) if isinstance(row, dict) else row) for number, row in found]
    titles = list(dict.fromkeys(name for _, row in found if isinstance(row, dict) for name in row))
    if not titles:
        raise InputError(f"{file}: JSON without objects. Expected one a line, or a list of them. Save the table again.")
    yield Record(1, titles)
    for number, row in found:
        if isinstance(row, dict):
            yield Record(number, [text_of(row.get(title)) for title in titles])
        else:
            yield Record(number, [], f"no JSON object ({row})"[:200])
