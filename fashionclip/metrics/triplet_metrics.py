"""Measures of triplets that a dataset has fixed, from the embeddings of an evaluation pass.

Distances within `TIE` of each other are a tie, and ties count against the model: a collapsed one scores 0. Numbers that
are not finite are a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fashionclip.metrics.ranking import TIE, check_finite
from fashionclip.metrics.retrieval_metrics import Embedded

EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # edges of the semi-positive's distance, between which order is measured
SHOWN = 8


def triplet_accuracy(ap: Tensor, an: Tensor) -> Tensor:
    """Share of N triplets with the positive nearer than the negative, in [0, 1]; nan without any.

    Args:
        ap: (N,) distances from anchor to positive.
        an: (N,) distances from anchor to negative.

    >>> triplet_accuracy(torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.8, 0.5, 0.1]))
    tensor(0.3333)
    """
    return _nearer(ap, an).float().mean()


def order_accuracy(ap: Tensor, aq: Tensor, an: Tensor) -> Tensor:
    """Share of N triplets with the positive nearer than the semi-positive nearer than the negative, in [0, 1].

    Chance is 0.5 where negatives are far; the value is nan without triplets.

    Args:
        ap: (N,) distances from anchor to positive.
        aq: (N,) distances from anchor to semi-positive.
        an: (N,) distances from anchor to negative.

    >>> order_accuracy(torch.tensor([0.2, 0.4]), torch.tensor([0.3, 0.3]), torch.tensor([0.8, 0.8]))
    tensor(0.5000)
    """
    return (_nearer(ap, aq) & _nearer(aq, an)).float().mean()


@dataclass(frozen=True)
class Shown:
    """Triplets to look at: their (E, 4) manifest rows, and the (E, 3) distances from the anchor to the others."""

    rows: Tensor
    distance: Tensor


class TripletScores:
    """Measures N triplets with semi-positives; those with a photo that the pass has not seen are left out.

    Args:
        rows: (N, 4) manifest rows of anchor, positive, semi-positive and negative.
        semipos_distance: (N,) distances of the semi-positives, in [0, 1], as the dataset gives them.
        kind: Kinds (N,) of the semi-positives, such as "text/replaced": the overlay, and how its content was changed.
        unseen: (N,) bool, whether the texts or logos on its photos never occur in train; None: unknown.

    Attributes:
        shown: Examples of the last call.
    """

    shown: Shown

    def __init__(
        self, *, rows: Tensor, semipos_distance: Tensor, kind: Sequence[str], unseen: Tensor | None = None
    ) -> None:
        self.rows, self.semipos_distance = rows, semipos_distance
        overlay = [name.partition("/")[0] for name in kind]
        self.kind, self.overlay = _masks(kind), _masks(overlay)
        self.content = {} if unseen is None or not unseen.any() else {"seen": ~unseen, "unseen": unseen}

    def __call__(self, embedded: Embedded) -> dict[str, Tensor]:
        """Scores by name."""
        row, image = embedded.image_row, embedded.image
        rows = self.rows.to(row.device)
        place = torch.searchsorted(row, rows).clamp(max=len(row) - 1)  # (N, 4)
        seen = (row[place] == rows).all(1)
        anchor, *others = (image[place[seen, role]] for role in range(4))
        ap, aq, an = ((anchor - other).norm(dim=1) for other in others)  # (M,) each
        some = torch.linspace(0, len(ap) - 1, min(SHOWN, len(ap)), device=row.device).long()
        self.shown = Shown(rows[seen][some].cpu(), torch.stack([ap, aq, an], dim=1)[some].cpu())
        values = {"triplet/accuracy": triplet_accuracy(ap, an), "triplet/order_accuracy": order_accuracy(ap, aq, an)}
        for name, all_of_kind in self.kind.items():
            chosen = all_of_kind.to(row.device)[seen]
            values[f"triplet/order_accuracy/{name}"] = order_accuracy(ap[chosen], aq[chosen], an[chosen])
            for content, all_of_content in self.content.items():
                part = chosen & all_of_content.to(row.device)[seen]
                values[f"triplet/order_accuracy/{name}/{content}"] = order_accuracy(ap[part], aq[part], an[part])
        for name, all_of_overlay in self.overlay.items():
            chosen = all_of_overlay.to(row.device)[seen]
            values |= {
                f"triplet/order_accuracy/{name}/{low:g}-{high:g}": order_accuracy(ap[part], aq[part], an[part])
                for low, high in pairwise(EDGES)
                if (part := chosen & self._within(low, high, seen)).any()
            }
        for name, distance in ("positive", ap), ("semipositive", aq), ("negative", an):
            values[f"triplet/distance_{name}"] = distance.mean()
        return values

    def _within(self, low: float, high: float, seen: Tensor) -> Tensor:
        distance = self.semipos_distance.to(seen.device)[seen]
        return (distance > low) & (distance <= high)


def _masks(names: Sequence[str]) -> dict[str, Tensor]:
    return {name: torch.tensor([other == name for other in names]) for name in sorted(set(names))}


def _nearer(one: Tensor, other: Tensor) -> Tensor:
    check_finite(nearer=one, farther=other)
    return one.float() + TIE < other.float()
