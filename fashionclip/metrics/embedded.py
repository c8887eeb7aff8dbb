"""What an evaluation pass hands to its measures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Embedded:
    """All that an evaluation pass has seen, unit norm.

    Attributes:
        image_row, image: (I,) rows of the manifest, ascending, and the (I, D) embeddings of their photos.
        text_id, text: (T,) texts, ascending, and their (T, D) embeddings; none where photos stand alone.
    """

    image_row: Tensor
    image: Tensor
    text_id: Tensor
    text: Tensor

    def of(self, chosen: Tensor, *, text_of_row: Tensor) -> Embedded:
        """Some photos (I,) bool with those texts that `text_of_row` (R,) gives them."""
        row = self.image_row[chosen]
        own = torch.isin(self.text_id, text_of_row.to(row.device)[row])
        return Embedded(row, self.image[chosen], self.text_id[own], self.text[own])
