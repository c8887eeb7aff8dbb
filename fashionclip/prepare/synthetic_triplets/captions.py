"""Captions that are almost, or not at all, the given one, and how far they are from it."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from fashionclip.errors import InputError

BUILT_IN = Path(__file__).with_name("captions.txt")
TRIES = 20  # an insertion beside a deletion can give the caption back; rare, so a few tries are enough


def caption_distance(one: str, other: str) -> float:
    """The least number of letters to insert, delete or replace, over the length of the longer caption: in [0, 1].

    >>> caption_distance("Big scarf energy", "Big scarf energy")
    0.0
    >>> caption_distance("scarf", "scarves")  # f to v, then e and s: 3 of 7
    0.42857142857142855
    """
    return Levenshtein.normalized_distance(one, other)


def edit_caption(caption: str, *, max_share: float, rng: random.Random) -> str:
    """Inserts, deletes and replaces letters, at least one, at random places; words stay apart by single spaces.

    Args:
        caption: Caption to edit, not blank.
        max_share: Largest `caption_distance` of the result, in (0, 1]; one letter is edited even where that is more.
            The number of edits is drawn uniformly from one up to that share of the letters.
        rng: Source of chance.
    """
    places = [place for place, letter in enumerate(caption) if not letter.isspace()]
    most = min(len(places), max(1, int(max_share * len(caption))))
    operations = rng.randint(1, most)
    for _ in range(TRIES):
        letters = list(caption)
        for place in rng.sample(places, operations):
            new = _letter_unlike(letters[place], rng)
            letters[place] = rng.choice(("", new, letters[place] + new))
        edited = " ".join("".join(letters).split())
        if edited and 0 < caption_distance(caption, edited) <= max(max_share, 1 / len(caption)):
            return edited
    place = rng.choice(places)
    return caption[:place] + _letter_unlike(caption[place], rng) + caption[place + 1 :]


def replace_caption(caption: str, *, captions: Sequence[str], rng: random.Random) -> str:
    """Another one of the (at least two, distinct) captions."""
    one, other = rng.sample(captions, 2)
    return other if one == caption else one


def read_captions(
    path: Path | str | None, *, min_length: int, max_length: int, most: int | None, seed: int
) -> list[str]:
    """Reads captions, one a line; blank and repeated lines and those of another length are left out.

    Args:
        path: Text file in UTF-8; None for the captions that come with this package.
        min_length, max_length: Shortest and longest caption, in characters, inclusive.
        most: Number of captions taken by chance; None for all.
        seed: Seed of that choice.

    Raises:
        InputError: No such file, not UTF-8, or fewer than two captions are left.
    """
    path = Path(path or BUILT_IN)
    if not path.is_file():
        raise InputError(f"dataset.captions={path}: no such file. Give a text file with one caption a line, or null.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"dataset.captions={path}: not UTF-8 ({error}). Save the file as UTF-8.") from None
    distinct = dict.fromkeys(" ".join(line.split()) for line in lines)
    captions = [caption for caption in distinct if caption and min_length <= len(caption) <= max_length]
    if most is not None and most < len(captions):
        captions = random.Random(f"captions/{seed}").sample(captions, max(0, most))
    if len(captions) < 2:
        raise InputError(
            f"dataset.captions={path}: {len(captions)} of {len(lines)} lines are usable, expected at least 2 (a "
            f"semi-positive shows another one). A caption has {min_length} to {max_length} characters "
            "(dataset.min_length, dataset.max_length, dataset.max_captions). Add captions or widen these."
        )
    return captions


def _letter_unlike(letter: str, rng: random.Random) -> str:
    alphabet = string.ascii_uppercase if letter.isupper() else string.ascii_lowercase
    return rng.choice([other for other in alphabet if other != letter])
