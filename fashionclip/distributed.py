"""How processes share a batch and join what they have computed; in a single process all of it is the identity."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's place among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def share(total: int, *, process: int | None = None, processes: int | None = None) -> slice:
    """The run of `total` things that one process takes care of; lengths differ by one at most.

    Args:
        total: Number of things, such as the photos of a batch.
        process: Rank of the process that is asked about; this one if None.
        processes: Number of processes; those that train together if None.

    >>> [share(5, process=process, processes=2) for process in (0, 1)]
    [slice(0, 2, None), slice(2, 5, None)]
    """
    process = rank() if process is None else process
    processes = world_size() if processes is None else processes
    return slice(total * process // processes, total * (process + 1) // processes)


def gather(part: Tensor, *, total: int) -> Tensor:
    """Joins the shares of all processes to the whole (total, ...) tensor.

    Gradient flows back to the process that each row came from, summed over the processes that used it. Under DDP,
    which averages gradients, losses whose mean over processes is the joint loss thereby have the gradients that one
    process would compute.

    Args:
        part: Rows of this process's `share`. Where that is empty, any one row, which is left out of the whole: so every
            process's weights take part, as DDP asks.
        total: Number of rows of all shares.
    """
    processes = world_size()
    if processes == 1:
        return part
    sizes = [len(range(total)[share(total, process=other)]) for other in range(processes)]
    missing = max(sizes) - len(part)
    if missing > 0:
        part = torch.cat([part, part[:1].expand(missing, *part.shape[1:])])
    parts = _Gather.apply(part[: max(sizes)].contiguous())  # (processes, longest share, ...)
    return torch.cat([one[:size] for one, size in zip(parts, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    """As `torch.distributed.nn.functional.all_gather`, which is deprecated for a private successor."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part) for _ in range(world_size())]
        dist.all_gather(parts, part)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[rank()]


def summed(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes, without gradient."""
    value = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
    return value
