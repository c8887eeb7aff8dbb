"""Triplets with semi-positives, drawn from a dataset that has fixed none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from fashionclip.evaluation.embedded_split import EmbeddedSplit, TaskLeftOut
from fashionclip.manifest import text_key
from fashionclip.metrics.retrieval_metrics import Embedded
from fashionclip.metrics.samples import Found, Functions
from fashionclip.metrics.triplet_metrics import TripletScores

TRIES = 100  # draws of a negative


class SampledTriplets:
    """Draws triplets: the positive is another photo of the anchor's product, or of one with its name where products
    have one photo each; the semi-positive one of another product of its group; the negative one of another group.

    Args:
        group: Column of the groups, such as category.
        attributes: Columns in which a semi-positive may differ from the anchor; the share of those in which it does is
            its distance, by which order is measured apart. Those that the dataset lacks are passed over.
        count: Number of triplets; each anchor with a positive is drawn about as often as the others.
        seed: Seed of the draws.
    """

    def __init__(
        self, group: str = "category", *, attributes: Sequence[str] = (), count: int = 2000, seed: int = 0
    ) -> None:
        self.group, self.attributes, self.count, self.seed = group, list(attributes), count, seed

    def __call__(self, split: EmbeddedSplit, functions: Functions, name: str) -> Found:
        """Samples of the triplets, as of those that a dataset has fixed.

        Raises:
            TaskLeftOut: There is no column of groups, only one group, no product with two photos, or no other product.
        """
        group = pd.factorize(pd.Series(split.field(self.group), dtype=object))[0]
        double = split.double.cpu().numpy()
        item = _products(split.manifest, double)
        draws = np.random.default_rng(self.seed)
        by_item = pd.Series(np.arange(len(item))).groupby(item).indices
        by_group = pd.Series(np.arange(len(item))).groupby(group).indices
        anchors = np.flatnonzero(pd.Series(double).groupby(item).transform("nunique") > 1)
        if not len(anchors) or len(by_group) < 2:
            raise TaskLeftOut(f"no product has two photos, or {self.group} has one value only")
        rows = [
            triplet
            for anchor in np.resize(draws.permutation(anchors), self.count)
            if (triplet := _drawn(anchor, item, group, double, by_item, by_group, draws)) is not None
        ]
        if not rows:
            raise TaskLeftOut(f"no {self.group} has two products")
        places = torch.tensor(np.array(rows))
        columns = [split.field(column) for column in self.attributes if column in split.manifest]
        anchor, semipositive = places[:, 0].numpy(), places[:, 2].numpy()
        apart = [torch.from_numpy((column[anchor] != column[semipositive]).astype("float32")) for column in columns]
        distance = torch.stack(apart).mean(0) if apart else torch.full((len(rows),), 0.5)
        scores = TripletScores(
            rows=places,
            semipos_distance=distance,
            kind=["by distance"] * len(rows),
            group_id=split.group.cpu(),
            name=name,
        )
        every = torch.arange(len(item), device=split.image.device)
        samples = scores(Embedded(every, split.image, every[:0], split.image[:0])).samples
        return Found(samples, {f"{name}/triplets": torch.tensor(float(len(rows)))})


def _products(manifest: pd.DataFrame, double: np.ndarray) -> np.ndarray:
    """(I,) codes of products; of those with one name where no product has two photos."""
    item = pd.factorize(manifest["item_id"])[0]
    if pd.Series(double).groupby(item).nunique().max() > 1:
        return item
    names = [text_key(text) or f"\0{row}" for row, text in enumerate(manifest["text"])]
    return pd.factorize(pd.Series(names, dtype=object))[0]


def _drawn(
    anchor: int,
    item: np.ndarray,
    group: np.ndarray,
    double: np.ndarray,
    by_item: Mapping[int, np.ndarray],
    by_group: Mapping[int, np.ndarray],
    draws: np.random.Generator,
) -> list[int] | None:
    """A triplet of an anchor; None where its group has no other product, or other groups hardly any."""
    fellows = by_item[item[anchor]]
    own = double[fellows]  # photos that other products may show as well
    positives = fellows[own != double[anchor]]
    near = by_group[group[anchor]]
    near = near[(item[near] != item[anchor]) & ~np.isin(double[near], own)]
    if not len(near):
        return None
    for _ in range(TRIES):
        far = int(draws.integers(len(item)))
        if group[far] != group[anchor] and double[far] not in own:
            return [int(anchor), int(draws.choice(positives)), int(draws.choice(near)), far]
    return None
