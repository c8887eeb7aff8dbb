"""What queries find: the first hits of some of them, and what stands before all right answers of any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fashionclip.metrics.ranking import TIE, full_float32
from fashionclip.metrics.samples import Search


class Hit(NamedTuple):
    """One of a gallery, by its place there, and whether it is a right answer."""

    item: int
    right: bool


def first_hits(search: Search, place: Tensor, *, k: int) -> list[list[Hit]]:
    """The first k hits of each of some queries, fewer where its gallery has no more; right ones behind their ties.

    Args:
        search: Queries and gallery.
        place: (N,) places of the queries.
        k: Number of hits.

    >>> search = Search(torch.eye(2), torch.eye(2), torch.tensor([[0, 1]]), *2 * [torch.arange(2)], by_text=True)
    >>> first_hits(search, torch.tensor([0]), k=2)
    [[Hit(item=0, right=False), Hit(item=1, right=True)]]
    """
    found = []
    for scores, right in _blocks(search, place):
        score, item = scores.topk(min(k, scores.shape[1]))
        lines = zip(score.tolist(), item.tolist(), right.gather(1, item).tolist(), strict=True)
        found += [[Hit(i, r) for s, i, r in zip(*line, strict=True) if s > -torch.inf] for line in lines]
    return found


def first_wrong(search: Search, place: Tensor) -> Tensor:
    """(N,) place in the gallery of what wrongly stands first for each of N queries; -1 where a right answer does.

    Args:
        search: Queries and gallery.
        place: (N,) places of queries that have a right answer.
    """
    found = [place[:0]]
    for scores, right in _blocks(search, place):
        first = scores.argmax(1)
        found.append(torch.where(right.gather(1, first[:, None])[:, 0], -1, first))
    return torch.cat(found)


def _blocks(search: Search, place: Tensor, *, block: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores (B, G) of some of the queries at a time, -inf for what a gallery lacks, and (B, G) what is right.

    As ties count against the model, right answers score `TIE` less.
    """
    relevant = _by_query(search.relevant)
    exclude = _by_query(search.relevant[:0] if search.exclude is None else search.exclude)
    gallery = search.gallery.float()
    for rows in place.split(block):
        with full_float32(gallery.device):
            scores = search.query[rows].float() @ gallery.T  # (B, G)
        right = torch.zeros_like(scores, dtype=torch.bool)
        right[_among(relevant, rows)] = True
        scores[right] -= TIE
        scores[_among(exclude, rows)] = -torch.inf
        yield scores, right


def _by_query(pairs: Tensor) -> Tensor:
    return pairs[pairs[:, 0].argsort()]


def _among(pairs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Of (P, 2) pairs in the order of queries those of some (B,) queries: places among these, and in the gallery."""
    query = pairs[:, 0].contiguous()
    first = torch.searchsorted(query, rows)
    count = torch.searchsorted(query, rows, right=True) - first  # (B,)
    nth = torch.arange(int(count.sum()), device=rows.device) - (count.cumsum(0) - count).repeat_interleave(count)
    line = torch.arange(len(rows), device=rows.device).repeat_interleave(count)
    return line, pairs[first[line] + nth, 1]
