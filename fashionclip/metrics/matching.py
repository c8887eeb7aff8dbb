"""How well each photo fits its own text, beside how well it is ranked. Pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_score(image: Tensor, text: Tensor) -> Tensor:
    """Mean over N pairs of 100 max(cosine, 0), in [0, 100].

    Args:
        image, text: (N, D) unit norm, row i of one belongs to row i of the other.

    Source: Hessel et al. 2021, "CLIPScore", equation 1, with the factor 100 in which it is usually quoted.

    >>> clip_score(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.6, 0.8], [-1.0, 0.0]]))
    tensor(30.0000)
    """
    return 100 * (image.float() * text.float()).sum(1).clamp(min=0).mean()


def matching_accuracy(image: Tensor, text: Tensor, item_id: Tensor, text_id: Tensor, *, batch: int = 32) -> Tensor:
    """Share of photos whose right text scores above every wrong one among a batch's texts, in [0, 1].

    Batches are consecutive runs of `batch` pairs (the last may be shorter); texts of the same item, or equal texts,
    are right; ties count against the model. It depends on the batch size: compare only figures of the same one.

    Args:
        image, text: (N, D) unit norm, row i of one belongs to row i of the other.
        item_id, text_id: (N,) codes.

    >>> image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> matching_accuracy(image, image.flip(0), torch.arange(2), torch.arange(2), batch=2)
    tensor(0.)
    """
    hits = []
    for x, y, item, caption in zip(*(part.split(batch) for part in (image, text, item_id, text_id)), strict=True):
        scores = x.float() @ y.float().T  # (B, B)
        right = (item[:, None] == item[None]) | (caption[:, None] == caption[None])
        best_wrong = scores.masked_fill(right, -torch.inf).amax(1)
        hits.append(scores.masked_fill(~right, -torch.inf).amax(1) > best_wrong)
    return torch.cat(hits).float().mean()
