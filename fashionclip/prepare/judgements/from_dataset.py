"""Judgements made from another prepared dataset: each photo with true texts and wrong ones."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset, stable_hash, text_key
from fashionclip.prepare.conversion import conversion
from fashionclip.prepare.judgements.paraphrase import with_less, with_misspelling, with_synonym
from fashionclip.prepare.judgements.text_only import measured
from fashionclip.prepare.judgements.wrong_texts import KINDS, Mismatches, Partner
from fashionclip.prepare.photos import write_photos

KIND_SHARES = {"shuffled": 0.2, "colour": 0.4, "category": 0.15, "material": 0.1, "feature": 0.15}
VARIATION_SHARES = {"synonym": 0.15, "misspelling": 0.15, "less detail": 0.4}
VARIATIONS = tuple(VARIATION_SHARES)
LEFT_OUT = {  # reason and detail, by whether another photo's text is wrong for it
    # To exchange with that photo all the same would give it more judgements than asked for.
    True: (
        "left_over",
        "every text found that surely does not describe it belongs to a photo that has no exchange left",
    ),
    False: ("no_mismatch", "no text was found that surely does not describe it"),
}
DERIVED_COLUMNS = ("image_id", "text", "label", "kind", "variation", "made", "split")


def prepare_judgements_derived(
    *,
    name: str = "judgements-derived",
    source: Path | str,
    root: Path | str,
    matches: int = 8,
    mismatches: int = 8,
    kinds: Mapping[str, float] = KIND_SHARES,
    variations: Mapping[str, float] = VARIATION_SHARES,
    max_side: int = 448,
    seed: int = 0,
    workers: int | None = None,
) -> PreparedDataset:
    """Makes matches and mismatches of each photo, and keeps the splits and attributes of the dataset.

    It prints what a model that sees only the texts of the judgements would score (`text_only_scores`).

    Args:
        name: Name of the dataset, for the record.
        source: Root of the prepared dataset to make them of.
        root: Folder of the dataset that is made.
        matches, mismatches, kinds, variations, seed: Numbers, shares and seed of `judge_rows`.
        max_side: Longer side of a written photo, in pixels, at most; about twice what the backbone sees.
        workers: Number of processes, by default one a core.

    Raises:
        InputError: There is no prepared dataset, or settings are not usable.
    """
    source, root = Path(source), Path(root)
    dataset = read_dataset(source)
    given = dataset.manifest.reset_index(drop=True)
    if root.resolve() == source.resolve():
        raise InputError(f"dataset.root={root}: the same as dataset.source. Choose another dataset.root.")
    check_shares(matches=matches, mismatches=mismatches, kinds=kinds, variations=variations)
    settings: dict[str, Any] = {
        "matches": matches,
        "mismatches": mismatches,
        "kinds": dict(kinds),
        "variations": dict(variations),
        "seed": seed,
    }
    config = {"name": name, "max_side": max_side, **settings}
    way = {"wrong_texts": "exchanged"}  # judgements that were made otherwise are not these
    with conversion(root, config=config, data=(source / "manifest.parquet").read_bytes(), besides=way) as new:
        if new.standing:
            return new.standing
        dropped = [(image_id, "no_text", "nothing to judge") for image_id in given["image_id"][given["text"] == ""]]
        manifest = given[given["text"] != ""]
        jobs = [(source / path, new.folder / path) for path in manifest["path"]]
        errors = [written.error for written in write_photos(jobs, max_side=max_side, workers=workers)]
        broken = {image_id: error for image_id, error in zip(manifest["image_id"], errors, strict=True) if error}
        dropped += [(image_id, "photo_unreadable", error) for image_id, error in broken.items()]
        manifest = manifest[~manifest["image_id"].isin(broken)].reset_index(drop=True)
        judgements = judge_rows(manifest, **settings)
        judged = manifest["image_id"].isin(judgements["image_id"])
        dropped += _left_out(manifest, manifest.index[~judged], kinds=kinds, seed=seed)
        return new.finish(
            manifest=manifest[judged].reset_index(drop=True),
            about={name: dataset.info[name] for name in ("text_fields", "attributes") if name in dataset.info},
            dropped=dropped,
            read=len(given),
            **measured(judgements, derived_from=str(source)),
        )


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

    Two photos exchange their texts: each matches its own and mismatches the other's, in the same wording. So of every
    kind, and in every split, each text is as often a match as a mismatch, and who sees only texts cannot tell which.

    Args:
        manifest: Manifest with texts, and an index from 0.
        matches, mismatches: Number of each for a photo, at most; where they differ, exchanges of the rarer label are
            drawn by chance, and a text is as likely of either label only on average.
        kinds: Share of each kind among mismatches, in [0, 1], summing to 1. Where a photo's text allows none of the
            kind that is due, the kind furthest below its share takes its place; so shares hold as far as texts allow.
        variations: Share of texts with a "synonym", a "misspelling" or "less detail", in [0, 1]. What a photo has
            beyond its first text is always varied, else it would be the same text again.
        seed: Seed of all that is left to chance. What a row gets depends on the rows before, in order of their hash.

    Returns:
        `DERIVED_COLUMNS`, all text.
    """
    find = Mismatches(manifest)
    words = {word for text in find.text for word in re.findall(r"\w+", text.lower())}
    ids, splits = manifest["image_id"].tolist(), manifest["split"].tolist()
    order = sorted(range(len(ids)), key=lambda row: stable_hash(f"{seed}/{ids[row]}"))
    rng = random.Random(f"{seed}/judgements")
    most = max(matches, mismatches)
    have: dict[str, Counter[str]] = defaultdict(Counter)  # by split
    of_row: list[list[_Exchanged]] = [[] for _ in ids]
    for turn in range(most):
        for row in order:
            if len(of_row[row]) > turn:  # another photo has exchanged with it
                continue
            met = {exchanged.other for exchanged in of_row[row]}
            made = have[splits[row]]
            excess = {kind: made[kind] - share * made.total() for kind, share in kinds.items() if share > 0}
            for kind in sorted(excess, key=lambda kind: (excess[kind], kind)):
                partner = find.partner(row, kind, free=lambda other: len(of_row[other]) < most, met=met, rng=rng)
                if partner is None:
                    continue
                worded = _worded(find, row, partner, of_row=of_row, shares=variations, words=words, rng=rng)
                if worded is None:
                    continue
                variation, (own, others) = worded
                of_row[row].append(_Exchanged(partner.row, kind, variation, own, others))
                of_row[partner.row].append(_Exchanged(row, kind, variation, others, own))
                made[kind] += 2
                break
    judged: list[tuple[str, ...]] = []
    for row in order:
        for label, count in (("match", matches), ("mismatch", mismatches)):
            for of in rng.sample(of_row[row], -(-len(of_row[row]) * count // most)):
                text, from_where = (of.own, "own") if label == "match" else (of.others, "borrowed")
                judged.append((ids[row], text, label, of.kind, of.variation, from_where, splits[row]))
    return pd.DataFrame(judged, columns=list(DERIVED_COLUMNS))


def _left_out(
    manifest: pd.DataFrame, rows: Sequence[int], *, kinds: Mapping[str, float], seed: int
) -> list[tuple[str, str, str]]:
    """The id of each row that got no judgement, the reason, and what it means."""
    if not len(rows):
        return []
    find, rng = Mismatches(manifest), random.Random(f"{seed}/left out")
    due = [kind for kind, share in kinds.items() if share > 0]

    def has_partner(row: int) -> bool:
        return any(find.partner(row, kind, free=lambda other: True, met=(), rng=rng) for kind in due)

    return [(manifest["image_id"][row], *LEFT_OUT[has_partner(row)]) for row in rows]


class _Exchanged(NamedTuple):
    """What a photo got of an exchange: its own text and the other photo's, in the wording that both photos got."""

    other: int
    kind: str
    variation: str
    own: str
    others: str


def _worded(
    find: Mismatches,
    row: int,
    partner: Partner,
    *,
    of_row: Sequence[Sequence[_Exchanged]],
    shares: Mapping[str, float],
    words: set[str],
    rng: random.Random,
) -> tuple[str, tuple[str, str]] | None:
    """The texts of both, varied in one way; None where they were said of either photo already, or might be true."""
    rows = (row, partner.row)
    texts = (find.text[row], find.text[partner.row])
    said = [{text_key(text) for of in of_row[one] for text in (of.own, of.others)} for one in rows]
    first = not any(text_key(text) in of_one for text in texts for of_one in said)
    weights = {variation: shares.get(variation, 0.0) for variation in VARIATIONS}
    if partner.facts is None:
        weights["less detail"] = 0.0  # another product's text, cut short, might be true of this one as well
    if first:
        weights[""] = 1 - sum(weights.values())
    if not any(weights.values()):
        return None
    due = rng.choices(list(weights), weights=list(weights.values()))[0]
    # Another try gives another synonym; a misspelling fits almost any text.
    others = [""] if first else [v for v in (due, "less detail", "synonym", "misspelling") if weights[v]]
    for variation in (due, *others):
        varied = _varied(texts, variation, partner, words=words, rng=rng)
        if varied is not None and _is_news(varied, find, rows, partner, said=said):
            return variation, varied
    return None


def _varied(
    texts: tuple[str, str], variation: str, partner: Partner, *, words: set[str], rng: random.Random
) -> tuple[str, str] | None:
    """Both texts varied in one way; None where one of them cannot be."""
    if variation == "":
        return texts
    if variation == "less detail":
        return None if partner.facts is None else with_less(texts, aspect=partner.facts.aspect)
    varied = [
        with_synonym(text, rng=rng) if variation == "synonym" else with_misspelling(text, words=words, rng=rng)
        for text in texts
    ]
    return None if varied[0] is None or varied[1] is None else (varied[0], varied[1])


def _is_news(
    texts: tuple[str, str], find: Mismatches, rows: tuple[int, int], partner: Partner, *, said: Sequence[set[str]]
) -> bool:
    """Whether two texts were said of neither photo yet, and each is still wrong for the other's photo."""
    plain = [text_key(text) for text in texts]
    if plain[0] == plain[1] or any(text in of_one for text in plain for of_one in said):
        return False
    return all(find.is_wrong(text, row, partner.facts) for text, row in zip(reversed(texts), rows, strict=True))


def check_shares(*, matches: int, mismatches: int, kinds: Mapping[str, float], variations: Mapping[str, float]) -> None:
    """Refuses shares with other names, outside [0, 1] or of a wrong sum, with an `InputError`."""
    if set(kinds) - set(KINDS) or min(kinds.values(), default=-1) < 0 or abs(sum(kinds.values()) - 1) > 1e-6:
        raise InputError(f"dataset.kinds: got {dict(kinds)}, expected shares >= 0 of {', '.join(KINDS)} that sum to 1.")
    if set(variations) - set(VARIATIONS) or min(variations.values(), default=0) < 0 or sum(variations.values()) > 1:
        raise InputError(
            f"dataset.variations: got {dict(variations)}, expected shares >= 0 of {', '.join(VARIATIONS)} that sum to "
            "at most 1."
        )
    if min(matches, mismatches) < 1:
        raise InputError(
            f"dataset.matches={matches}, dataset.mismatches={mismatches}: expected 1 or more of each for a photo."
        )
