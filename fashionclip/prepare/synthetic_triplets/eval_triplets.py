"""Triplets with semi-positives, drawn from the rows of a synthetic dataset."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pandas as pd

TRIPLET_COLUMNS = ("anchor", "positive", "semipositive", "negative", "semipos_distance", "edit", "overlay", "unseen")
TRIES = 20  # at random, before all rows are looked through for a negative


def draw_triplets(manifest: pd.DataFrame, *, per_anchor: int, seed: int) -> pd.DataFrame:
    """Draws triplets for every anchor that has a positive, a semi-positive and a negative.

    The semi-positives of a family take turns; the negative is any variant with the same kind of overlay, in the same
    split, of a base photo that shows another picture.

    Args:
        manifest: Rows of any splits.
        per_anchor: Number of triplets of each anchor.
        seed: Seed of the draw; for an anchor it counts with its id and the rows that it may draw, nothing else.

    Returns:
        Table of `TRIPLET_COLUMNS`: ids of images, then the semi-positive's distance, how it was made, the kind of
        overlay, and whether train never shows the captions or logos of anchor, positive and semi-positive.
    """
    families: dict[tuple[Any, ...], dict[str, list[Any]]] = {}
    pools: dict[tuple[str, str], list[Any]] = defaultdict(list)  # by split and overlay
    for row in manifest.itertuples(index=False):
        family = families.setdefault((row.base_id, row.overlay, row.caption, row.split, row.unseen), defaultdict(list))
        family[str(row.kind)].append(row)
        pools[str(row.split), str(row.overlay)].append(row)
    rows = []
    for (_, overlay, _, split, unseen), family in families.items():
        positives, semipositives = family["positive"], family["semipositive"]
        if not (family["anchor"] and positives and semipositives):
            continue
        anchor = family["anchor"][0]
        rng = random.Random(f"{seed}/triplets/{anchor.image_id}")
        for turn in range(per_anchor):
            negative = _other_picture(pools[split, overlay], anchor.picture_id, rng)
            if negative:
                far = semipositives[turn % len(semipositives)]
                ids = (anchor.image_id, rng.choice(positives).image_id, far.image_id, negative)
                rows.append((*ids, far.semipos_distance, far.edit, overlay, unseen))
    return pd.DataFrame(rows, columns=list(TRIPLET_COLUMNS)).astype({"semipos_distance": "float64", "unseen": "bool"})


def _other_picture(pool: list[Any], picture: str, rng: random.Random) -> str | None:
    for _ in range(TRIES):
        row = rng.choice(pool)
        if row.picture_id != picture:
            return str(row.image_id)
    others = [row.image_id for row in pool if row.picture_id != picture]
    return rng.choice(others) if others else None
