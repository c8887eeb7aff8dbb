"""Records of a CSV as people write it, with stray quotes and commas."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

from fashionclip.tables.records import Record

STRAY = "not readable as CSV: a quote is not closed, or not doubled within quotes"
# What Excel writes above the titles, and expects there.
SEPARATOR_LINE = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)
csv.field_size_limit(1 << 24)  # characters of a cell; a page of HTML is larger than Python's own limit of 131,072


def csv_records(stream: Iterable[str], separator: str, *, open_end: str | None = None) -> Iterator[Record]:
    """Rows of a CSV, its titles first, without blank ones.

    A quote that is not closed, or not doubled within quotes, spoils no other line than its own; and that one only where
    it has another number of cells than the titles.

    Args:
        stream: Lines with their ends, as a file opened with newline="" has them.
        separator: Character between two cells.
        open_end: Title of which the texts may hold separators without being quoted, where it is the last.
    """
    width, is_open = 0, False
    for line, cells, text, stray in _csv_rows(_noted(stream), separator):
        if not any(cell.strip() for cell in cells):
            continue
        if not width:
            titled = _without_empty_end(cells)
            is_open = open_end is not None and titled[-1].strip().casefold() == open_end.casefold()
            cells = titled if is_open else cells
            width = len(cells)
            yield Record(line, cells, STRAY if stray else "")
            continue
        cells = [*cells[:width], *_without_empty_end(cells[width:])]
        mended = is_open and len(cells) > width
        if mended:
            parts = _without_empty_end(next(csv.reader(text, delimiter=separator)))
            cells = [*cells[: width - 1], separator.join(parts[width - 1 :])]
        fault = ""
        if len(cells) > width:
            fault = f"{len(cells)} cells, expected {width}; quote texts that hold {separator!r}"
        elif stray and len(cells) < width:
            fault = STRAY
        yield Record(line, cells, fault, mended)


def _csv_rows(lines: Iterator[str], separator: str) -> Iterator[tuple[int, list[str], list[str], bool]]:
    """Number, cells and lines of each record, and whether its quotes are wrong, so that it was read line by line."""
    width, before = 0, 0
    while True:
        taken: list[str] = []

        def take(taken: list[str] = taken) -> Iterator[str]:
            for line in lines:
                taken.append(line)
                yield line

        try:
            # strict: else a quote that is never closed would swallow all that follows without a word
            cells = next(csv.reader(take(), delimiter=separator, strict=True, skipinitialspace=True))
            # A text of several lines seldom has as many separators in each of them as a wide table.
            stray = len(taken) > 1 and width > 3 and all(line.count(separator) == width - 1 for line in taken)
        except StopIteration:
            return
        except csv.Error:
            stray = True
        if stray:
            for place, text, cells in _line_by_line(taken, lines, separator=separator, width=width):
                width = width or len(cells)
                yield before + 1 + place, cells, text, True
        else:
            width = width or len(cells)
            yield before + 1, cells, taken, False
        before += len(taken)


def _line_by_line(
    taken: list[str], lines: Iterator[str], *, separator: str, width: int
) -> Iterator[tuple[int, list[str], list[str]]]:
    """Place, lines and cells of the records of lines with stray quotes: these swallow no line that is one by itself.

    A quoted text may go on in the next lines, as long as these have fewer separators than the header; such further
    lines are added to those that are taken.
    """
    begun, place = list[str](), 0
    while place < len(taken) or begun:
        if place == len(taken):
            taken.extend([line for line in [next(lines, "")] if line])
        line = taken[place] if place < len(taken) else ""
        parts = [[one] for one in begun] if line.count(separator) >= width - 1 or not line else []  # a stray quote
        if parts:
            begun = []
        if line:
            begun.append(line)
            if sum(one.count('"') for one in begun) % 2 == 0:
                parts.append(begun)
                begun = []
        first = place - sum(map(len, parts)) + (not begun and bool(line))
        for part in parts:
            for row, cells in enumerate(csv.reader(part, delimiter=separator, skipinitialspace=True)):
                yield first + row, part[row:], cells
            first += len(part)
        place += 1


def _noted(stream: Iterable[str]) -> Iterator[str]:
    """Lines, that of a separator above the titles blank."""
    begun = False
    for line in stream:
        line = "\n" if not begun and SEPARATOR_LINE.fullmatch(line) else line
        begun = begun or bool(line.strip())
        yield line


def _without_empty_end(cells: list[str]) -> list[str]:
    """Without the cells that a comma at the end of a line makes."""
    return cells[: max((place for place, cell in enumerate(cells, start=1) if cell.strip()), default=0)]
