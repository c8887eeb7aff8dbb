"""Rank, and gathering across processes; in a single process everything here is the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather as all_gather_with_grad


def world_size() -> int:
    """Number of processes that train together, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's place among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(tensor: Tensor) -> Tensor:
    """Joins the (B, ...) tensors of all processes along the first axis, in the order of ranks.

    Gradient flows back to the process that each row came from, summed over the processes that used it. Under DDP,
    which averages gradients, a loss that is the mean over a process's own rows thereby has the gradients that one
    process would compute on the joint batch. Every process must bring the same shape.
    """
    if world_size() == 1:
        return tensor
    if tensor.requires_grad:
        return torch.cat(all_gather_with_grad(tensor))
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
