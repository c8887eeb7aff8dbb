"""Which of a batch's triplets count."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fashionclip import distributed
from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss

MININGS = ("given", "all", "batch-hard", "semi-hard")


class MinedTripletLoss(nn.Module):
    """A triplet loss over the triplets that were drawn, or over all that the batch's identities allow.

    To an anchor, an image of the same item but another view is a positive, one of the same group but another item a
    semi-positive, and one of another item and group a negative. The loss is a sum of terms, each of which wants
    something near and something far:

    - `ordered`: positives before semi-positives, and semi-positives before negatives.
    - `edit`: positives and semi-positives, both as positives of their own content distance, before negatives.

    A term is the mean of the loss's hinges over

    - `given`: the triplets as drawn; in the edit form each makes two, with its positive and with its semi-positive.
    - `all`: all (anchor, near, far).
    - `batch-hard`: for each anchor, the one (near, far) with the largest hinge. That is the farthest near and the
      nearest far, but for the content distances: a semi-positive is hard where its distance is wrong for its content.
      Source: Hermans et al. 2017, "In Defense of the Triplet Loss for Person Re-Identification", equation 5.
    - `semi-hard`: for each (anchor, near), the far with the largest hinge among those farther than near and still
      within the margin. Where there is none, the far with the largest hinge of all: often there is but one
      semi-positive, and as long as it is nearer than the positive, something must say so.
      Source: Schroff et al. 2015, "FaceNet", equation 4; it leaves open what to do where there is none.

    An anchor without a near or a far for a term has no part in that term, and a term that nobody takes part in is 0,
    with a graph: other processes wait for this one's gradient. The images of all processes are mined; each process
    takes its `distributed.share` of them as anchors. With `loss.swap`
    a negative's distance is the smaller of that from the anchor and that from the near one; in `given`, as the loss
    has it.

    Args:
        loss: With reduction `mean`.
        mining: Which triplets.
    """

    def __init__(
        self,
        *,
        loss: TripletSemiPosMarginWithDistanceLoss,
        mining: Literal["given", "all", "batch-hard", "semi-hard"] = "given",
    ) -> None:
        super().__init__()
        if mining not in MININGS:
            raise ValueError(f"loss.mining: got {mining!r}, expected one of {MININGS}.")
        if loss.reduction != "mean":
            raise ValueError(f"loss.reduction: got {loss.reduction!r}, expected 'mean'.")
        self.loss = loss
        self.mining = mining

    def forward(
        self,
        *,
        image: Tensor,
        anchor: Tensor,
        positive: Tensor,
        semipositive: Tensor,
        negative: Tensor,
        semipos_distance: Tensor,
        item_id: Tensor,
        group_id: Tensor,
        view_id: Tensor,
        content_distance: Tensor,
    ) -> Tensor:
        """Loss of a batch of I images, those of all processes.

        Args:
            image: (I, D) unit norm, any float type; computed in float32.
            anchor, positive, semipositive, negative: (N,) positions among the images, the triplets as drawn.
            semipos_distance: (N,) in [0, 1], of their semi-positives.
            item_id, group_id, view_id: (I,) codes.
            content_distance: (I, I) in [0, 1]; read only between images of one group.

        Returns:
            Scalar; its mean over processes is the loss.
        """
        image = image.to(torch.promote_types(image.dtype, torch.float32))  # where the gradients of its uses add up too
        if self.mining == "given":
            if len(anchor) == 0:
                return 0 * image.sum()
            a, p, q, n = (image[index] for index in (anchor, positive, semipositive, negative))  # (N, D) each
            if self.loss.form == "edit":
                return (self.loss(a, p, n) + self.loss(a, q, n, semipos_distance=semipos_distance)) / 2
            return self.loss(a, p, n, q, semipos_distance)
        distance = self.loss.matrix(image)  # (I, I)
        same_item = item_id[:, None] == item_id[None]
        same_group = group_id[:, None] == group_id[None]
        positives = same_item & (view_id[:, None] != view_id[None])
        semipositives = same_group & ~same_item
        negatives = ~same_group & ~same_item
        content = content_distance.to(distance.dtype).masked_fill(same_item, 0).masked_fill(negatives, 1)
        if self.loss.form == "edit":
            return self._mined(distance, content, positives | semipositives, negatives, swap=self.loss.swap)
        content = torch.where(semipositives, self.loss.semipos_share * content, content)
        before_semipositives = self._mined(distance, content, positives, semipositives, swap=False)
        return before_semipositives + self._mined(distance, content, semipositives, negatives, swap=self.loss.swap)

    def _mined(self, distance: Tensor, content: Tensor, near: Tensor, far: Tensor, *, swap: bool) -> Tensor:
        """One term, of (I, I) masks of what belongs near and far; in memory for (anchor, near) pairs x I numbers."""
        own = distributed.share(len(distance))
        anchor, pair = (near & far.any(1, keepdim=True))[own].nonzero(as_tuple=True)  # (P,) each
        anchor = anchor + own.start
        far = far[anchor]  # (P, I)
        near_distance, far_distance = distance[anchor, pair, None], distance[anchor]  # (P, 1), (P, I)
        if swap:
            far_distance = torch.minimum(far_distance, distance[pair])
        hinge = self.loss.hinge(
            near_distance, far_distance, near_content=content[anchor, pair, None], far_content=content[anchor]
        )  # (P, I)
        if self.mining == "all":
            return _mean(hinge[far])
        hardest = _largest(hinge, far)  # (P,)
        if self.mining == "batch-hard":
            of_anchor = hardest.new_zeros(len(distance)).scatter_reduce(0, anchor, hardest, "amax")  # (I,)
            return _mean(of_anchor[anchor.unique()])
        semi_hard = far & (far_distance > near_distance) & (hinge > 0)
        return _mean(torch.where(semi_hard.any(1), _largest(hinge, semi_hard), hardest))


def _largest(hinge: Tensor, among: Tensor) -> Tensor:
    """Largest of each row (P, I) -> (P,); 0 where there is none."""
    return hinge.masked_fill(~among, 0).amax(1)


def _mean(hinges: Tensor) -> Tensor:
    """What this process contributes to the mean over the hinges of all: its mean over processes is that mean."""
    count = distributed.summed(hinges.new_tensor(float(len(hinges))))
    return hinges.sum() * distributed.world_size() / count.clamp(min=1)
