"""The states of a metric that collects: joined, and rid of what came twice."""

import torch
from torch import Tensor


def joined(state: list[Tensor] | Tensor) -> Tensor:
    """What `update` has appended, as one tensor.

    Raises:
        ValueError: Nothing was.
    """
    if len(state) == 0:
        raise ValueError("metrics: no embeddings since the last reset. Call update() before compute().")
    return state if isinstance(state, Tensor) else torch.cat(state)  # torchmetrics joins only when it gathers


def first_of_each(key: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct keys, ascending, and where each comes first."""
    order = key.argsort(stable=True)
    in_order = key[order]
    first = torch.ones_like(in_order, dtype=torch.bool)
    first[1:] = in_order[1:] != in_order[:-1]
    return in_order[first], order[first]
