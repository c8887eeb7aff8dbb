"""Exact retrieval metrics, pure functions: keys -> relevant_pairs -> rank_relevant -> recall, MRR, mAP@R, nDCG."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

# Scores this close are a tie: matmuls of other block sizes round the same cosine differently, up to 4e-7 at D=1024.
TIE = 1e-6


@dataclass(frozen=True)
class Ranks:
    """Ranks of all right answers by query, then best first; a query without any has no row and counts in no metric."""

    rank: Tensor  # (P,) long, 1 is the top
    query: Tensor  # (P,) long
    queries: int  # Q, those without a right answer too

    @property
    def answered(self) -> int:
        """Number of queries that have at least one right answer."""
        return len(self.query.unique_consecutive())


def relevant_pairs(query_keys: Sequence[Tensor], gallery_keys: Sequence[Tensor]) -> Tensor:
    """All (query, gallery) index pairs that agree in at least one key (same item, same text): (P, 2), sorted, unique.

    The i-th key is a (Q,) and a (G,) tensor of integer codes; a negative code means "no key" and matches nothing.
    Agreement is not passed on: a shared text does not make two items one. Memory grows with P, never with Q x G.

    Raises:
        ValueError: the two sides differ in their number of keys, or the keys of one side in their length.

    >>> item, text = torch.tensor([7, 8, 9]), torch.tensor([0, 0, -1])  # the first two products share a text
    >>> relevant_pairs([item, text], [item, text]).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]]
    """
    shapes = [[tuple(key.shape) for key in keys] for keys in (query_keys, gallery_keys)]
    if len(shapes[0]) != len(shapes[1]) or any(len(set(side)) != 1 or len(side[0]) != 1 for side in shapes):
        raise ValueError(f"keys: expected as many (Q,) query keys as (G,) gallery keys, got shapes {shapes}")
    codes = []
    for query_key, gallery_key in zip(query_keys, gallery_keys, strict=True):
        in_order, order = gallery_key.sort()
        first = torch.searchsorted(in_order, query_key)
        matches = (torch.searchsorted(in_order, query_key, right=True) - first) * (query_key >= 0)
        query = torch.arange(len(query_key), device=query_key.device).repeat_interleave(matches)
        codes.append(query * len(gallery_key) + order[first[query] + _count_up(matches)])
    return _unique_pairs(torch.cat(codes), len(gallery_keys[0]))


@torch.no_grad()
def rank_relevant(
    query: Tensor, gallery: Tensor, relevant: Tensor, *, exclude: Tensor | None = None, block: int = 256
) -> Ranks:
    """Rank every right answer of every query by inner product, which for unit-norm embeddings is the cosine.

    The i-th best right answer (from 0) has rank 1 + i + the number of wrong items with score >= its score - `TIE`: ties
    count against the model, a collapsed one ranks worst, right answers do not push each other down. Scores are float32
    whatever the dtype, autocast or TF32 setting. Memory grows with block x G only, also with many right answers.

    Args:
        query, gallery: (Q, D) and (G, D), unit norm (`TIE` is meant for cosines).
        relevant: (P, 2) long, (query, gallery) indices of right answers in any order; repeated rows count once.
        exclude: (Q,) long, one gallery index to leave out for each query, such as its own photo; -1 for none.
        block: queries scored at a time.

    Raises:
        ValueError: other shapes or dtypes, an empty gallery, an index out of range, an embedding that is not finite.

    Source: the pessimistic rank of Berrendorf et al. 2020, arXiv:2002.06914; the tolerance is ours.
    >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]])
    >>> rank_relevant(query, gallery, torch.tensor([[0, 0]])).rank  # item 1 is nearer, item 2 as near
    tensor([3])
    """
    exclude = torch.full((len(query),), -1, device=query.device) if exclude is None else exclude
    query, gallery = query.float(), gallery.float()
    _check(query, gallery, relevant, exclude)
    pairs = _unique_pairs(relevant[:, 0] * len(gallery) + relevant[:, 1], len(gallery))
    owner, item = pairs[pairs[:, 1] != exclude[pairs[:, 0]]].T.contiguous()  # (P,) each
    nth = _count_up(owner.bincount(minlength=len(query)))  # 0, 1, ... for the right answers of each query
    rank = torch.empty_like(owner)
    for start in (owner // block * block).unique().tolist():
        begin, end = torch.searchsorted(owner, torch.tensor([start, start + block], device=query.device)).tolist()
        row, column, i = owner[begin:end] - start, item[begin:end], nth[begin:end]
        with full_float32(query.device):
            cost = -query[start : start + block] @ gallery.T  # (B, G), the negative score: low is good
        limit = torch.full((len(cost), int(i.max()) + 1), torch.inf, device=query.device)  # (B, R), R <= G
        limit[row, i] = cost[row, column] + TIE
        limit = limit.sort(dim=1).values  # each row: the best right answer first, then inf
        cost[row, column] = torch.inf
        excluded = exclude[start : start + block]
        cost[excluded >= 0, excluded[excluded >= 0]] = torch.inf

        # Drop each item into the bin of the first right answer it is ahead of; it is ahead of all later ones too.
        # Q=G=5000, D=512, 2 cores, R=1/5/100: 1.0/1.8/2.8 s (sorting rows 3.1/3.0/3.4, comparing pairs 1.3/3.7/64).
        bins = limit.shape[1] + 1
        bin_of = torch.searchsorted(limit, cost) + bins * torch.arange(len(cost), device=query.device)[:, None]
        ahead = bin_of.flatten().bincount(minlength=len(cost) * bins).view(-1, bins).cumsum(1)  # (B, R + 1)
        rank[begin:end] = 1 + i + ahead[row, i]
    return Ranks(rank=rank, query=owner, queries=len(query))


def recall(ranks: Ranks, *, k: int) -> Tensor:
    """Share of answered queries with a right answer among the first k (hit rate), in [0, 1]; nan without any.

    Source: Hodosh, Young, Hockenmaier 2013, "Framing Image Description as a Ranking Task", R@k.
    >>> recall(Ranks(rank=torch.tensor([1, 4, 3]), query=torch.tensor([0, 0, 2]), queries=3), k=2)
    tensor(0.5000)
    """
    return (_best(ranks) <= k).float().mean()


def mean_reciprocal_rank(ranks: Ranks) -> Tensor:
    """Mean over answered queries of 1 / rank of the best right answer, in (0, 1]; nan without any.

    Source: Voorhees 1999, "The TREC-8 Question Answering Track Report".
    >>> mean_reciprocal_rank(Ranks(rank=torch.tensor([1, 4, 2]), query=torch.tensor([0, 0, 2]), queries=3))
    tensor(0.7500)
    """
    return (1 / _best(ranks)).mean()


def median_rank(ranks: Ranks) -> Tensor:
    """Median over answered queries of the rank of the best right answer, from 1 up; nan without any.

    Source: Hodosh, Young, Hockenmaier 2013, "Framing Image Description as a Ranking Task", median r.
    >>> median_rank(Ranks(rank=torch.tensor([1, 4, 2]), query=torch.tensor([0, 0, 2]), queries=3))
    tensor(1.5000)
    """
    best = _best(ranks).sort().values.float()
    return best[(len(best) - 1) // 2 : len(best) // 2 + 1].mean()  # the middle one or two


def mean_average_precision_at_r(ranks: Ranks) -> Tensor:
    """Mean over answered queries of the sum of precisions at the right answers in the first R, over R; nan without any.

    R is a query's number of right answers; in [0, 1], and 1 only if they fill the first R places.
    Source: Musgrave, Belongie, Lim 2020, "A Metric Learning Reality Check", section 3.2, MAP@R.
    >>> mean_average_precision_at_r(Ranks(rank=torch.tensor([1, 4, 1]), query=torch.tensor([0, 0, 2]), queries=3))
    tensor(0.7500)
    """
    nth, total = _places(ranks)
    return ((nth + 1) / ranks.rank / total * (ranks.rank <= total)).sum() / ranks.answered


def ndcg(ranks: Ranks, *, k: int) -> Tensor:
    """Mean over answered queries of DCG at k over the best DCG possible at k, in [0, 1]; nan without any.

    Source: Järvelin, Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", eq. 2, but log2(1 + rank).
    >>> ndcg(Ranks(rank=torch.tensor([1, 3, 1]), query=torch.tensor([0, 0, 2]), queries=3), k=3)
    tensor(0.9599)
    """
    total = _places(ranks)[1]
    ideal = (1 / torch.arange(2, k + 2, device=total.device).log2()).cumsum(0)[total.clamp(max=k) - 1]
    return (1 / (1 + ranks.rank).log2() / ideal * (ranks.rank <= k)).sum() / ranks.answered


def strict_ceiling(text_keys: Tensor, *, k: int) -> Tensor:
    """Highest recall@k possible if each text had to find its own product's photo, in [0, 1]; nan without texts.

    `text_keys` is (N,), one code a product; negative: no text, not counted. The m products of one text get one and the
    same ranking, so min(k, m) of them can succeed: sum of min(k, m) over texts / N.
    >>> strict_ceiling(torch.tensor([5, 5, 5, 6]), k=1)  # one of the three, and the fourth
    tensor(0.5000)
    """
    products = text_keys[text_keys >= 0].unique(return_counts=True)[1]
    return products.clamp(max=k).sum() / products.sum()


def _best(ranks: Ranks) -> Tensor:
    return ranks.rank[_places(ranks)[0] == 0]  # (answered,)


def _places(ranks: Ranks) -> tuple[Tensor, Tensor]:
    """(P,) place of each right answer among those of its query, from 0; (P,) number of those."""
    total = ranks.query.unique_consecutive(return_counts=True)[1]
    return _count_up(total), total.repeat_interleave(total)


def _count_up(count: Tensor) -> Tensor:
    """[2, 0, 3] -> [0, 1, 0, 1, 2]."""
    return torch.arange(int(count.sum()), device=count.device) - (count.cumsum(0) - count).repeat_interleave(count)


def _unique_pairs(code: Tensor, gallery: int) -> Tensor:
    code = code.unique()  # of query * gallery + item; 20 times as fast as unique(dim=0) on 5 million pairs
    return torch.stack([code // gallery, code % gallery], dim=1)


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Keep autocast and "high" or "medium" matmul precision, which Lightning recommends, from rounding the scores."""
    matmul = torch.backends.cuda.matmul if device.type == "cuda" else torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before, matmul.fp32_precision = matmul.fp32_precision, "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        matmul.fp32_precision = before


def _check(query: Tensor, gallery: Tensor, relevant: Tensor, exclude: Tensor) -> None:
    q, g = tuple(query.shape), tuple(gallery.shape)
    if len(q) != 2 or len(g) != 2 or q[1] != g[1] or not g[0]:
        raise ValueError(f"query, gallery: expected (Q, D) and (G, D) with the same D and G > 0, got {q} and {g}")
    for name, index, shape in ("relevant", relevant, (*relevant.shape[:1], 2)), ("exclude", exclude, (q[0],)):
        if index.shape != shape or index.dtype != torch.long:
            raise ValueError(f"{name}: expected {shape} torch.int64, got {tuple(index.shape)} {index.dtype}")
    (asks, item), own = relevant.unbind(1), exclude[exclude != -1]
    for name, index, size in ("relevant[:, 0]", asks, q[0]), ("relevant[:, 1]", item, g[0]), ("exclude", own, g[0]):
        wrong = index[(index < 0) | (index >= size)].tolist()
        if wrong:
            raise ValueError(f"{name}: expected indices from 0 to {size - 1}, got {len(wrong)} others: {wrong[:5]}")
    check_finite(query=query, gallery=gallery)


def check_finite(**embeddings: Tensor) -> None:
    """Refuses embeddings (N, D) that no score can be told from.

    Raises:
        ValueError: Naming the rows.
    """
    for name, embedding in embeddings.items():
        wrong = (~embedding.square().sum(1).isfinite()).nonzero().flatten().tolist()  # finite lengths bound the scores
        if wrong:
            raise ValueError(f"{name}: expected finite numbers, got nan, inf or overflow in rows {wrong[:5]}")
