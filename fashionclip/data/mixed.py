"""Several relations among the same photos and texts, each for a loss of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import Sampler

from fashionclip.batch import Judgements, Mixed, Pairs
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import BatchPlan, BatchPlanner, Relation, without_twins


class MixedRelation:
    """All that its parts relate, over photos and texts that are encoded once for all of them.

    Args:
        parts: Relations, by the name of their loss.
        sampler: Name of the part whose order of rows training takes.

    Raises:
        ValueError: There is no part of that name.
    """

    name: str = "mixed"

    def __init__(self, *, parts: Mapping[str, Relation], sampler: str) -> None:
        if sampler not in parts:
            raise ValueError(f"loss.relation.sampler: got {sampler!r}, expected one of {sorted(parts)}.")
        self.parts = dict(parts)
        self.leading = parts[sampler]
        self.columns = tuple(dict.fromkeys(column for part in parts.values() for column in part.columns))
        self.fields = tuple(dict.fromkeys(field for part in parts.values() for field in part.fields))
        self.uses_text = any(part.uses_text for part in parts.values())
        self.uses_judgements = any(part.uses_judgements for part in parts.values())

    def alike(self, rows: ManifestTensors) -> list[Tensor]:
        return self.leading.alike(rows)

    def sampler(self, rows: ManifestTensors, chosen: Tensor, *, seed: int) -> Sampler[int]:
        return self.leading.sampler(rows, chosen, seed=seed)

    def evaluated(self) -> BatchPlanner:
        """As of the part that needs most: judgements, else texts, else photos alone."""
        return max(self.parts.values(), key=lambda part: (part.uses_judgements, part.uses_text)).evaluated()

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        chosen = without_twins(rows, chosen)  # for all parts alike, so that they speak of the same photos
        plans = {name: part.plan(rows, chosen, draws=draws) for name, part in self.parts.items()}
        # Each begins with the distinct rows in order; one that loads some twice has these behind.
        image_row = max((one.image_row for one in plans.values()), key=len)
        text_id = torch.unique(torch.cat([one.text_id for one in plans.values()]))
        parts = {}
        for name, one in plans.items():
            relation = one.relation
            assert relation is not None and not isinstance(relation, Mixed), "a part relates something by itself"
            if isinstance(relation, Pairs | Judgements):
                text_index = torch.searchsorted(text_id, one.text_id[relation.text_index])
                relation = replace(relation, text_index=text_index)
            parts[name] = relation
        return BatchPlan(image_row=image_row, text_id=text_id, relation=Mixed(parts))
