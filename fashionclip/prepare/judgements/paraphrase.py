"""Saying the same in other words: synonyms, misspellings and fewer words, which leave a true text true."""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from typing import NamedTuple

from fashionclip.prepare.judgements.vocabulary import ASPECTS, CATEGORY, SYNONYMS, Aspect

SHORTEST = 4  # letters of a word that is misspelled
TRIES = 20
JOINING = frozenset({"and", "&", "with", "of", "in", "for"})

_OTHERS = {word: [other for other in line if other != word] for line in SYNONYMS for word in line}
_SYNONYM = re.compile(
    r"(?<![\w-])(?:" + "|".join(map(re.escape, sorted(_OTHERS, key=len, reverse=True))) + r")(?![\w-])", re.IGNORECASE
)
_WORD = re.compile(rf"[^\W\d_]{{{SHORTEST},}}")


def with_synonym(text: str, *, rng: random.Random) -> str | None:
    """The text with one word replaced by another that means the same; None where no word has a synonym.

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


def with_less(texts: tuple[str, str], *, aspect: Aspect) -> tuple[str, str] | None:
    """Two texts in less detail: what both say, and what each says of an aspect, in which alone they then differ.

    A term such as "navy blue" stays or goes as a whole, since "blue" alone might say something else; "and" goes with
    one of the words that it joins. None where nothing can go of either, or one would no longer say what the garment is,
    or have less than two words.

    >>> with_less(("Acme Active Blue T-shirt", "Acme Casual Red T-shirts"), aspect=ASPECTS[0])
    ('Acme Blue T-shirt', 'Acme Red T-shirts')
    """
    parts = [_parts(text) for text in texts]
    said = [{part.says for part in of_text} for of_text in parts]
    kept = []
    for of_text, other in zip(parts, reversed(said), strict=True):
        stays = [part.aspect is aspect or part.says in other for part in of_text]
        beside = zip([False, *stays[:-1]], [*stays[1:], False], strict=True)
        joined = [part.says not in JOINING or all(both) for part, both in zip(of_text, beside, strict=True)]
        kept.append([part for part, *stay in zip(of_text, stays, joined, strict=True) if all(stay)])
    shorter = [" ".join(part.text for part in of_text) for of_text in kept]
    names_it = all(any(part.aspect is CATEGORY for part in of_text) for of_text in kept)
    if not names_it or shorter == list(texts) or min(len(text.split()) for text in shorter) < 2:
        return None
    return shorter[0], shorter[1]


class _Part(NamedTuple):
    """A word of a text, or a term of an aspect: as it is spelled, what it says, and the aspect."""

    text: str
    says: str
    aspect: Aspect | None


def _parts(text: str) -> list[_Part]:
    terms = sorted((term.start, term.end, nth, term.name) for nth, a in enumerate(ASPECTS) for term in a.find(text))
    parts: list[_Part] = []
    end = 0
    for start, stop, nth, name in terms:
        if start >= end:  # else it overlaps the one before
            parts += [_Part(word, word.casefold(), None) for word in text[end:start].split()]
            parts.append(_Part(text[start:stop], name, ASPECTS[nth]))
            end = stop
    return parts + [_Part(word, word.casefold(), None) for word in text[end:].split()]


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
