"""The metrics of an evaluation pass, for a dataset and a relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import Relation
from fashionclip.manifest import ROLES, PreparedDataset, read_triplets
from fashionclip.metrics.judgement_metrics import JudgementMetrics
from fashionclip.metrics.ranking import Ranks
from fashionclip.metrics.retrieval_metrics import RetrievalMetrics
from fashionclip.metrics.sku_metrics import CatalogScores
from fashionclip.metrics.triplet_metrics import TripletScores

SLICED_BY = ("category", "occlusion", "viewpoint")  # query to SKU, where the manifest has them


def metrics_of(
    dataset: PreparedDataset,
    rows: ManifestTensors,
    relation: Relation,
    *,
    functions: Mapping[str, Callable[[Ranks], Tensor]],
    seen: Tensor | None = None,
) -> RetrievalMetrics:
    """Ranking metrics; those of triplets where the dataset has fixed some; those of SKUs where it has a catalogue.

    Args:
        dataset, rows: Of what is evaluated.
        relation: Says what photos are alike, and whether there are texts.
        functions: By name, see `configs/metrics`.
        seen: Rows of SKUs seen in training, from `rows_of_seen_skus`, to be measured apart from all others.
    """
    also: list[CatalogScores | TripletScores] = []
    of_seen: list[CatalogScores] = []
    codes: dict[str, Any] = {
        "item_id": rows.item_id,
        "text_id": torch.where(rows.worded, rows.text_id, -1),
        "text_key": torch.where(rows.worded, rows.text_key[rows.text_id], -1),
        "group_id": torch.from_numpy(pd.factorize(dataset.manifest["group_id"])[0].astype("int64")),
    }
    domain = dataset.manifest["domain"]
    if {"query", "catalog"} <= set(domain):
        scores = partial(
            CatalogScores,
            **codes,
            is_query=torch.from_numpy((domain == "query").to_numpy("bool").copy()),
            functions=functions,
        )
        slices = {c: dataset.manifest[c].astype(str).tolist() for c in SLICED_BY if c in dataset.manifest}
        also.append(scores(slices=slices))
        of_seen.append(scores(slices={}, suffix="_seen"))
    fixed = read_triplets(dataset)
    if fixed is not None:
        also.append(
            TripletScores(
                rows=torch.from_numpy(fixed[list(ROLES)].to_numpy("int64").copy()),
                semipos_distance=torch.from_numpy(fixed["semipos_distance"].to_numpy("float32").copy()),
                kind=(fixed["overlay"] + "/" + fixed["edit"]).tolist(),
                unseen=torch.tensor(fixed["unseen"].tolist()) if "unseen" in fixed else None,
            )
        )
    return RetrievalMetrics(
        **codes,
        photo_id=rows.photo_id,
        functions=functions,
        alike=relation.alike(rows),
        texts=relation.uses_text,
        also=also,
        apart=seen,
        of_apart=of_seen,
    )


def judgement_metrics_of(rows: ManifestTensors) -> JudgementMetrics | None:
    """Those of a dataset's judgements; None where it was read without."""
    judgements = rows.judgements
    if judgements is None:
        return None
    return JudgementMetrics(
        kind=judgements.kind,
        kinds=judgements.kinds,
        photo=rows.photo_id[judgements.image_row],
        text_only=judgements.text_only,
    )
