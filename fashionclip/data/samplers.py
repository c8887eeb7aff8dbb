"""Which rows come together in a training batch, which all processes share: each is told the same order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler


class SeededSampler(DistributedSampler):
    """Positions in an order that follows from seed and epoch alone, so that it can be gone on with anywhere.

    A DistributedSampler, so that Lightning tells it the epoch and leaves it alone.

    Args:
        length: Number of positions.
        seed: Seed of the order, together with the epoch.

    Attributes:
        begun: Epoch of the next pass, and number of positions that it leaves out at its beginning; None: the epoch that
            it is told, and all.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        super().__init__(range(length), num_replicas=1, rank=0, seed=seed)  # type: ignore[arg-type]  # only its length
        self.begun: tuple[int, int] | None = None

    def order(self, generator: torch.Generator) -> Tensor:
        """The positions of a pass, that of `self.epoch`, with chance from the generator."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        (epoch, done), self.begun = self.begun or (self.epoch, 0), None
        if self.epoch > epoch:  # of the one begun, nothing was left
            epoch, done = self.epoch, 0
        self.epoch = epoch
        # the same on all processes, another one of each seed and epoch
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
        return iter(self.order(generator)[done:].tolist())


class SomeSampler(SeededSampler):
    """Some of a dataset's rows, in a random order of each epoch.

    Args:
        places: Positions (P,) of the rows in the dataset.
        seed: Seed of the order, together with the epoch.
    """

    def __init__(self, places: Tensor, *, seed: int) -> None:
        super().__init__(len(places), seed=seed)
        self.places = places

    def order(self, generator: torch.Generator) -> Tensor:
        return self.places[torch.randperm(len(self.places), generator=generator)]


class GroupSampler(SeededSampler):
    """Rows in runs of `per_group` of one group, so that a batch holds positives and semi-positives of its anchors.

    Each epoch orders rows, items and runs anew, from seed and epoch alone. Within a group, up to `per_item` rows of one
    item lie side by side, then those of the next, and so on; the first of an item are of different views, where it has
    them.

    Args:
        group, item: Codes (N,) of the rows to sample.
        view: Codes (N,) in which rows of one item take turns. None: each row has its own.
        per_group: Number of rows of a run; a smaller group, or the rest of a larger one, makes a shorter run.
        per_item: Number of rows of one item side by side; None: all.
        seed: Seed of the order, together with the epoch.
    """

    def __init__(
        self,
        *,
        group: Tensor,
        item: Tensor,
        view: Tensor | None = None,
        per_group: int,
        per_item: int | None = None,
        seed: int,
    ) -> None:
        super().__init__(len(group), seed=seed)
        self.group, self.item, self.view = group, item, torch.arange(len(group)) if view is None else view
        self.per_group, self.per_item = per_group, per_item or len(group)

    def order(self, generator: torch.Generator) -> Tensor:
        place = torch.randperm(len(self.group), generator=generator)  # (N,) rows at random
        by_view = place[_pairs(self.item, self.view)[place].argsort(stable=True)]
        turn = torch.empty_like(place)  # (N,) how many rows of its item and view come before a row
        turn[by_view] = _count_up(_pairs(self.item, self.view)[by_view])
        place = place[turn[place].argsort(stable=True)]
        items = torch.randperm(int(self.item.max()) + 1, generator=generator)[self.item[place]]
        place, items = place[items.argsort(stable=True)], items.sort().values  # items at random, views taking turns
        place = place[(_count_up(items) // self.per_item).argsort(stable=True)]  # the first rows of each item
        place = place[self.group[place].argsort(stable=True)]  # groups one after the other
        starts = (_count_up(self.group[place]) % self.per_group == 0).nonzero()[:, 0]
        runs = place.tensor_split(starts[1:])
        return torch.cat([runs[run] for run in torch.randperm(len(runs), generator=generator).tolist()])


def _pairs(one: Tensor, other: Tensor) -> Tensor:
    """Codes of pairs of codes."""
    return one * (int(other.max()) + 1) + other


def _count_up(sorted_codes: Tensor) -> Tensor:
    """[7, 7, 9, 9, 9] -> [0, 1, 0, 1, 2]."""
    counts = sorted_codes.unique_consecutive(return_counts=True)[1]
    return torch.arange(len(sorted_codes)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
