"""Judgements made from another prepared dataset: each photo with texts that are true and texts that are wrong of it."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import (
    PreparedDataset,
    begin_dataset,
    fingerprint_of,
    finish_dataset,
    read_dataset,
    stable_hash,
)
from fashionclip.prepare.mismatches import KINDS, SHUFFLED, Mismatches, Wrong, normalised
from fashionclip.prepare.photos import write_photos
from fashionclip.prepare.rewording import with_less, with_misspelling, with_synonym

VARIATIONS = ("synonym", "misspelling", "less detail")
COLUMNS = ("image_id", "text", "label", "kind", "variation", "made", "split")


def derive_judgements(
    *,
    name: str,
    derive_from: Path,
    root: Path,
    matches: int,
    mismatches: int,
    kinds: Mapping[str, float],
    variations: Mapping[str, float],
    max_side: int,
    seed: int,
    workers: int | None,
) -> PreparedDataset:
    """Makes matches and mismatches of each photo, and keeps the splits and attributes of the dataset.

    Args:
        name: Name of the dataset, for the record.
        derive_from: Root of the prepared dataset.
        root: Of the one that is made.
        matches, mismatches, kinds, variations, seed: See `judge_rows`.
        max_side: Longer side of a written photo, in pixels, at most.
        workers: Processes, default one a core.

    Raises:
        InputError: There is no prepared dataset, or settings are not usable.
    """
    given = read_dataset(derive_from)
    if root.resolve() == derive_from.resolve():
        raise InputError(f"dataset.root={root}: the same as dataset.derive_from. Choose another dataset.root.")
    check_shares(matches=matches, mismatches=mismatches, kinds=kinds, variations=variations)
    config = {
        "name": name,
        "matches": matches,
        "mismatches": mismatches,
        "kinds": dict(kinds),
        "variations": dict(variations),
        "max_side": max_side,
        "seed": seed,
    }
    fingerprint = fingerprint_of(config, [], data=(derive_from / "manifest.parquet").read_bytes())
    partial = begin_dataset(root, fingerprint=fingerprint)
    if partial is None:
        print(f"{root}: already prepared from this source with these settings.")
        return read_dataset(root)

    source = given.manifest.reset_index(drop=True)
    dropped = [(row.image_id, "no_text", "nothing to judge") for row in source[source["text"] == ""].itertuples()]
    manifest = source[source["text"] != ""].reset_index(drop=True)
    photos = [(derive_from / path, partial / path) for path in manifest["path"]]
    outcomes = write_photos(photos, max_side=max_side, workers=workers)
    readable = [not outcome.error for outcome in outcomes]
    dropped += [
        (image_id, "photo_unreadable", outcome.error)
        for image_id, outcome in zip(manifest["image_id"], outcomes, strict=True)
        if outcome.error
    ]
    manifest = manifest[readable].reset_index(drop=True)
    judgements = judge_rows(
        manifest, matches=matches, mismatches=mismatches, kinds=kinds, variations=variations, seed=seed
    )
    judged = manifest["image_id"].isin(judgements["image_id"])
    says = "no text was found that is surely wrong of it"
    dropped += [(image_id, "no_mismatch", says) for image_id in manifest["image_id"][~judged]]
    counts = {
        str(split): dict(Counter(part["kind"].tolist())) for split, part in judgements.groupby("split", sort=False)
    }
    dataset = finish_dataset(
        partial,
        root,
        manifest=manifest[judged].reset_index(drop=True),
        dropped=pd.DataFrame(dropped, columns=["image_id", "reason", "detail"]),
        fingerprint=fingerprint,
        read=len(source),
        config={**config, "derived_from": str(derive_from), "judgements": counts},
        tables={"judgements": judgements},
    )
    print(f"{root}: {len(judgements)} judgements of {len(dataset.manifest)} photos")
    for split, kind in counts.items():
        print(f"  {split}: {', '.join(f'{count} {name}' for name, count in sorted(kind.items(), key=_by_count))}")
    print(f"dropped {dataset.info['counts']['dropped'] or 'none'} (listed in dropped.csv)")
    return dataset


def judge_rows(
    manifest: pd.DataFrame,
    *,
    matches: int,
    mismatches: int,
    kinds: Mapping[str, float],
    variations: Mapping[str, float],
    seed: int,
) -> pd.DataFrame:
    """Writes matches and mismatches of each row.

    Args:
        manifest: With texts, and an index from 0.
        matches, mismatches: Of a photo at most; where one more is not found of both, there is none of either.
        kinds: Share of each kind among mismatches, in [0, 1], summing to 1. Where a photo's text allows none of the
            kind that is due, the kind that lacks most takes its place; so shares hold as far as texts allow.
        variations: Share of texts, of either label alike, with a "synonym", a "misspelling" or "less detail", in
            [0, 1]. What a photo has beyond its first text is always varied, else it would be the same text again.
        seed: Of all that is left to chance. Which kind is due depends on the rows before, in order of their hash.

    Returns:
        `COLUMNS`, all text.
    """
    find = Mismatches(manifest)
    words = {word for text in find.text for word in re.findall(r"\w+", text.lower())}
    have: dict[str, Counter[str]] = defaultdict(Counter)  # by split
    judged: list[tuple[str, ...]] = []
    ids, splits = manifest["image_id"].tolist(), manifest["split"].tolist()
    for row in sorted(range(len(ids)), key=lambda row: stable_hash(f"{seed}/{ids[row]}")):
        rng = random.Random(f"{seed}/judgements/{ids[row]}")
        own = find.own_texts(row)
        said: set[str] = set()
        slots = range(max(matches, mismatches))
        with_mismatch = rng.sample(slots, mismatches)  # anywhere: the first slot is varied less than the others
        for slot in slots:
            found = _due(find, row, kinds, have[splits[row]], rng)
            if found is None:
                break
            kind, wrong = found
            # A mismatch without a match beside it is varied as one of the matches would be.
            first = (slot if slot < matches else rng.randrange(matches)) == 0
            # Another product's text, cut short, might be true of this one as well.
            shares = {name: share for name, share in variations.items() if (kind, name) != (SHUFFLED, "less detail")}
            varied = _alike_varied((find.text[row], wrong.text), shares, first=first, words=words, rng=rng)
            variation, (match, mismatch) = varied
            new = [normalised(match)] * (slot < matches) + [normalised(mismatch)] * (slot in with_mismatch)
            if len(set(new) - said) < len(new) or normalised(mismatch) in own:
                continue  # said already, or by chance the same
            said.update(new)
            if slot < matches:
                judged.append((ids[row], match, "match", "match", variation, "own", splits[row]))
            if slot in with_mismatch:
                have[splits[row]][kind] += 1
                judged.append((ids[row], mismatch, "mismatch", kind, variation, wrong.made, splits[row]))
    return pd.DataFrame(judged, columns=list(COLUMNS))


def _due(
    find: Mismatches, row: int, kinds: Mapping[str, float], have: Counter[str], rng: random.Random
) -> tuple[str, Wrong] | None:
    """The kind that lacks most among those that a row's text allows, and a text of it."""
    total = sum(have.values()) + 1
    for kind in sorted((k for k in kinds if kinds[k] > 0), key=lambda k: (have[k] - kinds[k] * total, k)):
        wrong = find.find(row, kind, rng=rng)
        if wrong is not None:
            return kind, wrong
    return None


def check_shares(*, matches: int, mismatches: int, kinds: Mapping[str, float], variations: Mapping[str, float]) -> None:
    """Refuses shares that have other names, lie outside [0, 1] or have a wrong sum.

    Raises:
        InputError: With what was given.
    """
    if set(kinds) - set(KINDS) or min(kinds.values(), default=-1) < 0 or abs(sum(kinds.values()) - 1) > 1e-6:
        raise InputError(f"dataset.kinds: got {dict(kinds)}, expected shares >= 0 of {', '.join(KINDS)} that sum to 1.")
    if set(variations) - set(VARIATIONS) or min(variations.values(), default=0) < 0 or sum(variations.values()) > 1:
        raise InputError(
            f"dataset.variations: got {dict(variations)}, expected shares >= 0 of {', '.join(VARIATIONS)} that sum to "
            "at most 1."
        )
    if min(matches, mismatches) < 1:
        raise InputError(
            f"dataset.matches={matches}, dataset.mismatches={mismatches}: expected 1 or more of either a photo."
        )


def _alike_varied(
    texts: tuple[str, str], shares: Mapping[str, float], *, first: bool, words: set[str], rng: random.Random
) -> tuple[str, tuple[str, str]]:
    """Both texts varied in one way, so that the way tells nothing of the label; "" where one of them cannot be."""
    weights = {variation: shares.get(variation, 0.0) for variation in VARIATIONS}
    weights[""] = 1 - sum(weights.values()) if first else 0.0
    if not sum(weights.values()):
        weights[""] = 1.0
    due = rng.choices(list(weights), weights=list(weights.values()))[0]
    instead = ("misspelling",) if not first and weights["misspelling"] else ()  # it fits almost any text
    for variation in (due, *instead):
        if variation == "synonym":
            varied = [with_synonym(text, rng=rng) for text in texts]
        elif variation == "misspelling":
            varied = [with_misspelling(text, words=words, rng=rng) for text in texts]
        elif variation == "less detail":
            varied = [with_less(text, rng=rng) for text in texts]
        else:
            break
        if varied[0] is not None and varied[1] is not None:
            return variation, (varied[0], varied[1])
    return "", texts


def _by_count(item: tuple[str, int]) -> int:
    return -item[1]
