"""The loss of training, on the photos and texts that a validation has embedded: nothing is encoded for it."""

from __future__ import annotations

import torch
from torch import Tensor

from fashionclip.data.relations import BatchPlan
from fashionclip.metrics.retrieval_metrics import Embedded


def embeddings_of(plan: BatchPlan, seen: Embedded) -> tuple[Tensor, Tensor] | None:
    """The (I, D) and (T, D) embeddings of what a batch shall hold, T may be 0; None where some of it was not seen.

    Photos are as evaluation sees them, without augmentation.
    """
    photos, texts = plan.image_row.to(seen.image.device), plan.text_id.to(seen.image.device)
    if not (torch.isin(photos, seen.image_row).all() and torch.isin(texts, seen.text_id).all()):
        return None
    said = seen.text[torch.searchsorted(seen.text_id, texts)] if len(texts) else seen.image[:0]
    return seen.image[torch.searchsorted(seen.image_row, photos)], said
