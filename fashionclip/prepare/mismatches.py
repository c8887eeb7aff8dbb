"""Texts that are wrong of a photo: of another product, or its own with one word changed; and never true by accident."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from fashionclip.prepare.rewording import in_case_of
from fashionclip.prepare.vocabulary import ASPECTS, HARD_KINDS, Aspect, Term

SHUFFLED = "shuffled"
KINDS = (SHUFFLED, *HARD_KINDS)
TRIES = 30  # products looked at for a text to borrow; more find little

Families = frozenset[str]


@dataclass(frozen=True)
class Wrong:
    """A text that does not describe a photo, and whether it was "borrowed" of another product or "edited"."""

    text: str
    made: str


def normalised(text: str) -> str:
    """What two texts that say the same in other case, blanks or punctuation have in common."""
    return " ".join(re.findall(r"\w+", text.casefold()))


class Mismatches:
    """Finds wrong texts for the products of a manifest.

    What is true of a product in one aspect, such as its colour, is all that its attributes and texts say of it, and
    those of every product of its group, of its item or with the same text. A word is wrong of it only where it shares
    no family with any of that; and a text is never taken that a product which is like it in that aspect bears.

    Args:
        manifest: Of a prepared dataset, with an index from 0; columns that an aspect knows are read where it has them.
    """

    def __init__(self, manifest: pd.DataFrame) -> None:
        self.text: list[str] = manifest["text"].tolist()
        self.split: list[str] = manifest["split"].tolist()
        self.plain = [normalised(text) for text in self.text]
        self._fellows = _fellows(manifest, self.plain)
        self._bearers: dict[str, list[int]] = defaultdict(list)
        for row, plain in enumerate(self.plain):
            self._bearers[plain].append(row)
        self._of_split = {split: [r for r, s in enumerate(self.split) if s == split] for split in set(self.split)}
        self._aspects = [_AspectOf(aspect, manifest, self._fellows) for aspect in ASPECTS]

    def own_texts(self, row: int) -> set[str]:
        """The normalised texts that are true of a row's product: its own, and those of its fellows."""
        return {self.plain[other] for other in self._fellows[row]}

    def find(self, row: int, kind: str, *, rng: random.Random) -> Wrong | None:
        """A text that is wrong of a row's photo in the way that `kind` says; None where none was found."""
        if kind == SHUFFLED:
            return self._shuffled(row, rng)
        aspects = [aspect for aspect in self._aspects if aspect.kind == kind]
        rng.shuffle(aspects)
        for make in (self._edited, self._borrowed):
            for aspect in aspects:
                wrong = make(row, aspect, rng)
                if wrong is not None:
                    return wrong
        return None

    def _edited(self, row: int, aspect: _AspectOf, rng: random.Random) -> Wrong | None:
        text = self.text[row]
        found = aspect.stating(row)
        if not found:
            return None
        old = found[-1]  # what a name is about stands last: "Red Tape Men Red Shoes"
        new = aspect.draw_wrong(row, rng)
        if new is None:
            return None
        edited = text[: old.start] + in_case_of(text[old.start : old.end], new) + text[old.end :]
        return Wrong(edited, "edited") if self._is_wrong(edited, row, aspect) else None

    def _borrowed(self, row: int, aspect: _AspectOf, rng: random.Random) -> Wrong | None:
        if not aspect.true[row]:
            return None
        alike = aspect.alike(row, self.split[row])
        for other in (rng.choice(alike) for _ in range(TRIES if alike else 0)):
            says = aspect.said[other]
            if says and not says & aspect.true[row] and self._is_wrong(self.text[other], row, aspect):
                return Wrong(self.text[other], "borrowed")
        return None

    def _shuffled(self, row: int, rng: random.Random) -> Wrong | None:
        others = self._of_split[self.split[row]]
        for other in (rng.choice(others) for _ in range(TRIES)):
            if self.plain[other] and self.plain[other] not in self.own_texts(row) and self._differ(row, other):
                return Wrong(self.text[other], "borrowed")
        return None

    def _differ(self, row: int, other: int) -> bool:
        """Whether another product's text contradicts what is true of a product, or says nothing that is known of it."""
        if other in self._fellows[row]:
            return False
        known = [aspect for aspect in self._aspects if aspect.true[row] and aspect.said[other]]
        return not known or any(not aspect.true[row] & aspect.said[other] for aspect in known)

    def _is_wrong(self, text: str, row: int, aspect: _AspectOf) -> bool:
        plain = normalised(text)
        if plain in self.own_texts(row):
            return False
        return not any(aspect.true[row] & aspect.true[bearer] for bearer in self._bearers.get(plain, ()))


class _AspectOf:
    """One aspect of all products of a manifest.

    Attributes:
        said: Families that each row's text names.
        true: Families that are true of each row's product.
    """

    def __init__(self, aspect: Aspect, manifest: pd.DataFrame, fellows: list[frozenset[int]]) -> None:
        self.kind, self.aspect = aspect.kind, aspect
        texts = manifest["text"].tolist()
        self._found = [aspect.find(text) for text in texts]
        self.said = [aspect.families(term.name for term in found) for found in self._found]
        columns = [column for column in aspect.columns if column in manifest]
        rows = manifest[columns].itertuples(index=False) if columns else [()] * len(manifest)
        stated = [" / ".join(map(str, values)) for values in rows]
        self.stated = [aspect.families(term.name for term in aspect.find(value)) for value in stated]
        self.true = [_union([s for row in group for s in (self.said[row], self.stated[row])]) for group in fellows]
        given = [column for column in aspect.given if column in manifest]
        self._given = list(manifest[given].itertuples(index=False, name=None)) if given else [()] * len(manifest)
        self._spellings: dict[object, Counter[tuple[str, str]]] = defaultdict(Counter)  # (as it is spelled, term)
        self._speaking: dict[object, list[int]] = defaultdict(list)
        splits = manifest["split"].tolist()
        for row, found in enumerate(self._found):
            for term in found:
                spelling = (texts[row][term.start : term.end].lower(), term.name)
                for key in (self._given[row], None):
                    self._spellings[key][spelling] += 1
            if found:
                self._speaking[splits[row], self._given[row]].append(row)

    def stating(self, row: int) -> list[Term]:
        """Terms in a row's text that state this aspect of it: those that agree with its attributes, if it has any."""
        stated = self.stated[row]
        return [term for term in self._found[row] if not stated or stated & self.aspect.families([term.name])]

    def draw_wrong(self, row: int, rng: random.Random) -> str | None:
        """A spelling that contradicts a row, as often as such products' texts have it; else of any product or word."""
        all_terms = Counter({(term, term): 1 for term in self.aspect.terms})
        for pool in (self._spellings[self._given[row]], self._spellings[None], all_terms):
            wrong = {
                spelling: count
                for (spelling, term), count in pool.items()
                if not self.aspect.families([term]) & self.true[row]
            }
            if wrong:
                return rng.choices(list(wrong), weights=list(wrong.values()))[0]
        return None

    def alike(self, row: int, split: str) -> list[int]:
        """Rows of a split whose texts speak of this aspect, of products of the row's sort."""
        return self._speaking.get((split, self._given[row]), [])


def _fellows(manifest: pd.DataFrame, plain: list[str]) -> list[frozenset[int]]:
    """For each row the rows of its group, of its item, and with its text, itself among them."""
    fellows = [{row} for row in range(len(plain))]
    for column in (manifest["group_id"].tolist(), manifest["item_id"].tolist(), plain):
        together: dict[str, list[int]] = defaultdict(list)
        for row, value in enumerate(column):
            if value:
                together[value].append(row)
        for rows in together.values():
            for row in rows:
                fellows[row].update(rows)
    return [frozenset(rows) for rows in fellows]


def _union(sets: Iterable[Families]) -> Families:
    return frozenset().union(*sets)
