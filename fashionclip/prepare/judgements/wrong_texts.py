"""Pairs of products whose texts are wrong for each other's photos: in colour, kind, material, a feature or anything.

Texts are exchanged, never made up: then each text is as often right as wrong, and nothing in it tells which it is.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from fashionclip.manifest import text_key
from fashionclip.prepare.judgements.vocabulary import ASPECTS, HARD_KINDS, Aspect

SHUFFLED = "shuffled"
KINDS = (SHUFFLED, *HARD_KINDS)
TRIES = 60  # products looked at for one to exchange texts with; more find little

Families = frozenset[str]


@dataclass(frozen=True)
class Partner:
    """A row to exchange texts with: both are wrong for the other's photo, in an aspect or (None) in anything."""

    row: int
    facts: AspectFacts | None


class Mismatches:
    """Finds the products of a manifest that can exchange their texts.

    What is true of a product in one aspect, such as its colour, is all that its attributes and texts say of it, and
    those of every product of its group, of its item or with the same text. A text is wrong for it only where nothing
    that the text says in the aspect shares a family with any of that; and a text is never taken that a product which
    is like it in that aspect bears.

    Args:
        manifest: Manifest of a prepared dataset, with an index from 0; an aspect's columns are read where it has them.

    Attributes:
        own_texts: Texts, by `text_key`, that are true of each row's product: its own, and those of its fellows.
    """

    def __init__(self, manifest: pd.DataFrame) -> None:
        self.text: list[str] = manifest["text"].tolist()
        self.split: list[str] = manifest["split"].tolist()
        self.plain = [text_key(text) for text in self.text]
        self._words = [frozenset(plain.split()) for plain in self.plain]
        likened = [manifest["group_id"].tolist(), manifest["item_id"].tolist(), self.plain]
        self.own_texts = _joined([frozenset((plain,)) for plain in self.plain], likened)
        self._of_split = {split: [r for r, s in enumerate(self.split) if s == split] for split in set(self.split)}
        self._aspects = [AspectFacts(aspect, manifest, likened) for aspect in ASPECTS]

    def partner(
        self, row: int, kind: str, *, free: Callable[[int], bool], met: Collection[int], rng: random.Random
    ) -> Partner | None:
        """A product of the same split to exchange texts with, so that both are wrong in the way that `kind` says.

        Of some drawn at random it is the one with the most similar text ("shuffled": any), but rather one of the same
        sort (`Aspect.given`), and rather one not met before.

        Args:
            row: Row of the product.
            kind: One of `KINDS`.
            free: Function that says whether a row may be taken.
            met: Rows that are taken only where there is no other.
            rng: Source of chance.

        Returns:
            None where none was found.
        """
        split = self.split[row]
        aspects: list[AspectFacts | None] = [None]
        if kind != SHUFFLED:
            aspects = [facts for facts in self._aspects if facts.aspect.kind == kind and facts.said[row]]
        rng.shuffle(aspects)
        for facts in aspects:
            for pool in facts.speaking(row, split) if facts else (self._of_split[split],):
                drawn = [other for other in rng.sample(pool, min(TRIES, len(pool))) if free(other)]
                for other in sorted(
                    drawn, key=lambda other: (other in met, facts is not None and -self._likeness(row, other))
                ):
                    if self._mismatch(row, other, facts) and self._mismatch(other, row, facts):
                        return Partner(other, facts)
        return None

    def is_wrong(self, text: str, row: int, facts: AspectFacts | None) -> bool:
        """Whether a text that contradicts a row's product is none of its own, nor of one that is like it in the aspect.

        Args:
            text: Text to look for among the texts of all products.
            row: Row of the product.
            facts: Facts on the aspect in which it contradicts; None: in anything.
        """
        plain = text_key(text)
        if plain in self.own_texts[row]:
            return False
        return facts is None or not facts.true[row] & facts.of_bearers.get(plain, frozenset())

    def _likeness(self, one: int, other: int) -> float:
        """Share of the words of two texts that both have."""
        return len(self._words[one] & self._words[other]) / len(self._words[one] | self._words[other])

    def _mismatch(self, row: int, other: int, facts: AspectFacts | None) -> bool:
        """Whether another product's text is wrong for a row's photo: in an aspect of which it speaks; or (None) in any,
        or where it says nothing of what is known of the product."""
        if not self.plain[other] or not self.is_wrong(self.text[other], row, facts):
            return False
        known = [facts] if facts else [aspect for aspect in self._aspects if aspect.true[row] and aspect.said[other]]
        return not known or any(not aspect.true[row] & aspect.said[other] for aspect in known)


class AspectFacts:
    """One aspect of all products of a manifest.

    Attributes:
        said: Families that each row's text names.
        true: Families that are true of each row's product.
        of_bearers: Families that are true of any product with a text, by `text_key`.
    """

    def __init__(self, aspect: Aspect, manifest: pd.DataFrame, likened: Sequence[Sequence[str]]) -> None:
        @cache  # for a few texts on very many rows
        def families(text: str) -> Families:
            return aspect.families(term.name for term in aspect.find(text))

        self.aspect = aspect
        self.said = [families(text) for text in manifest["text"]]
        columns = [column for column in aspect.columns if column in manifest]
        rows = manifest[columns].itertuples(index=False) if columns else [()] * len(manifest)
        stated = [families(" / ".join(map(str, values))) for values in rows]
        self.true = _joined([says | states for says, states in zip(self.said, stated, strict=True)], likened)
        self.of_bearers = _union_by(likened[-1], self.true)
        given = [column for column in aspect.given if column in manifest]
        self._given = list(manifest[given].itertuples(index=False, name=None)) if given else [()] * len(manifest)
        self._speaking: dict[object, list[int]] = defaultdict(list)
        for row, (split, says) in enumerate(zip(manifest["split"], self.said, strict=True)):
            if says:
                self._speaking[split, self._given[row]].append(row)
                self._speaking[split].append(row)

    def speaking(self, row: int, split: str) -> tuple[list[int], list[int]]:
        """Rows of a split whose texts speak of this aspect: of products of the row's sort, and of any."""
        return self._speaking.get((split, self._given[row]), []), self._speaking.get(split, [])


def _joined(facts: Sequence[frozenset[str]], likened: Sequence[Sequence[str]]) -> list[frozenset[str]]:
    """For each row what is known of it and of all rows of its group, of its item, and with its text.

    No list of those rows is made: of few texts, each has very many. Rows that know the same share one set.

    Args:
        facts: What is known of each row.
        likened: Group, item and text of each row; where it is "", the row has none.
    """
    unions = [(column, _union_by(column, facts)) for column in likened]
    shared: dict[frozenset[str], frozenset[str]] = {}
    joined = []
    for row, known in enumerate(facts):
        for column, union in unions:
            if column[row] and not union[column[row]] <= known:
                known = union[column[row]] if known <= union[column[row]] else known | union[column[row]]
        joined.append(shared.setdefault(known, known))
    return joined


def _union_by(column: Sequence[str], facts: Sequence[frozenset[str]]) -> dict[str, frozenset[str]]:
    """All that is known of the rows with each value."""
    together: dict[str, set[str]] = defaultdict(set)
    for value, known in zip(column, facts, strict=True):
        together[value] |= known
    return {value: frozenset(known) for value, known in together.items()}
