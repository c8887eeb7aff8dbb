"""What a checkpoint may name: the relations and content distances of fashionclip, by names that outlive their paths."""

from __future__ import annotations

from typing import Any

from fashionclip.data.content_distance import AttributeDistance, EditDistance
from fashionclip.data.judgements import JudgementRelation
from fashionclip.data.mixed import MixedRelation
from fashionclip.data.relations import IdentityRelation, PairRelation

RELATIONS: dict[str, Any] = {
    "pairs": PairRelation,
    "identities": IdentityRelation,
    "judgements": JudgementRelation,
    "mixed": MixedRelation,
}
DISTANCES: dict[str, Any] = {"attributes": AttributeDistance, "edits": EditDistance}
