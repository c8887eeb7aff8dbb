"""Saying the same in other words: synonyms, misspellings and fewer words, which leave a true text true."""

from __future__ import annotations

import random
import re
from collections.abc import Collection

from fashionclip.prepare.vocabulary import ASPECTS, SYNONYMS

SHORTEST = 4  # letters of a word that is misspelled
TRIES = 20

_OTHERS = {word: [other for other in line if other != word] for line in SYNONYMS for word in line}
_SYNONYM = re.compile(
    r"(?<![\w-])(?:" + "|".join(map(re.escape, sorted(_OTHERS, key=len, reverse=True))) + r")(?![\w-])", re.IGNORECASE
)
_WORD = re.compile(rf"[^\W\d_]{{{SHORTEST},}}")


def with_synonym(text: str, *, rng: random.Random) -> str | None:
    """The text with one word replaced by another that means the same; None where it has none such.

    >>> with_synonym("Grey Saree", rng=random.Random(1))
    'Gray Saree'
    """
    found = list(_SYNONYM.finditer(text))
    if not found:
        return None
    chosen = rng.choice(found)
    other = rng.choice(_OTHERS[chosen.group().lower()])
    return text[: chosen.start()] + in_case_of(chosen.group(), other) + text[chosen.end() :]


def with_misspelling(text: str, *, words: Collection[str], rng: random.Random) -> str | None:
    """The text with a slip of the pen in one word: a letter left out, doubled, or two exchanged.

    Args:
        text: What to misspell; None is returned where it has no word of `SHORTEST` letters.
        words: In lower case; a slip that gives one of them would say something else.
        rng: Source of chance.
    """
    found = list(_WORD.finditer(text))
    for _ in range(TRIES if found else 0):
        chosen = rng.choice(found)
        slip = _slip(chosen.group(), rng)
        if slip != chosen.group() and slip.lower() not in words:
            return text[: chosen.start()] + slip + text[chosen.end() :]
    return None


def with_less(text: str, *, rng: random.Random) -> str | None:
    """The text in less detail: without half or all of the words that state no aspect of a garment, such as its brand.

    What it says of colour, kind, material and features stays, so that a text which is wrong in one of them stays wrong.
    None where nothing can go, or less than two words would stay.

    >>> with_less("Inkfruit Chain Reaction Black T-shirt", rng=random.Random(0))
    'Black T-shirt'
    """
    stated = [term for aspect in ASPECTS for term in aspect.find(text)]
    share = rng.choice((0.5, 1.0))
    words = list(re.finditer(r"\S+", text))
    kept = [
        word.group()
        for word in words
        if any(word.start() < term.end and term.start < word.end() for term in stated) or rng.random() >= share
    ]
    return " ".join(kept) if 2 <= len(kept) < len(words) else None


def in_case_of(old: str, new: str) -> str:
    """A word in upper, lower or title case, as the one it replaces."""
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new.lower() if old.islower() else new.title()


def _slip(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word) - 1)  # the first letter stays: readers go by it
    kind = rng.choice(("left out", "doubled", "exchanged"))
    if kind == "left out":
        return word[:place] + word[place + 1 :]
    if kind == "doubled":
        return word[: place + 1] + word[place:]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
