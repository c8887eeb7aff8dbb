"""The states of a metric that collects: gathering them from all processes, joining them, and leaving doubles out."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad


def gather_uneven(mine: Tensor, group: Any = None) -> list[Tensor]:
    """The (N, ...) tensors of all processes, where N may differ and be 0.

    It is the `dist_sync_fn` of a torchmetrics `Metric`. The library's own waits without end, or misreads bytes, where a
    process has seen no batch and brings a float tensor (0,), whatever the others collect.

    Args:
        mine: Tensor of this process.
        group: Group of processes; None: all processes.
    """
    facts: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(facts, (mine.shape, mine.dtype), group=group)
    shape, dtype = max(facts, key=lambda fact: (fact[0][0], len(fact[0])))
    if not len(mine):
        mine = mine.new_empty((0, *shape[1:]), dtype=dtype)
    padded = pad(mine, [0] * 2 * (mine.ndim - 1) + [0, shape[0] - len(mine)])
    parts = [torch.empty_like(padded) for _ in facts]
    dist.all_gather(parts, padded, group=group)
    return [part[: fact[0][0]] for part, fact in zip(parts, facts, strict=True)]


def joined(state: list[Tensor] | Tensor, *, dtype: torch.dtype) -> Tensor:
    """What calls of `update` have appended, as one tensor; (0,) where there was none."""
    if isinstance(state, Tensor):  # torchmetrics joins when it gathers
        return state.to(dtype)
    return torch.cat(state).to(dtype) if state else torch.empty(0, dtype=dtype)


def first_of_each(key: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct keys, ascending, and the place where each comes first."""
    order = key.argsort(stable=True)
    in_order = key[order]
    first = torch.ones_like(in_order, dtype=torch.bool)
    first[1:] = in_order[1:] != in_order[:-1]
    return in_order[first], order[first]
