"""Which rows come together in a training batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from fashionclip import distributed


class SomeSampler(DistributedSampler):
    """Some of a dataset's rows, in random order, as many for each process.

    Args:
        places: (P,) of the rows in the dataset.
        seed: Of the order, with the epoch.
    """

    def __init__(self, places: Tensor, *, seed: int) -> None:
        self.places = places
        super().__init__(
            range(len(places)),  # type: ignore[arg-type]  # only its length is asked for
            num_replicas=distributed.world_size(),
            rank=distributed.rank(),
            seed=seed,
        )

    def __iter__(self) -> Iterator[int]:
        return iter(self.places[list(super().__iter__())].tolist())


class GroupSampler(DistributedSampler):
    """Rows in runs of `per_group` of one group, so that a batch holds positives and semi-positives of its anchors.

    Each epoch orders rows, items and runs anew, from seed and epoch alone. Within a group, up to `per_item` rows of one
    item lie side by side, then those of the next, and so on; the first of an item are of different views, where it has
    them. Runs are dealt out whole to the processes; what one has more than another sits out the epoch.

    Args:
        group, item: (N,) codes of the rows to sample.
        view: (N,) codes; rows of one item take turns in it. None: each row has its own.
        per_group: Rows of a run; a smaller group, or the rest of a larger one, makes a shorter run.
        per_item: None: all.
        seed: Of the order.
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
        self.group, self.item, self.view = group, item, torch.arange(len(group)) if view is None else view
        self.per_group, self.per_item = per_group, per_item or len(group)
        super().__init__(
            range(len(group)),  # type: ignore[arg-type]  # only its length is asked for
            num_replicas=distributed.world_size(),
            rank=distributed.rank(),
            seed=seed,
        )
        self.rows = self._deal()

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.rows = self._deal()

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows.tolist())

    def __len__(self) -> int:
        return len(self.rows)

    def _deal(self) -> Tensor:
        """The rows of this process in this epoch; once an epoch, since loaders ask for the length many times."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
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
        order = torch.randperm(len(runs), generator=generator).tolist()
        of_rank = (order[rank :: self.num_replicas] for rank in range(self.num_replicas))
        dealt = [torch.cat([runs[run] for run in chosen]) for chosen in of_rank]
        return dealt[self.rank][: min(map(len, dealt))]  # as many for each: DDP waits for the slowest


def _pairs(one: Tensor, other: Tensor) -> Tensor:
    """Codes of pairs of codes."""
    return one * (int(other.max()) + 1) + other


def _count_up(sorted_codes: Tensor) -> Tensor:
    """[7, 7, 9, 9, 9] -> [0, 1, 0, 1, 2]."""
    counts = sorted_codes.unique_consecutive(return_counts=True)[1]
    return torch.arange(len(sorted_codes)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
