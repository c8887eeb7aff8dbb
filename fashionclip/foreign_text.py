"""Texts that others have written, such as names of files and cells of tables: what is safe to show and to write."""

from __future__ import annotations

import re

# Control characters, of which terminals take some as commands; half characters, which stand for bytes of a name that
# is not UTF-8 and cannot be printed; characters that turn the direction of what follows.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_UNSEEN_BUT_LINES = re.compile(f"(?!\n){_UNSEEN.pattern}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are = + - @ in full width, which some take as well


def shown(text: str, *, lines: bool = False) -> str:
    r"""A text as it may be printed on a terminal: what is not seen stands there as an escape, as JSON writes it.

    Args:
        text: From outside.
        lines: Whether it may have several lines, as messages of our own have.

    >>> print(shown("a\x1b[2Jb\nc"))
    a\u001b[2Jb\u000ac
    """
    unseen = _UNSEEN_BUT_LINES if lines else _UNSEEN
    return unseen.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_utf8(name: str) -> bool:
    r"""Whether the name of a file is UTF-8; Python keeps bytes that are not as half characters.

    >>> is_utf8("café"), is_utf8("caf\udce9")
    (True, False)
    """
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def safe_cell(text: str) -> str:
    """A cell of a CSV that spreadsheets take for a text or a number, never for a formula, which could run programs.

    >>> safe_cell("=1+1"), safe_cell("-0.5"), safe_cell("red - blue")
    ("'=1+1", '-0.5', 'red - blue')

    Source: OWASP, "CSV Injection".
    """
    return f"'{text}" if text[:1] in tuple(_FORMULA) and not _NUMBER.fullmatch(text) else text


def plain_cell(text: str) -> str:
    """What `safe_cell` has made a cell of.

    >>> plain_cell("'=1+1"), plain_cell("'tis")
    ('=1+1', "'tis")
    """
    return text[1:] if text[:1] == "'" and safe_cell(text[1:]) == text else text
