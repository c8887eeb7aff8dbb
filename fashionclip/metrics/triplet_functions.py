"""How well embeddings order triplets with semi-positives. Pure functions of distances from the anchor.

Distances within `TIE` of each other are a tie, and ties count against the model: a collapsed one scores 0. Whatever is
not a finite number is a `ValueError`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashionclip.metrics.ranking import TIE, check_finite


def triplet_accuracy(ap: Tensor, an: Tensor) -> Tensor:
    """Share of N triplets with the positive nearer than the negative, in [0, 1]; nan without any.

    Args:
        ap, an: (N,) distances of the anchor to positive and negative.

    >>> triplet_accuracy(torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.8, 0.5, 0.1]))
    tensor(0.3333)
    """
    return _nearer(ap, an).float().mean()


def order_accuracy(ap: Tensor, aq: Tensor, an: Tensor) -> Tensor:
    """Share of N triplets with the positive nearer than the semi-positive nearer than the negative, in [0, 1].

    Where negatives are far, chance is 0.5; nan without any triplet.

    Args:
        ap, aq, an: (N,) distances of the anchor to positive, semi-positive and negative.

    >>> order_accuracy(torch.tensor([0.2, 0.4]), torch.tensor([0.3, 0.3]), torch.tensor([0.8, 0.8]))
    tensor(0.5000)
    """
    return (_nearer(ap, aq) & _nearer(aq, an)).float().mean()


def order_curve(ap: Tensor, aq: Tensor, semipos_distance: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Share of triplets with the positive nearer than the semi-positive, by how far the semi-positive's content is.

    Args:
        ap, aq: (N,) distances of the anchor to positive and semi-positive.
        semipos_distance: (N,) in [0, 1].
        edges: (K + 1,) ascending; bin k holds edges[k] < semipos_distance <= edges[k + 1].

    Returns:
        (K,) shares in [0, 1], nan in an empty bin, and (K,) long, how many triplets each bin holds.

    >>> ap, aq, s = torch.full((3,), 0.2), torch.tensor([0.1, 0.3, 0.3]), torch.tensor([0.1, 0.2, 0.9])
    >>> order_curve(ap, aq, s, torch.tensor([0.0, 0.5, 1.0]))
    (tensor([0.5000, 1.0000]), tensor([2, 1]))
    """
    place = torch.bucketize(semipos_distance, edges)  # (N,), k + 1 in bin k, 0 and K + 1 outside
    count, right = (p.bincount(minlength=len(edges) + 1)[1:-1] for p in (place, place[_nearer(ap, aq)]))
    return right / count, count


def spread(embeddings: Tensor) -> Tensor:
    """Mean of 1 - cosine over all pairs of N embeddings, in [0, 2]; nan below two.

    0 of a collapsed model, 1 where the pairs are orthogonal on average. Of unit vectors this is their total variance,
    so it needs no N x N memory.

    Args:
        embeddings: (N, D) unit norm.

    >>> spread(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))  # two of the three pairs are orthogonal
    tensor(0.6667)
    """
    check_finite(embeddings=embeddings)
    centred = embeddings.float() - embeddings.float().mean(0)
    return centred.square().sum() / max(len(embeddings) - 1, 0)  # 0 / 0 is nan


def _nearer(one: Tensor, other: Tensor) -> Tensor:
    check_finite(nearer=one, farther=other)
    return one.float() + TIE < other.float()
