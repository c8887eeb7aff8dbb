"""Triplet loss with semi-positives: photos that share something with the anchor, but not everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DISTANCES = ("euclidean", "squared", "cosine")
REDUCTIONS = ("mean", "sum", "none")
FORMS = ("ordered", "edit")


class TripletSemiPosMarginWithDistanceLoss(nn.Module):
    """Keeps the positive p nearer to its anchor a than the semi-positive q, and that nearer than the negative n.

    With m = `margin`, s in [0, 1] the distance between the contents of anchor and semi-positive, and h =
    `semipos_share`:

    - `ordered`: max(d(a,p) - d(a,q) + m h s, 0) + max(d(a,q) - d(a,n) + m (1 - h s), 0). Together the hinges ask for
      d(a,n) - d(a,p) >= m, as without a semi-positive, and h s says where in between q belongs. With h = 1 a
      semi-positive whose content is another altogether may lie as far as a negative, though it still shares the
      group: of replaced pairs of logos 31 % then lay beyond the negative or before the positive, with h = 0.5 9 %
      (benchmarks/RESULTS.md).
    - `edit`: max(d(a,p) + s - d(a,n) + m, 0), where s belongs to p, in whose place a semi-positive may stand. The
      formula that this loss is named after. Mind its sign: of a positive that is LESS similar it demands a LARGER gap
      to the negative. Nothing in it tells a semi-positive from a positive. With s = 0 it is the plain triplet loss.

    Usable on its own, like `torch.nn.TripletMarginWithDistanceLoss`.

    Source: `swap` is Balntas et al. 2016, "Learning local feature descriptors with triplets and shallow convolutional
    neural networks", section 3.3 ("in-triplet hard negative mining with anchor swap").

    Args:
        distance_function: `euclidean`, `squared` (its square), `cosine` (1 - cos, in [0, 2]), or a function from two
            (B, D) tensors to (B,) distances.
        margin: Gap, in units of the distance, above 0.
        swap: Whether the negative's distance is the smallest of d(a,n), d(p,n) and, in the ordered form, d(q,n).
        reduction: Name of what is made of the triplets' losses; `none` leaves one for each triplet.
        form: Formula, one of the two above.
        semipos_share: Share of the margin, in (0, 1], that lies between positives and the least similar semi-positives;
            the rest lies between these and negatives. For `ordered`, default 0.5.

    Raises:
        ValueError: A value is out of range, or given for a form that does not read it.
    """

    def __init__(
        self,
        *,
        distance_function: Literal["euclidean", "squared", "cosine"] | Callable[[Tensor, Tensor], Tensor] = "euclidean",
        margin: float = 1.0,
        swap: bool = False,
        reduction: Literal["mean", "sum", "none"] = "mean",
        form: Literal["ordered", "edit"] = "ordered",
        semipos_share: float | None = None,
    ) -> None:
        super().__init__()
        if not callable(distance_function) and distance_function not in DISTANCES:
            raise ValueError(
                f"distance_function: got {distance_function!r}, expected one of {DISTANCES} or a function."
            )
        if margin <= 0:
            raise ValueError(f"margin: got {margin}, expected more than 0; without a gap, one point for all is best.")
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction: got {reduction!r}, expected one of {REDUCTIONS}.")
        if form not in FORMS:
            raise ValueError(f"form: got {form!r}, expected one of {FORMS}.")
        if semipos_share is not None and form == "edit":
            raise ValueError(f"semipos_share: got {semipos_share}, which form='edit' does not read. Leave it out.")
        share = 0.5 if semipos_share is None else semipos_share
        if not 0 < share <= 1:
            raise ValueError(f"semipos_share: got {share}, expected a share in (0, 1].")
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap
        self.reduction = reduction
        self.form = form
        self.semipos_share = share

    def forward(
        self,
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        semipos_distance: Tensor | None = None,
        semipositive: Tensor | None = None,
    ) -> Tensor:
        """Loss of B triplets; in the edit form it is called as `criterion(anchor, positive, negative, semipos)`.

        Args:
            anchor, positive, negative: Embeddings (B, D) of any float type; computed in float32, or in float64 if they
                are.
            semipos_distance: Distances (B,) in [0, 1] of the contents of anchor and semi-positive; in the edit form, of
                anchor and positive, default 0.
            semipositive: Embeddings (B, D), for the ordered form only.

        Returns:
            Scalar, or (B,) with reduction `none`.

        Raises:
            ValueError: Semi-positive or its distance missing, superfluous, or of another shape.
        """
        ap, an = self.distance(anchor, positive), self.distance(anchor, negative)
        aq = None if semipositive is None else self.distance(anchor, semipositive)
        if self.swap:
            an = torch.minimum(an, self.distance(positive, negative))
            if semipositive is not None:
                an = torch.minimum(an, self.distance(semipositive, negative))
        loss = self.from_distances(ap, an, aq, semipos_distance)
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()

    def from_distances(
        self, ap: Tensor, an: Tensor, aq: Tensor | None = None, semipos_distance: Tensor | None = None
    ) -> Tensor:
        """Loss (B,) of each triplet, from the (B,) distances of anchor to positive, negative and semi-positive."""
        if semipos_distance is not None and semipos_distance.shape != ap.shape:
            raise ValueError(f"semipos_distance: got {tuple(semipos_distance.shape)}, expected {tuple(ap.shape)}.")
        s = None if semipos_distance is None else semipos_distance.to(ap.dtype)  # in bfloat16, 1 - s loses digits
        if self.form == "edit":
            if aq is not None:
                raise ValueError(
                    "semipositive: form='edit' takes none. Pass it in the positive's place, with its semipos_distance."
                )
            return self.hinge(ap, an, near_content=0.0 if s is None else s)
        if aq is None or s is None:
            raise ValueError(
                "semipositive, semipos_distance: form='ordered' needs both. Where semi-positives stand in the "
                "positives' place, as in criterion(anchor, positive, negative, semipos), use form='edit'."
            )
        s = self.semipos_share * s
        return self.hinge(ap, aq, far_content=s) + self.hinge(aq, an, near_content=s)

    def hinge(
        self, near: Tensor, far: Tensor, *, near_content: Tensor | float = 0.0, far_content: Tensor | float = 1.0
    ) -> Tensor:
        """What is missing of the gap between two distances from an anchor; shapes broadcast.

        Args:
            near, far: Distances of what belongs nearer and of what belongs farther.
            near_content, far_content: Distance of their content from the anchor's: 0 of a positive, 1 of a negative,
                of a semi-positive its own, times `semipos_share` in the ordered form.
        """
        if self.form == "edit":
            return (near - far + self.margin + near_content).relu()
        return (near - far + self.margin * (far_content - near_content)).relu()

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances (B,) between the rows of two (B, D) tensors."""
        with torch.autocast(x.device.type, enabled=False):
            x, y = self._prepared(x), self._prepared(y)
            if callable(self.distance_function):
                return self.distance_function(x, y)
            return self._of_euclidean(torch.linalg.vector_norm(x - y, dim=1))  # at x = y its gradient is 0, not NaN

    def matrix(self, x: Tensor) -> Tensor:
        """Distances (I, I) among the rows of an (I, D) tensor; with a function of your own in I x I x D memory."""
        if callable(self.distance_function):
            # Without the diagonal, which nobody asks for: its gradient may be NaN, and 0 x NaN is NaN.
            i, j = (~torch.eye(len(x), dtype=torch.bool, device=x.device)).nonzero(as_tuple=True)
            distances = self.distance(x[i], x[j])
            return distances.new_zeros(len(x), len(x)).index_put((i, j), distances)
        with torch.autocast(x.device.type, enabled=False):
            x = self._prepared(x)
            # By differences: from inner products, float32 knows a small distance only to 5e-4, TF32 to 0.03.
            return self._of_euclidean(torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"))

    def _prepared(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.normalize(x, dim=1) if self.distance_function == "cosine" else x

    def _of_euclidean(self, distance: Tensor) -> Tensor:
        if self.distance_function == "euclidean":
            return distance
        return distance.square() / (2 if self.distance_function == "cosine" else 1)  # |x - y|^2 = 2 - 2 cos
