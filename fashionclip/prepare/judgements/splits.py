"""Which photos of judgements belong together, and splits that are balanced by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from fashionclip.manifest import SPLITS, joined_groups, stable_hash, text_key


def group_photos(
    rows: pd.DataFrame, image_ids: Sequence[str], *, pictures: Sequence[tuple[int, int]], by_text: pd.Series
) -> list[str]:
    """Names the groups of photos that may not straddle two splits.

    Args:
        rows: Facts of judgements, with `image_id`.
        image_ids: Ids of all N photos.
        pictures: Positions of photos that look the same.
        by_text: Whether, for each of the rows, a photo without a product belongs together with photos of the same
            matching text.

    Returns:
        The group of each photo; equal bytes and equal products are always one.
    """
    place = {image_id: position for position, image_id in enumerate(image_ids)}
    pairs = list(pictures)
    textual = rows[(rows["label"] == "match") & (rows["product"] == "") & by_text]
    named = rows[rows["product"] != ""]
    for part, key in (
        (rows, rows["photo"]),
        (named, named["product"].str.casefold()),
        (textual, textual["text"].map(text_key)),
    ):
        for _, images in part.groupby(key)["image_id"]:
            positions = [place[image_id] for image_id in images.unique()]
            pairs += [(positions[0], other) for other in positions[1:]]
    return joined_groups(image_ids, pairs=pairs)


def split_groups(rows: pd.DataFrame, *, ratios: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each group: the given one, or a balanced one.

    Where no test is given, val is divided between val and test in the proportion of their ratios; where no val is
    given, train between train and val.

    Args:
        rows: `group_id`, `label` and `split` ("" where none is given) of each judgement.
        ratios, seed: Shares and seed of `balanced_splits`.
    """
    if not (rows["split"] != "").any():
        return balanced_splits(rows, ratios=ratios, seed=seed)
    split = dict(zip(rows["group_id"], rows["split"], strict=True))
    divided, *lacking = divided_split(rows["split"])
    if lacking := [name for name in lacking if ratios[name] > 0]:
        print(
            f"no {' or '.join(lacking)} split: {divided} is divided into {' and '.join([divided, *lacking])}, so that "
            "nothing is chosen on what it is measured on"
        )
        total = sum(ratios[name] for name in (divided, *lacking))
        shares = {name: ratios[name] / total if name in (divided, *lacking) else 0.0 for name in SPLITS}
        split |= balanced_splits(rows[rows["split"] == divided], ratios=shares, seed=seed)
    return split


def divided_split(given: Iterable[str]) -> tuple[str, ...]:
    """Of given splits the one to divide, and those it is divided into as well since none is given: perhaps none."""
    has = {*given}
    if has == {"train"}:
        return SPLITS
    return ("train", "val") if has == {"train", "test"} else ("val", *(["test"] if "test" not in has else []))


def balanced_splits(rows: pd.DataFrame, *, ratios: Mapping[str, float], seed: int) -> dict[str, str]:
    """Gives each group a split so that all splits come close to their share of matches and of mismatches.

    Args:
        rows: `group_id` and `label` of each judgement.
        ratios: Share of each of `SPLITS`, in [0, 1], summing to 1.
        seed: Seed of the order in which groups of one size are dealt.

    Returns:
        Split by group.
    """
    counts = rows.groupby(["group_id", "label"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["match", "mismatch"], fill_value=0).assign(all=counts.sum(axis=1))
    target = {name: [ratios[name] * total for total in counts.sum()] for name in SPLITS}
    have = {name: [0.0] * 3 for name in SPLITS}
    by_group = {str(group): tuple(row) for group, row in zip(counts.index, counts.to_numpy().tolist(), strict=True)}
    chosen: dict[str, str] = {}
    # Large groups first, while there is room for them everywhere.
    for group in sorted(by_group, key=lambda group: (-sum(by_group[group]), stable_hash(f"{seed}/{group}"))):
        size = by_group[group]

        # Growth of the squared distance from the target, as a share of it: else train would take all large groups, and
        # where these have other labels than the small ones, no split would be balanced.
        def worse(name: str, size: tuple[int, ...] = size) -> float:
            return sum(n * (2 * (h - t) + n) / t for n, h, t in zip(size, have[name], target[name], strict=True) if t)

        split = min((name for name in SPLITS if ratios[name] > 0), key=worse)
        chosen[group] = split
        have[split] = [h + n for h, n in zip(have[split], size, strict=True)]
    return chosen
