"""What queries find: the first hits of some of them, and what stands before all right answers of any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fashionclip.metrics.ranking import TIE, full_float32
from fashionclip.metrics.samples import Search

BLOCK = 256  # queries that are scored at a time


class Hit(NamedTuple):
    """One of a gallery, by its place there, and whether it is a right answer."""

    item: int
    right: bool


class Hits:
    """What the queries of a search find; right answers stand behind their ties.

    Args:
        search: Queries and gallery.

    >>> search = Search(torch.eye(2), torch.eye(2), torch.tensor([[0, 1]]), *2 * [torch.arange(2)], by_text=True)
    >>> Hits(search).first(torch.tensor([0]), k=2)
    [[Hit(item=0, right=False), Hit(item=1, right=True)]]
    """

    def __init__(self, search: Search) -> None:
        self.query, self.gallery = search.query, search.gallery.float()
        self.relevant = _Pairs(search.relevant)
        self.exclude = _Pairs(search.relevant[:0] if search.exclude is None else search.exclude)

    def first(self, place: Tensor, *, k: int) -> list[list[Hit]]:
        """The first k hits of each query at (N,) places, fewer where its gallery has no more."""
        found = []
        for scores, right in self._blocks(place):
            score, item = scores.topk(min(k, scores.shape[1]))
            lines = zip(score.tolist(), item.tolist(), right.gather(1, item).tolist(), strict=True)
            found += [[Hit(i, r) for s, i, r in zip(*line, strict=True) if s > -torch.inf] for line in lines]
        return found

    def first_wrong(self, place: Tensor) -> Tensor:
        """(N,) place in the gallery of the first hit of each query, -1 where it is right; each has a right answer."""
        found = [place[:0]]
        for scores, right in self._blocks(place):
            first = scores.argmax(1)
            found.append(torch.where(right.gather(1, first[:, None])[:, 0], -1, first))
        return torch.cat(found)

    def answer(self, place: Tensor) -> Tensor:
        """(N,) place in the gallery of a right answer of each query; each has one."""
        return self.relevant.item[torch.searchsorted(self.relevant.query, place)]

    def _blocks(self, place: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores (B, G) of some queries at a time, -inf of what is excluded, and (B, G) bool, what is right."""
        for rows in place.split(BLOCK):
            with full_float32(self.gallery.device):
                scores = self.query[rows].float() @ self.gallery.T  # (B, G)
            right = torch.zeros_like(scores, dtype=torch.bool)
            right[self.relevant.of(rows)] = True
            scores[right] -= TIE
            scores[self.exclude.of(rows)] = -torch.inf
            yield scores, right


class _Pairs:
    """(P, 2) pairs of query and item, in the order of queries."""

    def __init__(self, pairs: Tensor) -> None:
        query, item = pairs.T.contiguous()
        if (query[1:] < query[:-1]).any():
            order = query.argsort()
            query, item = query[order], item[order]
        self.query, self.item = query, item

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs of some (B,) queries: places of these among them, and items."""
        first = torch.searchsorted(self.query, rows)
        count = torch.searchsorted(self.query, rows, right=True) - first  # (B,)
        nth = torch.arange(int(count.sum()), device=rows.device) - (count.cumsum(0) - count).repeat_interleave(count)
        line = torch.arange(len(rows), device=rows.device).repeat_interleave(count)
        return line, self.item[first[line] + nth]
