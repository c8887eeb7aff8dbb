"""Which rows come together in a training batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from fashionclip import distributed


class GroupSampler(DistributedSampler):
    """Rows in runs of `per_group` of one group, so that a batch holds positives and semi-positives of its anchors.

    Each epoch orders rows, items and runs anew, from seed and epoch alone. Within a group, rows of one item lie side
    by side. Runs are dealt out whole to the processes; what one has more than another sits out the epoch.

    Args:
        group, item: (N,) codes of the rows to sample.
        per_group: Rows of a run; a smaller group, or the rest of a larger one, makes a shorter run.
        seed: Of the order.
    """

    def __init__(self, *, group: Tensor, item: Tensor, per_group: int, seed: int) -> None:
        self.group, self.item, self.per_group = group, item, per_group
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
        items = torch.randperm(int(self.item.max()) + 1, generator=generator)[self.item[place]]
        place = place[items.argsort(stable=True)]  # items at random, the rows of one side by side
        place = place[self.group[place].argsort(stable=True)]  # groups one after the other
        starts = (_count_up(self.group[place]) % self.per_group == 0).nonzero()[:, 0]
        runs = place.tensor_split(starts[1:])
        order = torch.randperm(len(runs), generator=generator).tolist()
        of_rank = (order[rank :: self.num_replicas] for rank in range(self.num_replicas))
        dealt = [torch.cat([runs[run] for run in chosen]) for chosen in of_rank]
        return dealt[self.rank][: min(map(len, dealt))]  # as many for each: DDP waits for the slowest


def _count_up(sorted_codes: Tensor) -> Tensor:
    """[7, 7, 9, 9, 9] -> [0, 1, 0, 1, 2]."""
    counts = sorted_codes.unique_consecutive(return_counts=True)[1]
    return torch.arange(len(sorted_codes)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
