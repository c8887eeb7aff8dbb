"""The fast ranking functions against double loops, pytrec_eval and hand-made cases."""

import math
import statistics
from collections.abc import Callable
from itertools import combinations_with_replacement

import pytest
import pytrec_eval  # type: ignore[import-untyped]
import torch
from sklearn.metrics import average_precision_score, ndcg_score
from torch import Tensor
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from fashionclip.metrics import ranking
from fashionclip.metrics.ranking import (
    Ranks,
    average_precision,
    average_precision_at_r,
    first_rank,
    full_float32,
    graded,
    ndcg,
    precision,
    rank_relevant,
    recall,
    recall_of_all,
    reciprocal_rank,
    relevant_pairs,
    strict_ceiling,
    with_fellows,
)
from fashionclip.metrics.samples import median

METRICS: dict[str, Callable[[Ranks], Tensor]] = {
    "recall@1": lambda ranks: recall(ranks, k=1).mean(),
    "recall@5": lambda ranks: recall(ranks, k=5).mean(),
    "mrr": lambda ranks: reciprocal_rank(ranks).mean(),
    "median": lambda ranks: median(first_rank(ranks)),
    "map@r": lambda ranks: average_precision_at_r(ranks).mean(),
    "ndcg@1": lambda ranks: ndcg(ranks, k=1).mean(),
    "ndcg@5": lambda ranks: ndcg(ranks, k=5).mean(),
    "ndcg@1000": lambda ranks: ndcg(ranks, k=1000).mean(),
}


@pytest.fixture(autouse=True)
def one_thread():
    """On tensors this small threads only wait for each other: 8 ms a repeat_interleave on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def slow_pairs(query_keys, gallery_keys):
    pairs = []
    for q in range(len(query_keys[0])):
        for g in range(len(gallery_keys[0])):
            keys = zip(query_keys, gallery_keys, strict=True)
            if any(int(of_query[q]) == int(of_gallery[g]) >= 0 for of_query, of_gallery in keys):
                pairs.append([q, g])
    return pairs


def slow_ranks(query, gallery, relevant, exclude=None):
    """Query -> ranks of its right answers, best first."""
    scores, pairs = (query.double() @ gallery.double().T).tolist(), relevant.tolist()
    absent = [] if exclude is None else exclude.tolist()
    ranks = {}
    for q in range(len(query)):
        shown = [g for g in range(len(gallery)) if [q, g] not in absent]
        right = [g for g in shown if [q, g] in pairs]
        wrong = [g for g in shown if g not in right]
        for i, g in enumerate(sorted(right, key=lambda g: -scores[q][g])):
            ahead = [w for w in wrong if scores[q][w] >= scores[q][g] - 1e-6]
            ranks.setdefault(q, []).append(1 + i + len(ahead))
    return ranks


def slow_metrics(ranks):
    def mean(of_query):
        return sum(of_query(mine) for mine in ranks.values()) / len(ranks)

    def average_precision_at_r(mine):
        precisions = [sum(r <= place for r in mine) / place for place in range(1, len(mine) + 1) if place in mine]
        return sum(precisions) / len(mine)

    def ndcg_at(k, mine):
        gain = sum(1 / math.log2(1 + place) for place in range(1, k + 1) if place in mine)
        return gain / sum(1 / math.log2(1 + place) for place in range(1, min(k, len(mine)) + 1))

    return {
        "recall@1": mean(lambda mine: mine[0] <= 1),
        "recall@5": mean(lambda mine: mine[0] <= 5),
        "mrr": mean(lambda mine: 1 / mine[0]),
        "median": statistics.median(mine[0] for mine in ranks.values()),
        "map@r": mean(average_precision_at_r),
        "ndcg@1": mean(lambda mine: ndcg_at(1, mine)),
        "ndcg@5": mean(lambda mine: ndcg_at(5, mine)),
        "ndcg@1000": mean(lambda mine: ndcg_at(1000, mine)),
    }


def as_dict(ranks):
    rows = {}
    for q, r in zip(ranks.query.tolist(), ranks.rank.tolist(), strict=True):
        rows.setdefault(q, []).append(r)
    return rows


def grid(rows, seed):
    """(rows, 4) embeddings whose scores are multiples of 1/16, exact even in bf16: many ties and exact duplicates."""
    return torch.randint(-2, 3, (rows, 4), generator=torch.Generator().manual_seed(seed)) / 4


def codes(rows, seed):
    """(rows,) codes from -2: few, so that some repeat often."""
    return torch.randint(-2, 9, (rows,), generator=torch.Generator().manual_seed(seed)) ** 2 - 4


@pytest.mark.parametrize("keys", [1, 2, 3])
@pytest.mark.parametrize(("queries", "gallery"), [(23, 31), (1, 1), (0, 5), (5, 0)])
def test_relevant_pairs_equal_the_double_loop(keys, queries, gallery):
    query_keys = [codes(queries, seed) for seed in range(keys)]
    gallery_keys = [codes(gallery, 10 + seed) for seed in range(keys)]
    pairs = relevant_pairs(query_keys, gallery_keys)
    assert pairs.dtype == torch.long
    assert pairs.shape[1:] == (2,)
    assert pairs.tolist() == slow_pairs(query_keys, gallery_keys)


def test_relevant_pairs_are_not_closed_transitively():
    # 0 and 1 share the item, 1 and 2 the text; 0 and 2 share nothing.
    item, text = torch.tensor([5, 5, 6]), torch.tensor([1, 2, 2])
    pairs = relevant_pairs([item, text], [item, text]).tolist()
    assert [0, 1] in pairs
    assert [1, 2] in pairs
    assert [0, 2] not in pairs


@pytest.mark.parametrize(("queries", "gallery"), [(23, 31), (1, 1), (0, 5)])
def test_fellows_equal_the_double_loop(queries, gallery):
    key = codes(gallery, 3).clamp(min=0)
    pairs = relevant_pairs([codes(queries, 0)], [codes(gallery, 1)])
    expected = sorted({(q, g) for q, own in pairs.tolist() for g in range(gallery) if key[g] == key[own]})
    assert queries < 2 or len(expected) > len(pairs)
    assert with_fellows(pairs.flip(0), key).tolist() == list(map(list, expected))


def test_relevant_pairs_never_build_queries_by_gallery():
    item = torch.randperm(50_000)  # 20 GB as a matrix of indices
    pairs = relevant_pairs([item], [item.flip(0)])
    assert pairs.tolist() == [[i, 49_999 - i] for i in range(50_000)]


@pytest.mark.parametrize(
    ("query_keys", "gallery_keys"), [([3], []), ([], []), ([3, 4], [5, 5]), ([3, 3], [5, 6]), ([3], [5, 5])]
)
def test_relevant_pairs_refuse_keys_that_do_not_fit(query_keys, gallery_keys):
    with pytest.raises(ValueError, match=r"keys: expected as many \(Q,\) query keys as \(G,\) gallery keys, got"):
        relevant_pairs([torch.zeros(n).long() for n in query_keys], [torch.zeros(n).long() for n in gallery_keys])


@pytest.mark.parametrize("block", [1, 3, 10**9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("keys", [1, 2])
def test_ranks_and_metrics_equal_the_double_loop(block, dtype, keys):
    query, gallery = grid(20, seed=0), grid(33, seed=1)
    exclude = torch.tensor([[q, g] for q in range(20) for g in range(33) if (3 * q + g) % 7 == q % 4 == 1] * 2)
    relevant = relevant_pairs([codes(20, k) for k in range(keys)], [codes(33, 5 + k) for k in range(keys)])
    answers = relevant[:, 0].bincount(minlength=20)
    assert answers.min() == 0  # a query with no right answer
    assert answers.max() > 5
    shuffled = torch.cat([relevant, relevant[::3]])[torch.randperm(len(relevant) + len(relevant[::3]))]

    for left_out in (None, exclude):
        expected = slow_ranks(query, gallery, relevant, left_out)
        ranks = rank_relevant(query.to(dtype), gallery.to(dtype), shuffled, exclude=left_out, block=block)
        assert as_dict(ranks) == expected
        assert ranks.query.tolist() == sorted(ranks.query.tolist())
        assert (ranks.queries, ranks.answered) == (20, len(expected))
        for name, value in slow_metrics(expected).items():
            assert METRICS[name](ranks).item() == pytest.approx(value, rel=1e-5), name
            assert METRICS[name](ranks).shape == ()


@pytest.mark.parametrize("owner", [None, torch.arange(33) ** 2 % 13])  # products without a photo, too
def test_comparing_and_sorting_count_the_same(monkeypatch, owner):
    query, gallery = grid(20, seed=0), grid(33, seed=1)
    items = codes(33, 5) if owner is None else codes(13, 5)
    relevant, exclude = relevant_pairs([codes(20, 0)], [items]), relevant_pairs([codes(20, 3)], [items])
    if owner is not None:
        relevant = relevant[torch.isin(relevant[:, 1], owner)]
    expected = rank_relevant(query, gallery, relevant, exclude=exclude, owner=owner)
    if owner is not None:
        score = (query @ gallery.T).masked_fill(owner != torch.arange(13)[:, None, None], -9).amax(2).T  # (20, 13)
        loop = slow_ranks(score, torch.eye(13), relevant, torch.cat([exclude, (score < -8).nonzero()]))
        assert as_dict(expected) == loop
    for many, few, numpy_on in (0, 1, "cpu"), (3, 1, "cpu"), (150, 1, "cpu"), (0, 1, ""), (150, 1, ""):
        for name, value in (("MANY", many), ("FEW", few), ("IN_NUMPY", numpy_on)):
            monkeypatch.setattr(ranking, name, value)
        assert rank_relevant(query, gallery, relevant, exclude=exclude, owner=owner, block=7).rank.equal(expected.rank)


OF_TREC = {  # names of trec_eval, and of the function with as many places
    "recip_rank": reciprocal_rank,
    "map_cut_10": lambda ranks: average_precision(ranks, k=10),
    "map": lambda ranks: average_precision(ranks, k=10_000),
    "ndcg_cut_1": lambda ranks: ndcg(ranks, k=1),
    "ndcg_cut_10": lambda ranks: ndcg(ranks, k=10),
    "success_1": lambda ranks: recall(ranks, k=1),
    "success_10": lambda ranks: recall(ranks, k=10),
    "P_5": lambda ranks: precision(ranks, k=5),
    "recall_10": lambda ranks: recall_of_all(ranks, k=10),
}


@pytest.mark.parametrize("grades", [1, 3])
@pytest.mark.parametrize("levels", [5, 10**6], ids=["ties", "few ties"])
def test_measures_equal_those_of_trec_eval_query_by_query(grades, levels):
    """trec_eval orders ties by name, so it is given names that put wrong answers first, and then lower grades."""
    queries, items = 200, 90
    torch.manual_seed(grades)
    gallery = torch.eye(items)
    scores = (torch.rand(queries, items) * levels).floor() / levels - 0.7  # mostly negative
    scores[:, 40:60] = scores[:, :20]  # duplicates
    grade = torch.randint(1, grades + 1, (queries, items)) * (torch.rand(queries, items) < 0.08)
    grade[7] = 0  # no right answer
    pairs = grade.nonzero()
    plain = rank_relevant(scores, gallery, pairs)
    ranks = graded(plain, scores, gallery, pairs, grade[grade > 0].float())

    def name(q, g):
        return f"{9 - int(grade[q, g])}-{g}"

    qrel = {str(q): {name(q, g): int(grade[q, g]) for g in grade[q].nonzero()[:, 0].tolist()} for q in range(queries)}
    run = {str(q): {name(q, g): score for g, score in enumerate(row)} for q, row in enumerate(scores.tolist())}
    asked = {"recip_rank", "map_cut.10", "map", "ndcg_cut.1,10", "success.1,10", "P.5", "recall.10"}
    theirs = pytrec_eval.RelevanceEvaluator({q: r for q, r in qrel.items() if r}, asked).evaluate(run)
    assert ranks.answered == len(theirs) < queries
    for measure, function in OF_TREC.items():
        expected = [theirs[q][measure] for q in sorted(theirs, key=int)]
        assert function(ranks).tolist() == pytest.approx(expected, abs=1e-6), measure


def test_measures_equal_those_of_scikit_learn():
    """Another implementation: average precision, and graded gains, of scores without ties."""
    torch.manual_seed(0)
    scores, gallery = torch.stack([torch.randperm(50) for _ in range(40)]) / 50, torch.eye(50)
    grade = torch.randint(1, 4, (40, 50)) * (torch.rand(40, 50) < 0.2)
    pairs = grade.nonzero()
    ranks = graded(rank_relevant(scores, gallery, pairs), scores, gallery, pairs, grade[grade > 0].float())
    some = grade.any(1)
    for q, ours in zip(some.nonzero()[:, 0].tolist(), average_precision(ranks, k=50).tolist(), strict=True):
        assert ours == pytest.approx(average_precision_score(grade[q] > 0, scores[q]), abs=1e-6)
    theirs = ndcg_score(grade[some].numpy(), scores[some].numpy(), k=10)
    assert ndcg(ranks, k=10).mean().item() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block", [100, 5000])
def test_a_collapsed_model_ranks_worst(dtype, block):
    items, answers = 2000, 3
    torch.manual_seed(0)
    embedding = normalize(torch.randn(1, 64), dim=1).repeat(items, 1).to(dtype)
    relevant = torch.tensor([[q, (q + i) % items] for q in range(items) for i in range(answers)])

    one = rank_relevant(embedding, embedding, relevant[::answers], block=block)
    assert (one.rank == items).all()
    assert not recall(one, k=items - 1).any()
    assert reciprocal_rank(one).mean().item() == pytest.approx(1 / items)
    assert median(first_rank(one)) == items

    three = rank_relevant(embedding, embedding, relevant, block=block)
    assert three.rank.view(items, answers).unique(dim=0).tolist() == [[items - 2, items - 1, items]]
    assert not recall(three, k=items - answers).any()
    assert recall(three, k=items - answers + 1).all()
    assert not average_precision_at_r(three).any()
    assert not ndcg(three, k=10).any()


def test_a_score_within_the_tolerance_is_a_tie_and_one_beyond_is_not():
    query, relevant = torch.tensor([[1.0]]), torch.tensor([[0, 0]])
    for below, rank in ((0.0, 2), (5e-7, 2), (1e-6, 2), (2e-6, 1)):
        assert rank_relevant(query, torch.tensor([[0.5], [0.5 - below]]), relevant).rank.tolist() == [rank]


def test_negative_scores_count():
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [-0.6, 0.8], [-0.8, 0.6]])
    ranks = rank_relevant(query, gallery, torch.tensor([[0, 1], [0, 0]]))
    assert ranks.rank.tolist() == [1, 3]
    assert recall(ranks, k=1) == 1
    assert reciprocal_rank(ranks) == 1


def test_all_of_the_gallery_may_be_right():
    everything = torch.cartesian_prod(torch.arange(5), torch.arange(40))
    ranks = rank_relevant(grid(5, seed=0), grid(40, seed=1), everything)
    assert ranks.rank.view(5, 40).tolist() == [list(range(1, 41))] * 5
    assert average_precision_at_r(ranks).tolist() == pytest.approx([1] * 5)


def test_exclude_leaves_out_an_item_also_as_right_answer():
    photos = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    item = torch.tensor([0, 1, 0, 2])
    relevant = relevant_pairs([item], [item])
    assert rank_relevant(photos, photos, relevant).rank.tolist() == [1, 3, 1, 1, 4, 1]
    ranks = rank_relevant(photos, photos, relevant, exclude=torch.arange(4)[:, None].repeat(1, 2))
    assert as_dict(ranks) == {0: [2], 2: [3]}  # items 1 and 2 have no other photo
    assert (ranks.queries, ranks.answered) == (4, 2)


def test_autocast_and_matmul_precision_do_not_round_the_scores():
    torch.manual_seed(0)
    query, gallery = normalize(torch.randn(50, 64), dim=1), normalize(torch.randn(400, 64), dim=1)
    relevant = torch.arange(50)[:, None].repeat(1, 2)
    expected = rank_relevant(query, gallery, relevant).rank
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (query @ gallery.T).dtype == torch.bfloat16
            assert rank_relevant(query, gallery, relevant).rank.equal(expected)
            with full_float32(torch.device("cpu")):  # few processors round for "medium", so look at the setting too
                assert (query @ gallery.T).dtype == torch.float32
                assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision(before)


class LargestTensor(TorchFunctionMode):
    """Remembers the number of elements of the largest tensor that any torch function returned."""

    elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_memory_grows_with_the_block_also_for_a_query_with_very_many_answers():
    queries, items, block = 100, 1000, 10
    crowd = torch.stack([torch.zeros(items).long(), torch.arange(items)], dim=1)
    relevant = torch.cat([crowd, torch.arange(queries)[:, None].repeat(1, 2)])
    with LargestTensor() as largest:
        rank_relevant(torch.randn(queries, 8), torch.randn(items, 8), relevant, block=block)
    assert block * items <= largest.elements <= block * (items + 1)  # not queries * items, nor items * items


def test_without_an_answer_metrics_are_nan():
    nothing = torch.empty(0, 2, dtype=torch.long)
    for queries in (3, 0):
        ranks = rank_relevant(grid(queries, seed=0), grid(5, seed=1), nothing)
        assert (ranks.queries, ranks.answered, len(ranks.rank)) == (queries, 0, 0)
        for name, metric in METRICS.items():
            assert metric(ranks).shape == (), name
            assert metric(ranks).isnan(), name


ONE_PAIR = torch.tensor([[0, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.ones(3, 4)}, r"query, gallery: .* same D and G > 0, got \(3, 4\) and \(5, 2\)"),
        ({"query": torch.ones(2)}, r"query, gallery: .* got \(2,\) and \(5, 2\)"),
        ({"gallery": torch.ones(0, 2)}, r"query, gallery: .* got \(3, 2\) and \(0, 2\)"),
        ({"relevant": torch.tensor([0, 0])}, r"relevant: expected \(2, 2\) torch.int64, got \(2,\) torch.int64"),
        ({"relevant": ONE_PAIR.float()}, r"relevant: expected \(1, 2\) torch.int64, got \(1, 2\) torch.float32"),
        ({"relevant": torch.tensor([[3, 0]])}, r"relevant\[:, 0\]: expected indices from 0 to 2, got 1 others: \[3\]"),
        ({"relevant": torch.tensor([[0, 5]])}, r"relevant\[:, 1\]: expected indices from 0 to 4, got 1 others: \[5\]"),
        ({"relevant": torch.tensor([[0, -1]])}, r"relevant\[:, 1\]: .* got 1 others: \[-1\]"),
        ({"exclude": torch.tensor([0, 1])}, r"exclude: expected \(2, 2\) torch.int64, got \(2,\) torch.int64"),
        ({"exclude": torch.tensor([[0, 5], [0, -2]])}, r"exclude\[:, 1\]: expected .* got 2 others: \[5, -2\]"),
    ],
)
def test_errors_say_what_got_and_expected(change, message):
    given = {"query": torch.ones(3, 2), "gallery": torch.ones(5, 2), "relevant": ONE_PAIR, **change}
    with pytest.raises(ValueError, match=message):
        rank_relevant(given["query"], given["gallery"], given["relevant"], exclude=given.get("exclude"))


@pytest.mark.parametrize("side", ["query", "gallery"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])  # the square of 1e30 is beyond float32
def test_embeddings_that_are_not_finite_are_refused(side, value):
    embeddings = {"query": torch.ones(3, 2), "gallery": torch.ones(5, 2)}
    embeddings[side][1, 0] = value  # neither the query nor the gallery item of the pair
    with pytest.raises(ValueError, match=rf"{side}: expected finite numbers, got nan, inf or overflow in rows \[1\]"):
        rank_relevant(embeddings["query"], embeddings["gallery"], ONE_PAIR)


def test_strict_ceiling_is_what_a_perfect_text_model_reaches():
    text = torch.tensor([0, 1, 1, 2, 2, 2, 2, 3, 3, 3])
    own = torch.arange(10)[:, None].repeat(1, 2)
    query = torch.eye(4)[text]
    photo = query * (1 - torch.arange(10)[:, None] / 100)  # each text ranks its own photos first, in one fixed order
    ranks = rank_relevant(query, photo, own)
    for k, expected in ((1, 0.4), (2, 0.7), (3, 0.9), (4, 1.0), (99, 1.0)):
        assert strict_ceiling(text, k=k).item() == pytest.approx(expected)
        assert recall(ranks, k=k).mean().item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_strict_ceiling_is_the_best_of_all_rankings(seed):
    """Each text shows k photos; a product succeeds if its photo, or one that is the same, is among them."""
    text, photo = (torch.randint(n, (7,), generator=torch.Generator().manual_seed(seed + n)) for n in (3, 5))
    for k in (1, 2):
        found = 0
        for one in set(text.tolist()):
            own = [int(photo[i]) for i in range(7) if text[i] == one]
            found += max(sum(p in shown for p in own) for shown in combinations_with_replacement(set(own), k))
        assert strict_ceiling(text, photo, k=k).item() == pytest.approx(found / 7)


def test_strict_ceiling_leaves_out_products_without_text():
    assert strict_ceiling(torch.tensor([-1, 7, -1, 7]), k=1) == 0.5
    assert strict_ceiling(torch.tensor([-1, -1]), k=1).isnan()
