"""A row of a table, and its cells."""

from __future__ import annotations

import json
import math
import re
from typing import NamedTuple

PHOTO_FIELDS = {"bytes", "path"}  # of a photo of the library datasets
# What programs write where there is no value: what pandas takes for it, in upper or lower case.
GAPS = frozenset(("", "nan", "-nan", "none", "null", "na", "n/a", "<na>", "#n/a", "#na", "#n/a n/a"))
LONGEST_GAP = max(map(len, GAPS))
_WHOLE = re.compile(r"(\d+)\.0+")  # an id that a program took for a number


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


def text_of(value: object) -> str:
    """A value of a typed table as a CSV would have it; a list as JSON."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict) and set(value) == PHOTO_FIELDS:
        value = value["path"]
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value).strip()
