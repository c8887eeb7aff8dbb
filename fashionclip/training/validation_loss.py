"""The loss of training, on the photos and texts that a validation has embedded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from fashionclip.data.relations import BatchPlan
from fashionclip.metrics.gathered import first_of_each, gather_uneven, joined


class ValidationLoss(Metric):
    """Collects embeddings of an evaluation pass, over all processes, from which batches can be put together.

    Nothing is encoded for it. Photos are as evaluation sees them, without augmentation.
    """

    full_state_update = False
    image: list[Tensor]
    image_row: list[Tensor]
    text: list[Tensor]
    text_seen: list[Tensor]

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=gather_uneven)
        for state in ("image", "image_row", "text", "text_seen"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, image: Tensor, image_row: Tensor, text: Tensor, text_id: Tensor) -> None:
        """Adds (I, D) embeddings of (I,) manifest rows and (T, D) of (T,) texts."""
        self.image.append(image.detach().float())
        self.image_row.append(image_row)
        self.text.append(text.detach().float())
        self.text_seen.append(text_id)

    def compute(self) -> Callable[[BatchPlan], tuple[Tensor, Tensor] | None]:
        """A function from what a batch shall hold to embeddings of its photos and texts, or None where some lack."""
        row, of_row = first_of_each(joined(self.image_row, dtype=torch.long))
        seen, of_seen = first_of_each(joined(self.text_seen, dtype=torch.long))
        image, text = (joined(state, dtype=torch.float32) for state in (self.image, self.text))

        def embeddings(plan: BatchPlan) -> tuple[Tensor, Tensor] | None:
            photos, texts = plan.image_row.to(row.device), plan.text_id.to(row.device)
            if not (torch.isin(photos, row).all() and torch.isin(texts, seen).all()):
                return None
            said = text[of_seen[torch.searchsorted(seen, texts)]] if len(texts) else image[:0]
            return image[of_row[torch.searchsorted(row, photos)]], said

        return embeddings
