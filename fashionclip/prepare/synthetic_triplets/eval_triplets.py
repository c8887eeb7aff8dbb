"""Triplets with semi-positives, drawn from the rows of a synthetic dataset."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping

import pandas as pd

TRIPLET_COLUMNS = ("anchor", "positive", "semipositive", "negative", "semipos_distance", "edit", "overlay", "unseen")
TRIES = 20  # at random, before all rows are looked through for a negative


def draw_triplets(manifest: pd.DataFrame, *, pictures: Mapping[str, str], per_anchor: int, seed: int) -> pd.DataFrame:
    """Draws triplets for every anchor that has a positive, a semi-positive and a negative.

    The semi-positives of a family take turns; the negative is any variant with the same kind of overlay, in the same
    split, of a base photo that shows another picture.

    Args:
        manifest: Rows of any splits.
        pictures: For each `base_id` a name that base photos of the same picture share.
        per_anchor: Triplets an anchor.
        seed: Each anchor's chance depends on nothing but this, its id and the rows it may draw.

    Returns:
        `TRIPLET_COLUMNS`: ids of images, then the semi-positive's distance, how it was made, the kind of overlay, and
        whether train never shows the captions or logos of anchor, positive and semi-positive.
    """
    columns = ["image_id", "kind", "base_id", "overlay", "caption", "split", "semipos_distance", "edit", "unseen"]
    families: dict[tuple[str, str, str, str, bool], dict[str, list[tuple[str, float, str]]]] = {}
    pools: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for image_id, kind, base, overlay, caption, split, distance, edit, unseen in zip(
        *(manifest[column] for column in columns), strict=True
    ):
        family = families.setdefault((base, overlay, caption, split, unseen), defaultdict(list))
        family[kind].append((image_id, distance, edit))
        pools[split, overlay].append((image_id, pictures[base]))
    rows = []
    for (base, overlay, _, split, unseen), family in families.items():
        positives, semipositives = family["positive"], family["semipositive"]
        if not (family["anchor"] and positives and semipositives):
            continue
        anchor = family["anchor"][0][0]
        rng = random.Random(f"{seed}/triplets/{anchor}")
        for turn in range(per_anchor):
            negative = _other_picture(pools[split, overlay], pictures[base], rng)
            if negative:
                semipositive, distance, edit = semipositives[turn % len(semipositives)]
                rows.append((anchor, rng.choice(positives)[0], semipositive, negative, distance, edit, overlay, unseen))
    return pd.DataFrame(rows, columns=list(TRIPLET_COLUMNS)).astype({"semipos_distance": "float64", "unseen": "bool"})


def _other_picture(pool: list[tuple[str, str]], picture: str, rng: random.Random) -> str | None:
    for _ in range(TRIES):
        image_id, shows = rng.choice(pool)
        if shows != picture:
            return image_id
    others = [image_id for image_id, shows in pool if shows != picture]
    return rng.choice(others) if others else None
