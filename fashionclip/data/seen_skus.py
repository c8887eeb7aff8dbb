"""SKUs that training has seen, to be searched beside those of the test split, which it has not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fashionclip.manifest import stable_hash


def rows_of_seen_skus(manifest: pd.DataFrame) -> Tensor:
    """Rows of the train split whose queries are searched for among the catalogue of these rows.

    The fair comparison is a search as hard as that of the test split. Against the whole catalogue of training, often
    ten times as large, seen SKUs would score lower for that alone. So as many SKUs are taken as the test split's
    catalogue has, and no more photos than the test split has; and groups are taken whole (but for the last one), since
    a SKU is mistaken for other styles of its pair most. Which ones depends on the names of the groups only.

    Returns:
        (N,) row numbers, ascending; none where a manifest lacks queries or a catalogue.
    """
    if not {"query", "catalog"} <= set(manifest["domain"]):
        return torch.empty(0, dtype=torch.long)
    test = manifest[manifest["split"] == "test"]
    train = manifest.loc[manifest["split"] == "train", ["item_id", "group_id", "domain"]].reset_index(names="row")
    place = {group: stable_hash(f"seen/{group}") for group in train["group_id"].unique()}
    train["place"] = train["group_id"].map(place)
    train["shown"] = train["domain"] == "catalog"
    skus = train.groupby(["place", "item_id"], sort=True).agg(photos=("row", "size"), shown=("shown", "any"))
    most = test.loc[test["domain"] == "catalog", "item_id"].nunique()
    chosen = skus[(skus["shown"].cumsum() <= most) & (skus["photos"].cumsum() <= len(test))]
    rows = train.loc[train["item_id"].isin(chosen.index.get_level_values("item_id")), "row"]
    return torch.from_numpy(rows.to_numpy(np.int64).copy())
