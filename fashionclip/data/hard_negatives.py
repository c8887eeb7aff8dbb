"""Hard negatives: photos of other products that the model takes for what a text says, in a batch with that text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fashionclip.data.samplers import SeededSampler
from fashionclip.errors import InputError


class HardNegatives:
    """How the hard negatives of a training are found, and what was found last.

    Source: Moreira et al. 2024, "NV-Retriever: Improving text embedding models with effective hard-negative mining",
    TopK-MarginPos, for the margin; Thirukovalluru et al. 2025, "Breaking the Batch Barrier (B3) of Contrastive Learning
    via Smart Batch Mining", for batches of neighbours.

    Args:
        every: Number of epochs after which they are found anew, by the weights at that time; None: there are none.
        per_group: Number of rows that lie together in a batch: one, and its hard negatives.
        margin: Cosine by which a hard negative is less like a text than the text's own photo; what is nearer is
            suspected to be right as well, and left out. None: nothing is.
        differ_in: Columns of the manifest; products that agree in all of these are no negatives of each other. None:
            products may agree in all.

    Raises:
        InputError: There are none, and the other arguments are not their defaults.

    Attributes:
        epoch: Epoch at whose beginning they were found; -1 before.
        found: Positions (N, K) among the rows of training of the hard negatives of each row, hardest first, -1 where
            there are no more.
    """

    def __init__(
        self,
        *,
        every: int | None = None,
        per_group: int = 4,
        margin: float | None = 0.05,
        differ_in: list[str] | None = None,
    ) -> None:
        if every is None and (per_group, margin, differ_in or None) != (4, 0.05, None):
            raise InputError(
                f"loss.hard_negatives.every: null, so there are no hard negatives, and per_group={per_group}, "
                f"margin={margin}, differ_in={differ_in} change nothing. Give loss.hard_negatives.every=1, or leave "
                "these out."
            )
        self.every, self.per_group, self.margin, self.differ_in = every, per_group, margin, differ_in or []
        self.epoch, self.found = -1, torch.empty(0, 0, dtype=torch.int32)

    @property
    def candidates(self) -> int:
        """Number of hard negatives of a row: more than it needs, since other rows take some of them."""
        return 4 * self.per_group

    def near(self, epoch: int, *, find: Callable[[], Tensor]) -> Tensor:
        """Those of an epoch, for which `find` is asked where it is time."""
        assert self.every is not None, "there are none"
        if self.epoch < epoch - epoch % self.every:
            self.epoch, self.found = epoch, find()
        return self.found

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch, self.found = state_dict["epoch"], state_dict["found"]


def hard_negatives(
    text: Tensor,
    image: Tensor,
    *,
    own: Tensor,
    alike: Sequence[Tensor],
    count: int,
    margin: float | None,
    block: int = 2**24,
) -> Tensor:
    """The photos nearest to each text that are wrong for it; the order of equally near ones is open.

    Args:
        text: Embeddings (Q, D) of unit norm and any float type; cosines are computed in float32.
        image: Embeddings (N, D) likewise.
        own: Positions (Q,) in `image` of the texts' own photos.
        alike: Codes (N,) each; a photo that agrees with a text's own one in any of them is not wrong.
        count: Largest number of photos for a text.
        margin: Cosine by which a photo must be less like the text than the text's own one; None: it may be more like.
        block: Number of cosines at a time.

    Returns:
        Positions (Q, count) in `image`, nearest first, -1 where there are no more.
    """
    image = image.float()
    found = torch.full((len(text), count), -1, dtype=torch.int32, device=image.device)
    queries = max(1, block // max(1, len(image)))
    for start in range(0, len(text), queries):
        asking = own[start : start + queries]  # (B,)
        scores = text[start : start + queries].float() @ image.T  # (B, N)
        if margin is not None:
            scores.masked_fill_(scores > scores.gather(1, asking[:, None]) - margin, -math.inf)
        for code in alike:
            scores.masked_fill_(code[asking, None] == code[None], -math.inf)
        nearest = scores.topk(min(count, len(image)))
        wrong = torch.where(nearest.values > -math.inf, nearest.indices, -1)
        found[start : start + queries, : wrong.shape[1]] = wrong.int()
    return found


class HardNegativeSampler(SeededSampler):
    """Some of a dataset's rows, in runs of a row and hard negatives of it, so that a batch holds them together.

    Each row comes once an epoch. Rows begin runs in a random order, and take the hardest that are left; the last ones
    find fewer, so runs are of up to `per_group` rows. Their order is random, too.

    Args:
        places: Positions (P,) of the rows in the dataset.
        near: Function from an epoch to positions (P, K) in `places` of the hard negatives of each, hardest first, -1
            of none.
        per_group: Number of rows of a run.
        seed: Seed of the order, together with the epoch.
    """

    def __init__(self, places: Tensor, *, near: Callable[[int], Tensor], per_group: int, seed: int) -> None:
        super().__init__(len(places), seed=seed)
        self.places, self.near, self.per_group = places, near, per_group

    def order(self, generator: torch.Generator) -> Tensor:
        near = self.near(self.epoch).tolist()
        left = [True] * len(near)
        runs: list[list[int]] = []
        for first in torch.randperm(len(near), generator=generator).tolist():
            run: list[int] = []
            for one in [first, *near[first]] if left[first] else []:
                if len(run) < self.per_group and one >= 0 and left[one]:
                    left[one] = False
                    run.append(one)
            runs.append(run)
        order = [one for run in torch.randperm(len(runs), generator=generator).tolist() for one in runs[run]]
        return self.places[order]
