"""Measures beside ranking: how well photos fit their own texts, and how far embeddings lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fashionclip.metrics.ranking import TIE, check_finite, full_float32


def clip_score(image: Tensor, text: Tensor) -> Tensor:
    """100 max(cosine, 0) of each of N pairs: (N,) in [0, 100].

    Args:
        image: (N, D) embeddings of unit norm.
        text: (N, D) embeddings of unit norm; row i belongs to row i of `image`.

    Source: Hessel et al. 2021, "CLIPScore", equation 1, with the factor 100 in which it is usually quoted.

    >>> clip_score(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.6, 0.8], [-1.0, 0.0]]))
    tensor([60.0000,  0.0000])
    """
    check_finite(image=image, text=text)
    return 100 * (image.float() * text.float()).sum(1).clamp(min=0)


def matching_hits(image: Tensor, text: Tensor, keys: Sequence[Tensor], *, batch: int = 32) -> tuple[Tensor, Tensor]:
    """Whether each photo's right text scores above every wrong one in its batch; the share of hits is an accuracy.

    Batches are consecutive runs of `batch` pairs; the last may be shorter. Texts of pairs that agree in a key are
    right, and ties within `TIE` count against the model. Only figures of the same batch size can be compared.

    Args:
        image: (N, D) embeddings of unit norm.
        text: (N, D) embeddings of unit norm; row i belongs to row i of `image`.
        keys: Codes (N,), such as those of items and of texts.
        batch: Number of pairs in a batch.

    Returns:
        (N,) bool, whether it is a hit; (N,) bool, whether it counts, as there is a wrong text in its batch.

    Raises:
        ValueError: An embedding is not finite.

    >>> image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> matching_hits(image, image.flip(0), [torch.arange(2)], batch=2)
    (tensor([False, False]), tensor([True, True]))
    """
    check_finite(image=image, text=text)
    hits, told = [], []
    for x, y, *codes in zip(*(part.split(batch) for part in (image, text, *keys)), strict=True):
        with full_float32(image.device):
            scores = x.float() @ y.float().T  # (B, B)
        right = torch.stack([code[:, None] == code[None] for code in codes]).any(0)
        best_wrong = scores.masked_fill(right, -torch.inf).amax(1)
        hits.append(scores.masked_fill(~right, -torch.inf).amax(1) > best_wrong + TIE)
        told.append(~right.all(1))
    return torch.cat(hits), torch.cat(told)


def spread(embeddings: Tensor) -> Tensor:
    """Squared distance of each of N embeddings to their mean, times N / (N - 1): (N,), nan for fewer than two.

    The mean of it is that of 1 - cosine over all pairs, in [0, 2]: 0 for a collapsed model, 1 where pairs are
    orthogonal on average. For unit vectors it is their total variance, which needs no N x N memory.

    Args:
        embeddings: (N, D) embeddings of unit norm.

    >>> spread(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])).mean()  # two of the three pairs are orthogonal
    tensor(0.6667)
    """
    check_finite(embeddings=embeddings)
    centred = embeddings.float() - embeddings.float().mean(0)
    return centred.square().sum(1) * len(embeddings) / (len(embeddings) - 1 or torch.nan)
