"""Characters that stand in texts by mistake of a program: what they are read as, and what was found.

A text goes from database to web page to spreadsheet, and each may leave something: `&amp;`, "GrÃ¶ÃŸe", a blank that is
not one, a character that is not seen.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import NamedTuple

import ftfy

LONGEST = 40  # letters of an example


class Special(NamedTuple):
    """One kind of such characters: its name, the text without it, and what that does."""

    name: str
    mend: Callable[[str], str]
    does: str


_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z]\w*);", re.IGNORECASE)
# Not those that are blanks to Python, which are next; among the others are those that turn the direction of a text.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SPACES = re.compile(r"[^\S \t\r\n]|[\u00ad\u200b\u2060\ufeff]")
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")

SPECIAL = (
    Special("mojibake", ftfy.fix_encoding, "It is read as the letters that were written (by ftfy)."),
    Special(
        "html_entity",
        lambda text: _ENTITY.sub(lambda found: html.unescape(found[0]), text),
        "It is read as the character that it stands for.",
    ),
    Special("control_character", lambda text: _CONTROLS.sub("", text), "It is left out."),
    Special(
        "odd_space",
        lambda text: _SPACES.sub(" ", _UNSEEN.sub("", text)),
        "It is read as a blank, without width as none.",
    ),
)
LOST = "\ufffd"  # what programs write for bytes that they cannot read


def mended(text: str) -> tuple[str, dict[str, str]]:
    r"""A text without special characters and with single blanks, and an example of each kind that it had.

    >>> mended("H&amp;M  Gr\u00c3\u00b6\u00c3\u0178e\u00a042")
    ('H&M Größe 42', {'mojibake': "'GrÃ¶ÃŸe\\xa042' is read as 'Größe\\xa042'", ...})
    """
    found = {}
    for special in SPECIAL if not text.isascii() or "&" in text or not text.isprintable() else ():
        before, text = text, special.mend(text)
        if text != before:
            word = next((word for word in before.split(" ") if special.mend(word) != word), before)
            found[special.name] = f"{word[:LONGEST]!r} is read as {special.mend(word)[:LONGEST]!r}"
    return " ".join(text.split()), found
