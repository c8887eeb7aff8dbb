"""Measures of triplets that a dataset has fixed, from the embeddings of an evaluation pass.

Distances within `TIE` of each other are a tie, and ties count against the model: a collapsed one scores 0. Numbers that
are not finite are a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise

import torch
from torch import Tensor

from fashionclip.metrics.ranking import TIE, check_finite
from fashionclip.metrics.retrieval_metrics import Embedded
from fashionclip.metrics.samples import Found, Sample

EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # edges of the semi-positive's distance, between which order is measured
SHOWN = 8


def triplet_accuracy(ap: Tensor, an: Tensor) -> Tensor:
    """Whether each of N triplets has the positive nearer than the negative: (N,) of 0 or 1, whose mean is the accuracy.

    Args:
        ap: (N,) distances from anchor to positive.
        an: (N,) distances from anchor to negative.

    >>> triplet_accuracy(torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.8, 0.5, 0.1]))
    tensor([1., 0., 0.])
    """
    return _nearer(ap, an).float()


def order_accuracy(ap: Tensor, aq: Tensor, an: Tensor) -> Tensor:
    """Whether each of N triplets has the positive nearer than the semi-positive nearer than the negative: (N,).

    Chance is 0.5 where negatives are far.

    Args:
        ap: (N,) distances from anchor to positive.
        aq: (N,) distances from anchor to semi-positive.
        an: (N,) distances from anchor to negative.

    >>> order_accuracy(torch.tensor([0.2, 0.4]), torch.tensor([0.3, 0.3]), torch.tensor([0.8, 0.8]))
    tensor([1., 0.])
    """
    return (_nearer(ap, aq) & _nearer(aq, an)).float()


FUNCTIONS: dict[str, Callable[..., Tensor]] = {"accuracy": triplet_accuracy, "order_accuracy": order_accuracy}


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
        group_id: (R,) code of rows of the manifest that are not independent of each other; None: each triplet is.
        functions: Functions with one value a triplet, by name. They take what they name of `ap`, `aq` and `an`, the
            distances (N,) from the anchor to positive, semi-positive and negative.
        name: First part of the scores' names.

    Attributes:
        shown: Examples of the last call.
    """

    shown: Shown

    def __init__(
        self,
        *,
        rows: Tensor,
        semipos_distance: Tensor,
        kind: Sequence[str],
        unseen: Tensor | None = None,
        group_id: Tensor | None = None,
        functions: Mapping[str, Callable[..., Tensor]] = FUNCTIONS,
        name: str = "triplet",
    ) -> None:
        self.functions = {
            measure: (function, signature(function).parameters) for measure, function in functions.items()
        }
        self.rows, self.semipos_distance, self.name = rows, semipos_distance, name
        self.group = torch.arange(len(rows)) if group_id is None else group_id[rows[:, 0]]
        overlay = [name.partition("/")[0] for name in kind]
        self.kind, self.overlay = _masks(kind), _masks(overlay)
        self.content = {} if unseen is None or not unseen.any() else {"seen": ~unseen, "unseen": unseen}

    def __call__(self, embedded: Embedded) -> Found:
        """Samples of all triplets, of each kind, and of semi-positives by their distance."""
        row, image = embedded.image_row, embedded.image
        rows = self.rows.to(row.device)
        place = torch.searchsorted(row, rows).clamp(max=len(row) - 1)  # (N, 4)
        seen = (row[place] == rows).all(1)
        anchor, *others = (image[place[seen, role]] for role in range(4))
        ap, aq, an = ((anchor - other).norm(dim=1) for other in others)  # (M,) each
        some = torch.linspace(0, len(ap) - 1, min(SHOWN, len(ap)), device=row.device).long()
        self.shown = Shown(rows[seen][some].cpu(), torch.stack([ap, aq, an], dim=1)[some].cpu())
        distances = {"ap": ap, "aq": aq, "an": an}
        values = {
            measure: function(**{name: distance for name, distance in distances.items() if name in asked})
            for measure, (function, asked) in self.functions.items()
        }
        group, every = self.group.to(row.device)[seen], torch.ones_like(ap, dtype=torch.bool)

        def sample(name: str, values: Tensor, among: Tensor) -> Sample:
            return Sample("", {f"{self.name}/{name}": values[among]}, group[among], among.nonzero()[:, 0])

        samples = [sample(measure, value, every) for measure, value in values.items()]
        by_kind = {measure: value for measure, value in values.items() if "aq" in self.functions[measure][1]}
        for measure, value in by_kind.items():  # what looks at the semi-positive
            for name, all_of_kind in self.kind.items():
                chosen = all_of_kind.to(row.device)[seen]
                samples.append(sample(f"{measure}/{name}", value, chosen))
                samples += [
                    sample(f"{measure}/{name}/{content}", value, chosen & all_of_content.to(row.device)[seen])
                    for content, all_of_content in self.content.items()
                ]
            for name, all_of_overlay in self.overlay.items():
                chosen = all_of_overlay.to(row.device)[seen]
                samples += [
                    sample(f"{measure}/{name}/{low:g}-{high:g}", value, part)
                    for low, high in pairwise(EDGES)
                    if (part := chosen & self._within(low, high, seen)).any()
                ]
        apart = ("positive", ap), ("semipositive", aq), ("negative", an)
        samples += [sample(f"distance_{name}", distance, every) for name, distance in apart]
        return Found(samples, {})

    def _within(self, low: float, high: float, seen: Tensor) -> Tensor:
        distance = self.semipos_distance.to(seen.device)[seen]
        return (distance > low) & (distance <= high)


def _masks(names: Sequence[str]) -> dict[str, Tensor]:
    return {name: torch.tensor([other == name for other in names]) for name in sorted(set(names))}


def _nearer(one: Tensor, other: Tensor) -> Tensor:
    check_finite(nearer=one, farther=other)
    return one.float() + TIE < other.float()
