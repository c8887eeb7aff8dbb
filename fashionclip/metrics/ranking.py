"""Exact retrieval metrics, pure functions: keys -> relevant_pairs -> rank_relevant -> recall, reciprocal rank, nDCG.

A metric is a function of `Ranks` that gives one value an answered query, in the order of queries; an evaluation reports
their mean, or their median where its name begins with "median" (`samples.py`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

# Scores this close are a tie: matrix products of other block sizes round a cosine differently, up to 4e-7 at D=1024.
TIE = 1e-6
MANY, FEW = 150, 60  # sorting pays above MANY right answers of a query, or where each has less than FEW scores
IN_NUMPY = "cpu"  # the device on which numpy counts


@dataclass(frozen=True)
class Ranks:
    """Ranks of all right answers, by query, then the best first. A query without any has no row and does not count."""

    rank: Tensor  # (P,) long, 1 is the top
    query: Tensor  # (P,) long
    queries: int  # Q, those without a right answer too
    grade: Tensor | None = None  # (P,) float, how right each answer is, above 0; None: all alike

    @property
    def answered(self) -> int:
        """Number of queries that have at least one right answer."""
        return len(self.query.unique_consecutive())


def relevant_pairs(query_keys: Sequence[Tensor], gallery_keys: Sequence[Tensor]) -> Tensor:
    """All (query, gallery) index pairs that agree in at least one key (same item, same text): (P, 2), sorted, unique.

    The i-th key is a (Q,) and a (G,) tensor of integer codes; a negative code means "no key" and matches nothing.
    Agreement is not passed on: a shared text does not make two items one. Memory grows with P, never with Q x G.

    Raises:
        ValueError: The two sides differ in their number of keys, or the keys of one side in their length.

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


def with_fellows(pairs: Tensor, key: Tensor) -> Tensor:
    """(P, 2) pairs, and for each query all of the gallery that agrees in a key with one of its own: sorted, unique.

    Args:
        pairs: (P, 2) long, indices of query and gallery.
        key: (G,) codes of the gallery, as in `relevant_pairs`.

    >>> with_fellows(torch.tensor([[0, 1], [3, 0]]), torch.tensor([7, 8, 8])).tolist()  # photos 1 and 2 are of one item
    [[0, 1], [0, 2], [3, 0]]
    """
    keys, place = key.unique(return_inverse=True)
    query, held = _unique_pairs(pairs[:, 0] * len(keys) + place[pairs[:, 1]], len(keys)).T.contiguous()
    holder, fellow = relevant_pairs([keys[held]], [key]).T.contiguous()
    both = torch.cat([pairs, torch.stack([query[holder], fellow], dim=1)])
    return _unique_pairs(both[:, 0] * len(key) + both[:, 1], len(key))


@torch.no_grad()
def rank_relevant(
    query: Tensor,
    gallery: Tensor,
    relevant: Tensor,
    *,
    exclude: Tensor | None = None,
    owner: Tensor | None = None,
    block: int = 256,
) -> Ranks:
    """Rank every right answer of every query by inner product, which for unit-norm embeddings is the cosine.

    The i-th best right answer (from 0) has rank 1 + i + the number of wrong items with score >= its score - `TIE`: ties
    count against the model, a collapsed one ranks worst, right answers do not push each other down. Scores are float32
    whatever the dtype, autocast or TF32 setting. Memory grows with block x G only, also with many right answers; with
    `owner` the gallery is copied once.

    Args:
        query: (Q, D) embeddings of unit norm; `TIE` is meant for cosines.
        gallery: (G, D) embeddings of unit norm.
        relevant: (P, 2) long, indices of query and gallery, the right answers in any order; repeated rows count once.
        exclude: (E, 2) long, indices of query and gallery, what the gallery of a query lacks, such as its own photo.
        owner: (G,) long, the product that each gallery photo shows, from 0. Then products are ranked, each by its best
            photo, and the indices of `relevant` and `exclude` are products. None: photos are ranked.
        block: Number of queries scored at a time.

    Raises:
        ValueError: Other shapes or dtypes, an empty gallery, an index out of range, an embedding that is not finite.

    Source: the pessimistic rank of Berrendorf et al. 2020, arXiv:2002.06914; the tolerance is ours.
    >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]])
    >>> rank_relevant(query, gallery, torch.tensor([[0, 0]])).rank  # item 1 is nearer, item 2 as near
    tensor([3])
    >>> rank_relevant(query, gallery, torch.tensor([[0, 0]]), owner=torch.tensor([0, 0, 1])).rank  # of two products
    tensor([1])
    """
    exclude = relevant[:0] if exclude is None else exclude
    query, gallery = query.float(), gallery.float()
    items = len(gallery) if owner is None else 1 + int(owner.max())
    _check(query, gallery, relevant, exclude, items=items)
    right, absent = (pairs[:, 0] * items + pairs[:, 1] for pairs in (relevant, exclude))
    asking, item = _unique_pairs(right[~torch.isin(right, absent)], items).T.contiguous()  # (P,) each
    lacking, lacked = _unique_pairs(absent, items).T.contiguous()  # (E,) each
    layers = [items]
    if owner is not None:  # the gallery in layers: a photo of each product, then the second ones, and so on
        photos = owner.bincount()  # (S,)
        place = photos.argsort(descending=True).argsort()  # (S,) column of each product: those of most photos first
        nth = torch.empty_like(owner).index_copy_(0, owner.argsort(), _count_up(photos))  # (G,)
        gallery, layers = gallery[(nth * items + place[owner]).argsort()], nth.bincount().tolist()
        item, lacked = place[item], place[lacked]
    answers, lacks = asking.bincount(minlength=len(query)), lacking.bincount(minlength=len(query))  # (Q,) each
    order = answers.argsort(descending=True)[: int((answers > 0).sum())]  # a block has as many answers a query
    rank = torch.empty_like(asking)
    buffer = query.new_empty(min(block, len(order)), max(len(gallery), items))
    for start in range(0, len(order), block):
        rows = order[start : start + block]
        cost = buffer[: len(rows)]
        with full_float32(query.device):
            torch.mm(-query[rows], gallery.T, out=cost[:, : len(gallery)])  # (B, G), the negative score: low is good
        first = layers[0]
        for more in layers[1:]:
            torch.minimum(cost[:, :more], cost[:, first : first + more], out=cost[:, :more])
            first += more
        cost = cost[:, :items]  # (B, S), of S products
        cost[:, layers[0] :] = torch.inf  # products without a photo
        at, row, i = _entries(rows, answers)
        limit = torch.full((len(rows), int(i.max()) + 1), torch.inf, device=query.device)  # (B, R), R <= G
        limit[row, i] = cost[row, item[at]] + TIE
        limit = limit.sort(dim=1).values  # each row: the best right answer first, then inf
        cost[row, item[at]] = torch.inf
        out, of_row, _ = _entries(rows, lacks)
        cost[of_row, lacked[out]] = torch.inf
        rank[at] = 1 + i + _count_at_most(cost, limit)[row, i]
    return Ranks(rank=rank, query=asking, queries=len(query))


def _entries(rows: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The entries of some (B,) rows, in a list that is sorted by row and has `count` (Q,) entries a row.

    Returns:
        (p,) places in the list; (p,) places of their rows among `rows`; (p,) places among the entries of one row.
    """
    here = count[rows]
    row, nth = torch.arange(len(rows), device=rows.device).repeat_interleave(here), _count_up(here)
    return (count.cumsum(0) - count)[rows][row] + nth, row, nth


def _count_at_most(cost: Tensor, limit: Tensor) -> Tensor:
    """(B, R) number of the (B, S) costs of a row that are at most each of its (B, R) limits; sorts the costs maybe."""
    many = limit.shape[1] > min(MANY, cost.shape[1] // FEW)
    if cost.device.type == IN_NUMPY:
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            parts = cost.tensor_split(threads), limit.tensor_split(threads)
            return torch.cat(list(pool.map(partial(_count_by_row, many=many), *parts)))
    if many:
        return torch.searchsorted(cost.sort(dim=1).values, limit, right=True)
    return torch.stack([(cost <= one[:, None]).sum(1) for one in limit.T], dim=1)


def _count_by_row(cost: Tensor, limit: Tensor, *, many: bool) -> Tensor:
    """`_count_at_most` in numpy, which compares a cost in 0.1 ns and sorts it in 22 ns, torch in 0.2 and 95.

    The product that makes it takes 19 ns for D=512, all on one core. A row stays in the core's cache, and no thread
    waits for another one after each operation, which on a busy machine takes longer than all else.
    """
    met = np.empty(limit.shape, dtype=np.int64)
    yes = np.empty(cost.shape[1], dtype=bool)
    for row, limits, here in zip(cost.numpy(), limit.numpy(), met, strict=True):
        if many:
            row.sort()
            here[:] = row.searchsorted(limits, side="right")
        else:
            here[:] = [np.count_nonzero(np.less_equal(row, one, out=yes)) for one in limits]
    return torch.from_numpy(met)


def graded(
    ranks: Ranks, query: Tensor, gallery: Tensor, relevant: Tensor, grade: Tensor, *, block: int = 4096
) -> Ranks:
    """Ranks with the grade of each right answer; of two with one score the lower grade stands first.

    Args:
        ranks: Ranks of `rank_relevant` for the same `relevant`, nothing of it excluded.
        query: (Q, D) embeddings of unit norm.
        gallery: (G, D) embeddings of unit norm.
        relevant: (P, 2) long, indices of query and gallery, each pair once.
        grade: (P,) grades of the pairs, above 0.
        block: Number of pairs scored at a time.
    """
    parts = relevant.split(block)
    score = torch.cat([(query[part[:, 0]].float() * gallery[part[:, 1]].float()).sum(1) for part in parts])
    order = grade.argsort(stable=True)
    order = order[score[order].argsort(descending=True, stable=True)]
    order = order[relevant[order, 0].argsort(stable=True)]
    return replace(ranks, grade=grade[order])


def recall(ranks: Ranks, *, k: int) -> Tensor:
    """Whether each answered query has a right answer among the first k (hit rate): (A,) of 0 or 1.

    Source: Hodosh, Young, Hockenmaier 2013, "Framing Image Description as a Ranking Task", R@k.
    >>> recall(Ranks(rank=torch.tensor([1, 4, 3]), query=torch.tensor([0, 0, 2]), queries=3), k=2)
    tensor([1., 0.])
    """
    return (first_rank(ranks) <= k).float()


def recall_of_all(ranks: Ranks, *, k: int) -> Tensor:
    """Share of each answered query's right answers that are among the first k, (A,) in [0, 1].

    Source: `recall` of trec_eval; public benchmarks with several right answers a query report it.
    >>> recall_of_all(Ranks(rank=torch.tensor([1, 4, 3]), query=torch.tensor([0, 0, 2]), queries=3), k=3)
    tensor([0.5000, 1.0000])
    """
    total = _places(ranks)[1]
    return _sum_by_query(ranks, (ranks.rank <= k) / total)


def precision(ranks: Ranks, *, k: int) -> Tensor:
    """Share of the first k places that have a right answer, of each answered query: (A,) in [0, 1].

    Source: `P` of trec_eval; a query with fewer than k right answers cannot reach 1.
    >>> precision(Ranks(rank=torch.tensor([1, 4, 3]), query=torch.tensor([0, 0, 2]), queries=3), k=4)
    tensor([0.5000, 0.2500])
    """
    return _sum_by_query(ranks, (ranks.rank <= k) / k)


def first_rank(ranks: Ranks) -> Tensor:
    """Rank of each answered query's best right answer, (A,) from 1 up; its median is a figure of an evaluation.

    Source: Hodosh, Young, Hockenmaier 2013, "Framing Image Description as a Ranking Task", median r.
    >>> first_rank(Ranks(rank=torch.tensor([1, 4, 2]), query=torch.tensor([0, 0, 2]), queries=3))
    tensor([1, 2])
    """
    return ranks.rank[_places(ranks)[0] == 0]


def reciprocal_rank(ranks: Ranks, *, k: int | None = None) -> Tensor:
    """1 / rank of each answered query's best right answer, 0 beyond rank k: (A,) in [0, 1]; its mean is known as MRR.

    Source: Voorhees 1999, "The TREC-8 Question Answering Track Report".
    >>> reciprocal_rank(Ranks(rank=torch.tensor([1, 4, 2]), query=torch.tensor([0, 0, 2]), queries=3))
    tensor([1.0000, 0.5000])
    """
    best = first_rank(ranks)
    return (1 / best) * (True if k is None else best <= k)


def average_precision_at_r(ranks: Ranks) -> Tensor:
    """Sum of the precisions at the right answers in the first R, over R, of each answered query: (A,) in [0, 1].

    R is a query's number of right answers; the value is 1 only if they fill the first R places.
    Source: Musgrave, Belongie, Lim 2020, "A Metric Learning Reality Check", section 3.2, MAP@R.
    >>> average_precision_at_r(Ranks(rank=torch.tensor([1, 4, 1]), query=torch.tensor([0, 0, 2]), queries=3))
    tensor([0.5000, 1.0000])
    """
    nth, total = _places(ranks)
    return _sum_by_query(ranks, (nth + 1) / ranks.rank / total * (ranks.rank <= total))


def average_precision(ranks: Ranks, *, k: int) -> Tensor:
    """Sum of the precisions at the right answers in the first k, over their number in all: (A,) in [0, 1].

    Source: `map_cut` of trec_eval.
    >>> average_precision(Ranks(rank=torch.tensor([1, 4, 3]), query=torch.tensor([0, 0, 2]), queries=3), k=3)
    tensor([0.5000, 0.3333])
    """
    nth, total = _places(ranks)
    return _sum_by_query(ranks, (nth + 1) / ranks.rank / total * (ranks.rank <= k))


def ndcg(ranks: Ranks, *, k: int) -> Tensor:
    """DCG at k over the best DCG possible at k, of each answered query: (A,) in [0, 1].

    A right answer gains its grade, or 1 where there are no grades.
    Source: Järvelin, Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", eq. 2, but log2(1 + rank).
    >>> ndcg(Ranks(rank=torch.tensor([1, 3, 1]), query=torch.tensor([0, 0, 2]), queries=3), k=3)
    tensor([0.9197, 1.0000])
    """
    gain = torch.ones_like(ranks.rank, dtype=torch.float32) if ranks.grade is None else ranks.grade.float()
    order = gain.argsort(descending=True, stable=True)
    order = order[ranks.query[order].argsort(stable=True)]  # by query, and within it the best grade first
    at_best = gain[order] / (2 + _places(ranks)[0]).log2() * (_places(ranks)[0] < k)
    return _sum_by_query(ranks, gain / (1 + ranks.rank).log2() * (ranks.rank <= k)) / _sum_by_query(ranks, at_best)


def strict_ceiling(text_keys: Tensor, photo_keys: Tensor | None = None, *, k: int) -> Tensor:
    """Highest recall@k possible if each text had to find its own product's photo, in [0, 1]; nan without texts.

    The products of one text get one and the same ranking, so k of their photos can succeed: those of most products.

    Args:
        text_keys: (N,) code of each product's text; a negative one stands for no text and does not count.
        photo_keys: (N,) code of each product's photo; who finds one has found all that are the same. None: each product
            has a photo of its own.
        k: Number of places.

    >>> strict_ceiling(torch.tensor([5, 5, 5, 6]), k=1)  # one of the three, and the fourth
    tensor(0.5000)
    >>> strict_ceiling(torch.tensor([5, 5, 5, 6]), torch.tensor([0, 0, 1, 2]), k=1)  # two of the three have one photo
    tensor(0.7500)
    """
    photo_keys = torch.arange(len(text_keys), device=text_keys.device) if photo_keys is None else photo_keys
    both = torch.stack([text_keys, photo_keys], dim=1)[text_keys >= 0]
    found, products = both.unique(dim=0, return_counts=True)  # (F, 2), (F,): by finding one photo
    order = products.argsort(descending=True, stable=True)
    order = order[found[order, 0].argsort(stable=True)]  # by text, and within it the photo of most products first
    place = _count_up(found[:, 0].unique_consecutive(return_counts=True)[1])
    return products[order][place < k].sum() / products.sum()


def _sum_by_query(ranks: Ranks, values: Tensor) -> Tensor:
    """(A,) sums of (P,) values of right answers."""
    place = ranks.query.unique_consecutive(return_inverse=True)[1]
    return torch.zeros(ranks.answered, device=values.device).index_add_(0, place, values.float())


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


def _check(query: Tensor, gallery: Tensor, relevant: Tensor, exclude: Tensor, *, items: int) -> None:
    q, g = tuple(query.shape), tuple(gallery.shape)
    if len(q) != 2 or len(g) != 2 or q[1] != g[1] or not g[0]:
        raise ValueError(f"query, gallery: expected (Q, D) and (G, D) with the same D and G > 0, got {q} and {g}")
    for name, pairs in ("relevant", relevant), ("exclude", exclude):
        shape = (*pairs.shape[:1], 2)
        if pairs.shape != shape or pairs.dtype != torch.long:
            raise ValueError(f"{name}: expected {shape} torch.int64, got {tuple(pairs.shape)} {pairs.dtype}")
        for column, size in enumerate((q[0], items)):
            index = pairs[:, column]
            wrong = index[(index < 0) | (index >= size)].tolist()
            if wrong:
                raise ValueError(
                    f"{name}[:, {column}]: expected indices from 0 to {size - 1}, got {len(wrong)} others: {wrong[:5]}"
                )
    check_finite(query=query, gallery=gallery)


def check_finite(**numbers: Tensor) -> None:
    """Refuses embeddings (N, D), or scores (N,), that are not finite: comparisons with nan are just false.

    Raises:
        ValueError: Some are not finite; the message names their rows.
    """
    for name, given in numbers.items():
        rows = given.float().unsqueeze(-1).flatten(1)
        size = torch.linalg.vector_norm(rows, dim=1)  # where it is finite, so are products
        wrong = (~size.isfinite()).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(f"{name}: expected finite numbers, got nan, inf or overflow in rows {wrong[:5]}")
