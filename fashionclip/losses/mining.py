"""Which of a batch's triplets count."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fashionclip import distributed
from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss

MININGS = ("random", "all", "batch-hard", "semi-hard")


class MinedTripletLoss(nn.Module):
    """A triplet loss over some or all of the triplets that a batch's identities allow.

    Which images are an anchor's positives, semi-positives and negatives says `masks_of`. The loss is a sum of terms,
    each of which wants something near and something far:

    - `ordered`: positives before semi-positives, and semi-positives before negatives.
    - `edit`: positives and semi-positives, both as positives of their own content distance, before negatives.

    A term is the mean of the loss's hinges over

    - `random`: the triplets of `drawn`; in the edit form each makes two, with its positive and with its semi-positive.
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
    a negative's distance is the smaller of that from the anchor and that from the near one; in `random`, as the loss
    has it.

    Args:
        loss: Triplet loss, with reduction `mean`.
        mining: Name of the choice of triplets.
        per_anchor: Number of triplets drawn for each anchor; for `random`, default 1.

    Raises:
        ValueError: The mining is unknown, `per_anchor` is given for another one, or the loss is not a mean.
    """

    def __init__(
        self,
        *,
        loss: TripletSemiPosMarginWithDistanceLoss,
        mining: Literal["random", "all", "batch-hard", "semi-hard"] = "random",
        per_anchor: int | None = None,
    ) -> None:
        super().__init__()
        if mining not in MININGS:
            raise ValueError(f"loss.mining: got {mining!r}, expected one of {MININGS}.")
        if per_anchor is not None and mining != "random":
            raise ValueError(f"loss.per_anchor: got {per_anchor}, which mining={mining!r} does not read. Leave it out.")
        if loss.reduction != "mean":
            raise ValueError(f"loss.reduction: got {loss.reduction!r}, expected 'mean'.")
        self.loss = loss
        self.mining = mining
        self.per_anchor = 1 if per_anchor is None else per_anchor

    def forward(
        self,
        *,
        image: Tensor,
        item_id: Tensor,
        group_id: Tensor,
        view_id: Tensor,
        hard_id: Tensor,
        content_distance: Tensor,
        seed: int,
    ) -> Tensor:
        """Loss of a batch of I images, those of all processes.

        Args:
            image: Embeddings (I, D) of unit norm and any float type; computed in float32.
            item_id, group_id, view_id, hard_id: Codes (I,) as `masks_of` takes them.
            content_distance: Distances (I, I) in [0, 1]; read only between images of one group.
            seed: Seed of the triplets of `random`.

        Returns:
            Scalar; its mean over processes is the loss.
        """
        image = image.to(torch.promote_types(image.dtype, torch.float32))  # where the gradients of its uses add up too
        positives, semipositives, negatives = masks = masks_of(item_id, group_id, view_id, hard_id)
        if self.mining == "random":
            anchor, *others = drawn(*masks, per_anchor=self.per_anchor, seed=seed)
            if len(anchor) == 0:
                return 0 * image.sum()
            a, p, q, n = (image[index] for index in (anchor, *others))  # (N, D) each
            s = content_distance[anchor, others[1]]
            if self.loss.form == "edit":
                return (self.loss(a, p, n) + self.loss(a, q, n, semipos_distance=s)) / 2
            return self.loss(a, p, n, s, q)
        distance = self.loss.matrix(image)  # (I, I)
        share = self.loss.semipos_share if self.loss.form == "ordered" else 1
        content = torch.where(semipositives, share * content_distance.to(distance.dtype), negatives.to(distance.dtype))
        if self.loss.form == "edit":
            return self._mined(distance, content, positives | semipositives, negatives, swap=self.loss.swap)
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


def masks_of(item_id: Tensor, group_id: Tensor, view_id: Tensor, hard_id: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which images are an anchor's positives, semi-positives and negatives: (I, I) each, an anchor a row.

    A positive is an image of the same item but another view, a semi-positive one of the same group but another item,
    a negative one of another item and group; of negatives only those with the anchor's `hard_id`, where there are any.
    """
    same_item, same_group, alike = (code[:, None] == code[None] for code in (item_id, group_id, hard_id))
    negatives = ~same_group & ~same_item
    hard = negatives & alike
    negatives = torch.where(hard.any(1, keepdim=True), hard, negatives)
    return same_item & (view_id[:, None] != view_id[None]), same_group & ~same_item, negatives


def drawn(positives: Tensor, semipositives: Tensor, negatives: Tensor, *, per_anchor: int, seed: int) -> list[Tensor]:
    """Triplets by chance of each image that has all three: positions (N,) of anchors and of each one's three others.

    Drawn on the CPU, where a seed gives the same on every process and device.
    """
    device = positives.device
    anchor = (positives.any(1) & semipositives.any(1) & negatives.any(1)).nonzero()[:, 0].repeat_interleave(per_anchor)
    if len(anchor) == 0:
        return [anchor] * 4
    draws = torch.Generator().manual_seed(seed)
    masks = (mask[anchor].float().cpu() for mask in (positives, semipositives, negatives))
    return [anchor, *(torch.multinomial(mask, 1, generator=draws)[:, 0].to(device) for mask in masks)]


def _largest(hinge: Tensor, among: Tensor) -> Tensor:
    """Largest of each row (P, I) -> (P,); 0 where there is none."""
    return hinge.masked_fill(~among, 0).amax(1)


def _mean(hinges: Tensor) -> Tensor:
    """What this process contributes to the mean over the hinges of all: its mean over processes is that mean."""
    count = distributed.summed(hinges.new_tensor(float(len(hinges))))
    return hinges.sum() * distributed.world_size() / count.clamp(min=1)
