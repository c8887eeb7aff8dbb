"""How long it takes to rank a gallery for one query."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

TOP_K = 10
QUERIES = 200  # timed at most, one after another
UNTIMED = 3  # the first ones are slower


@torch.no_grad()
def rank_times(query: Tensor, gallery: Tensor, *, owner: Tensor | None = None) -> dict[str, float]:
    """Times exact search, on the CPU: the scores of one query with the whole gallery, and the ten best.

    Args:
        query: (Q, D) embeddings; some of them are taken where there are many.
        gallery: (G, D) embeddings.
        owner: (G,) long, the product that each gallery photo shows, from 0; then each scores as its best photo. None:
            the ten best vectors of the gallery are found.

    Returns:
        `p50_ms` and `p95_ms`, the median and the 95th percentile in milliseconds; `queries`, the number of them;
        `vectors`, G; `threads`, which a matrix product may use. Nothing where there is no query.

    >>> sorted(rank_times(torch.eye(2), torch.eye(2)))
    ['p50_ms', 'p95_ms', 'queries', 'threads', 'vectors']
    """
    if not len(query):
        return {}
    items = len(gallery) if owner is None else 1 + int(owner.max())
    chosen = query[torch.linspace(0, len(query) - 1, min(QUERIES, len(query))).long()]
    seconds = []
    for one in torch.cat([chosen[:UNTIMED], chosen]):
        start = time.perf_counter()
        scores = gallery @ one  # (G,)
        if owner is not None:
            scores = torch.full((items,), -torch.inf).scatter_reduce(0, owner, scores, "amax")
        scores.topk(min(TOP_K, items))
        seconds.append(time.perf_counter() - start)
    p50, p95 = 1000 * np.percentile(seconds[-len(chosen) :], [50, 95])
    return {
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "queries": len(chosen),
        "vectors": len(gallery),
        "threads": torch.get_num_threads(),
    }
