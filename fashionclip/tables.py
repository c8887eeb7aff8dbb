"""Reading tables as people write them: CSV of any usual encoding and separator, JSON, Excel or Parquet; and the photos
they name."""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import math
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

from fashionclip.errors import InputError

SEPARATORS = (",", ";", "\t", "|")
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
EXCEL, PARQUET, JSON = "an Excel workbook", "Parquet", "JSON"
SIGNATURES = {b"PK\x03\x04": EXCEL, b"PAR1": PARQUET}  # how such a file begins, whatever it is called
UNUSUAL = {"cp1252": "Windows-1252", "latin-1": "Latin-1", "utf-16": "UTF-16"}
PHOTO_FIELDS = {"bytes", "path"}  # of a photo of the library datasets
BLOCK = 1 << 20  # characters of a file looked at in one go
# What programs write where there is no value: what pandas takes for it, in upper or lower case.
GAPS = frozenset(("", "nan", "-nan", "none", "null", "na", "n/a", "<na>", "#n/a", "#na", "#n/a n/a"))
LONGEST_GAP = max(map(len, GAPS))
EXAMPLES = 3  # names said of those that do not match
STRAY = "not readable as CSV: a quote is not closed, or not doubled within quotes"
# What Excel writes above the titles, and expects there.
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)
_SUFFIX = re.compile(r"\.[a-zA-Z]{3,4}$")  # of a photo, which a table may have in another case or as another kind
_WHOLE = re.compile(r"(\d+)\.0+")  # an id that a program took for a number
csv.field_size_limit(1 << 24)  # characters of a cell; a page of HTML is larger than Python's own limit of 131,072


@dataclass(frozen=True)
class Layout:
    """How a table is written: its encoding and what parts the cells of a CSV; else its form, such as `EXCEL`."""

    encoding: str = "utf-8"
    separator: str = SEPARATORS[0]
    form: str = "CSV"


class Record(NamedTuple):
    """A row of a table, its titles among them.

    Attributes:
        line: Number of the line that it begins at.
        cells: Cells as they are written, no more than titles unless that is its fault.
        fault: Why it is no row; "" if it is one.
        mended: Whether its last cell was put together of several.
    """

    line: int
    cells: list[str]
    fault: str = ""
    mended: bool = False


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
    if named := _SEPARATOR_LINE.fullmatch(line):
        return Layout(encoding, named[1])
    wanted = {title.casefold() for title in titles}

    def score(separator: str) -> tuple[int, int]:
        cells = {cell.strip().casefold() for cell in next(csv.reader([line], delimiter=separator), [])}
        return len(cells & wanted), len(cells)

    return Layout(encoding=encoding, separator=max(SEPARATORS, key=score))


def records(file: Path, layout: Layout, *, open_end: str | None = None) -> Iterator[Record]:
    """The rows of a table, its titles first, without blank ones.

    A quote that is not closed, or not doubled within quotes, spoils no other line than its own; and that one only where
    it has another number of cells than the titles.

    Args:
        file: Table to read.
        layout: How it is written.
        open_end: As in `read_table`.
    """
    if layout.form != "CSV":
        yield from {EXCEL: _excel_rows, PARQUET: _parquet_rows, JSON: _json_rows}[layout.form](file, layout)
        return
    width, is_open = 0, False
    with file.open(encoding=layout.encoding, newline="") as stream:
        for line, cells, text, stray in _csv_rows(_noted(stream), layout.separator):
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
                parts = _without_empty_end(next(csv.reader(text, delimiter=layout.separator)))
                cells = [*cells[: width - 1], layout.separator.join(parts[width - 1 :])]
            fault = ""
            if len(cells) > width:
                fault = f"{len(cells)} cells, expected {width}; quote texts that hold {layout.separator!r}"
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
        line = "\n" if not begun and _SEPARATOR_LINE.fullmatch(line) else line
        begun = begun or bool(line.strip())
        yield line


def _without_empty_end(cells: list[str]) -> list[str]:
    """Without the cells that a comma at the end of a line makes."""
    return cells[: max((place for place, cell in enumerate(cells, start=1) if cell.strip()), default=0)]


def columns_of(header: Sequence[str], wanted: Mapping[str, str]) -> dict[str, int]:
    """Where the wanted names are, by the titles they have in a header, in upper or lower case; missing ones are not."""
    folded = [cell.casefold() for cell in header]
    return {name: folded.index(title.casefold()) for name, title in wanted.items() if title.casefold() in folded}


def value_of(cell: str) -> str:
    r"""A cell on one line and without blanks around it, "" where it is one of `GAPS`.

    >>> [value_of(cell) for cell in (" a  b ", "N/A", "nan", "Nancy", "0", "two\nlines")]
    ['a  b', '', '', 'Nancy', '0', 'two lines']
    """
    cell = cell.strip()
    if len(cell) <= LONGEST_GAP and cell.casefold() in GAPS:
        return ""
    return " ".join(cell.splitlines()) if "\n" in cell or "\r" in cell else cell


def whole_number(cell: str) -> str:
    """An id as it was before a program took it for a number.

    >>> whole_number("15970.0"), whole_number("007"), whole_number("1.5")
    ('15970', '007', '1.5')
    """
    return whole[1] if (whole := _WHOLE.fullmatch(cell)) else cell


def composed(name: str) -> str:
    """A name with each accent as part of its letter; macOS keeps them apart in names of files."""
    return unicodedata.normalize("NFC", name)


def spellings(name: str) -> Iterator[str]:
    r"""The paths that a photo's name in a table may mean, likeliest first: with either slash, as a number, and without
    folders that lie above the photos.

    >>> list(spellings(r".\shop\1.jpg")), list(spellings("15970.0"))
    (['shop/1.jpg', '1.jpg'], ['15970.0', '15970'])
    """
    path = posixpath.normpath(composed(name.strip().replace("\\", "/")))
    yield path
    if whole_number(path) != path:
        yield whole_number(path)
    while "/" in path:
        path = path.partition("/")[2]
        yield path


@dataclass(frozen=True)
class Matches:
    """Which rows of a table name which photos.

    Attributes:
        rows: Row of each photo; None where it has none.
        strangers: Rows that name none of the photos.
    """

    rows: list[int | None]
    strangers: list[int]


def match_photos(paths: Sequence[str], names: Sequence[str]) -> Matches:
    """Finds the row of each photo in a table that names it by path or by file name, with suffix or without.

    Args:
        paths: Paths of the photos below their folder, with "/".
        names: Names as the rows of the table have them; of those that are the same, the last one counts.
    """
    paths = list(map(composed, paths))
    said = [next(spellings(name)) if name else "" for name in names]
    row_of = {name: row for row, name in enumerate(said) if name}
    for name, row in list(row_of.items()):
        row_of.setdefault(whole_number(name), row)
    rows = [next((row_of[key] for key in keys_of(path) if key in row_of), None) for path in paths]

    ends: dict[str, int | None] = {}  # of the paths that are left; None where two end alike
    for row in {row_of[name] for name in said if name} - set(rows) if None in rows else ():
        meant = list(spellings(said[row]))
        for end in dict.fromkeys([*meant[1:], *(_SUFFIX.sub("", path) for path in meant)]):
            ends[end] = None if end in ends else row
    for photo, path in enumerate(paths if ends else ()):
        if rows[photo] is None:
            rows[photo] = next((ends[key] for key in keys_of(path)[:2] if ends.get(key) is not None), None)
    used = set(rows)
    return Matches(rows, [row for row, name in enumerate(said) if not name or row_of[name] not in used])


def told(matches: Matches, *, paths: Sequence[str], names: Sequence[str]) -> str:
    """What a match leaves open: rows without photos and photos without rows, with examples; "" if nothing."""
    strangers = [names[row] for row in matches.strangers]
    alone = [path for path, row in zip(paths, matches.rows, strict=True) if row is None]
    says = []
    if strangers:
        says.append(f"{len(strangers):,} of {len(names):,} rows name none of the photos, such as {_some(strangers)}")
    if alone:
        says.append(f"{len(alone):,} of {len(paths):,} photos have no row, such as {_some(alone)}")
    return "; ".join(says)


@dataclass(frozen=True)
class Located:
    """Where a path of a table leads.

    Attributes:
        file: Photo, which may not exist.
        inside: Whether it lies in the root.
        key: Path below the root; of a photo outside, one by the hash of its place.
    """

    file: Path
    inside: bool
    key: str


def choose_root(paths: Sequence[str], *, table: Path) -> Path:
    """The folder that relative paths of a table begin at: the table's own or the one above, whichever has more."""
    candidates = (table.parent, table.parent.parent)
    names = [path.replace("\\", "/") for path in paths if path]
    # os.path: Path.is_file() raises an error where a name is too long for any file
    return max(candidates, key=lambda folder: sum(os.path.isfile(folder / name) for name in names))


def locate(path: str, *, root: Path) -> Located:
    """Finds the photo of a path, absolute or relative to `root`, with either kind of slash.

    A link that leads out of the root is outside of it.
    """
    forms = (unicodedata.normalize(form, path.replace("\\", "/")) for form in ("NFC", "NFD"))
    files = [Path(os.path.abspath(root / form)) for form in (path.replace("\\", "/"), *forms)]
    file = next(filter(os.path.isfile, files), files[0])  # macOS keeps accents apart in names of files
    top = root.resolve()
    inside = Path(os.path.realpath(file)).is_relative_to(top)  # also where it or a folder above it is a link
    for above in (Path(os.path.abspath(root)), top) if inside else ():
        if file.is_relative_to(above):
            return Located(file=file, inside=True, key=file.relative_to(above).as_posix())
    return Located(
        file=file,
        inside=False,
        key=f"outside/{hashlib.blake2b(str(file).encode(), digest_size=8).hexdigest()}/{file.name}",
    )


def keys_of(path: str) -> tuple[str, str, str, str]:
    """What a table may call a photo: path and file name, each with suffix and without."""
    stem = path.rpartition(".")[0]
    return path, stem, path.rpartition("/")[2], stem.rpartition("/")[2]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:EXAMPLES]))


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


def _excel_rows(file: Path, layout: Layout) -> Iterator[Record]:
    """Of the first sheet; further ones are said."""
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


def _parquet_rows(file: Path, layout: Layout) -> Iterator[Record]:
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


def _json_rows(file: Path, layout: Layout) -> Iterator[Record]:
    """Of a list of objects, or of one object a line; the titles are all the names that any of them has."""
    text = file.read_text(encoding=layout.encoding)
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


def text_of(value: object) -> str:
    """A value of a typed table as a CSV would have it; a list as JSON."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict) and set(value) == PHOTO_FIELDS:
        value = value["path"]
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value).strip()
