"""Reading tables as people write them: CSV of any usual encoding and separator, or Excel; and the photos they name."""

from __future__ import annotations

import codecs
import csv
import hashlib
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from zipfile import BadZipFile

from fashionclip.errors import InputError

SEPARATORS = (",", ";", "\t", "|")
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
ZIP = b"PK\x03\x04"  # how an Excel workbook begins, whatever it is called
EXCEL = "excel"
UNUSUAL = {"cp1252": "Windows-1252", "latin-1": "Latin-1", "utf-16": "UTF-16", EXCEL: "an Excel workbook"}
BLOCK = 1 << 20  # characters of a file looked at in one go
# What programs write where there is no value: what pandas takes for it, in upper or lower case.
GAPS = frozenset(("", "nan", "-nan", "none", "null", "na", "n/a", "<na>", "#n/a", "#na", "#n/a n/a"))
LONGEST_GAP = max(map(len, GAPS))
EXAMPLES = 3  # names said of those that do not match
# What Excel writes above the titles, and expects there.
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)
_WHOLE = re.compile(r"(\d+)\.0+")  # an id that a program took for a number
csv.field_size_limit(1 << 24)  # characters of a cell; a page of HTML is larger than Python's own limit of 131,072


@dataclass(frozen=True)
class Layout:
    """How a table is written: its encoding, or `EXCEL`, and what parts the cells of a CSV."""

    encoding: str
    separator: str


@dataclass(frozen=True)
class Table:
    """What a table holds.

    Attributes:
        header: Titles of its columns, all of them different.
        rows: Cells, as many as titles, as `value_of` has them.
        lines: Number of the line that each row begins at.
        unread: Number, first cell and fault of each line that is no row.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    unread: list[tuple[int, str, str]]

    def column(self, title: str) -> list[str]:
        """The cells below a title."""
        place = self.header.index(title)
        return [row[place] for row in self.rows]


def read_table(file: Path, *, titles: Collection[str]) -> Table:
    """Reads a whole table, and says on the terminal what is unusual about it.

    Rows that are too short are filled up, since spreadsheets leave out empty cells at the end. Empty cells beyond the
    header are cut off; where there is something in them, a text with commas is not quoted, and the row is left out.

    Args:
        file: CSV, or Excel workbook, of which the first sheet is read.
        titles: Some that its header may have, in upper or lower case.

    Raises:
        InputError: There is no such file, it holds no text or nothing, or its titles cannot be read.
    """
    layout = layout_of(file, titles=titles)
    if layout.encoding in UNUSUAL:
        print(f"{file}: read as {UNUSUAL[layout.encoding]}")
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    unread: list[tuple[int, str, str]] = []
    for line, cells in records(file, layout):
        if isinstance(cells, str) and not header:
            raise InputError(f"{file}: its titles in line {line} are {cells}. Mend them.")
        if isinstance(cells, str):
            unread.append((line, "", cells))
        elif not header:
            header = [cell.strip() for cell in cells]
        elif any(cell.strip() for cell in cells[len(header) :]):
            why = f"{len(cells)} cells, expected {len(header)}; quote texts that hold {layout.separator!r}"
            unread.append((line, cells[0].strip(), why))
        else:
            rows.append([*map(value_of, cells[: len(header)]), *[""] * (len(header) - len(cells))])
            lines.append(line)
    if unread:
        line, _, why = unread[0]
        print(f"{file}: {len(unread):,} rows are left out, such as that of line {line}: {why}")
    if not header:
        raise InputError(f"{file}: empty. Expected a line of titles, and rows below it. Save the table again.")
    empty = [place for place, title in enumerate(header) if not title and not any(row[place] for row in rows)]
    for row in [header, *rows] if empty else []:  # where each line ends in a comma
        for place in reversed(empty):
            del row[place]
    return Table(_all_different(header), rows, lines, unread)


def layout_of(file: Path, *, titles: Collection[str]) -> Layout:
    """Finds out how a table is written. The separator is the one that a first line such as `sep=;` names; else the one
    that cuts its header into most of the wanted titles, and among equals, into most cells.

    Raises:
        InputError: There is no such file, or it holds no text.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file. Give a CSV.")
    encoding = _encoding(file)
    if encoding == EXCEL:
        return Layout(EXCEL, SEPARATORS[0])
    with file.open(encoding=encoding, newline="") as stream:
        line = next((line for line in stream if line.strip()), "")
    if named := _SEPARATOR_LINE.fullmatch(line):
        return Layout(encoding, named[1])
    wanted = {title.casefold() for title in titles}

    def score(separator: str) -> tuple[int, int]:
        cells = {cell.strip().casefold() for cell in next(csv.reader([line], delimiter=separator), [])}
        return len(cells & wanted), len(cells)

    return Layout(encoding=encoding, separator=max(SEPARATORS, key=score))


def records(file: Path, layout: Layout) -> Iterator[tuple[int, list[str] | str]]:
    """The line each record begins at, and its cells; of lines that make up none, each line and why; no blank ones.

    Quotes within a quoted cell that are not doubled are put up with where the line has as many cells as the first.
    """
    if layout.encoding == EXCEL:
        yield from _excel_rows(file)
        return
    with file.open(encoding=layout.encoding, newline="") as stream:
        # strict: else a quote that is never closed would swallow all that follows without a word
        taken: list[str] = []  # lines of the record that is being read
        reader = csv.reader(_noted(stream, taken), delimiter=layout.separator, strict=True, skipinitialspace=True)
        width = 0
        while True:
            line = reader.line_num + 1
            taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "end of data" in str(error):
                    why = f"not readable as CSV: a quote is not closed, so nothing from line {line} to the end is read"
                else:
                    why = f"not readable as CSV ({error}); is a quote not closed, or not doubled within quotes?"
                    cells = next(csv.reader(taken, delimiter=layout.separator, skipinitialspace=True))
                    if len(taken) == 1 and len(cells) == width and not cells[-1].endswith(("\n", "\r")):
                        yield line, cells
                        continue
                for lost in range(len(taken)):
                    yield line + lost, why
                continue
            if any(cell.strip() for cell in cells):
                width = width or len(cells)
                yield line, cells


def loose_records(file: Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Like `records`, of a table whose texts hold stray quotes: these swallow no line that is a record by itself.

    A quoted text may go on in the next lines, as long as these have fewer separators than the header.
    """
    if layout.encoding == EXCEL:
        yield from _excel_rows(file)
        return
    # Not splitlines(): it also cuts at form feeds and U+2028 within a text.
    with file.open(encoding=layout.encoding) as stream:
        begun, width = list[str](), 0
        for number, line in enumerate(chain(_noted(stream), [""]), start=1):
            separators = line.count(layout.separator)
            if begun and (separators >= width or not line):  # the quote was a stray one
                for place, one in enumerate(begun):
                    yield number - len(begun) + place, next(csv.reader([one], delimiter=layout.separator))
                begun = []
            if not line.strip() and not begun:
                continue
            width = width or separators
            begun.append(line)
            if sum(one.count('"') for one in begun) % 2 == 0:
                for place, cells in enumerate(csv.reader(begun, delimiter=layout.separator)):
                    yield number + 1 - len(begun) + place, cells
                begun = []


def _noted(stream: Iterable[str], taken: list[str] | None = None) -> Iterator[str]:
    """Lines, that of a separator above the titles blank; `taken` gets each of them too."""
    begun = False
    for line in stream:
        line = "\n" if not begun and _SEPARATOR_LINE.fullmatch(line) else line
        begun = begun or bool(line.strip())
        if taken is not None:
            taken.append(line)
        yield line


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
    if whole := _WHOLE.fullmatch(path):
        yield whole[1]
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
        if whole := _WHOLE.fullmatch(name):
            row_of.setdefault(whole[1], row)
    rows = [next((row_of[key] for key in _keys(path) if key in row_of), None) for path in paths]

    ends: dict[str, int | None] = {}  # of the paths that are left; None where two end alike
    for row in {row_of[name] for name in said if name} - set(rows) if None in rows else ():
        for end in list(spellings(said[row]))[1:]:
            ends[end] = None if end in ends else row
    for photo, path in enumerate(paths if ends else ()):
        if rows[photo] is None:
            rows[photo] = next((ends[key] for key in _keys(path)[:2] if ends.get(key) is not None), None)
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


def _keys(path: str) -> tuple[str, str, str, str]:
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
        start = stream.read(len(ZIP))
    if start == ZIP:
        return EXCEL
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


def _excel_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Of the first sheet."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise InputError(
            f"{file}: an Excel workbook, which takes openpyxl to read. Save it as CSV, or: pip install openpyxl"
        ) from None
    try:
        book = load_workbook(file, read_only=True, data_only=True)
        for line, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1):
            texts = [_excel_text(cell) for cell in cells]
            if any(texts):
                yield line, texts
        book.close()
    except (OSError, KeyError, ValueError, IndexError, BadZipFile) as error:
        raise InputError(f"{file}: an Excel workbook that cannot be read ({error}). Save it as CSV.") from error


def _excel_text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell).strip()
