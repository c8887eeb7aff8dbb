import math
import random
from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.ranking import ndcg, rank_relevant, recall, reciprocal_rank
from fashionclip.metrics.retrieval_metrics import Embedded, RetrievalMetrics
from fashionclip.metrics.samples import Found, figures_of
from fashionclip.metrics.sku_metrics import SkuScores

FUNCTIONS = {
    "recall@1": partial(recall, k=1),
    "recall@5": partial(recall, k=5),
    "mrr": reciprocal_rank,
    "ndcg@10": partial(ndcg, k=10),
}


def rank_sku(query, gallery, sku, right, **options):
    """Ranks of each query's SKU; one without a photo in the catalogue is no query."""
    asked = torch.isin(right, sku).nonzero()[:, 0]
    return rank_relevant(query, gallery, torch.stack([asked, right[asked]], dim=1), owner=sku, **options)


def slow_ranks(query, photo, sku, right):
    """Query -> rank of its SKU, ties before it, for queries whose SKU is in the catalogue."""
    ranks = {}
    for q, wanted in enumerate(right):
        best = {}
        for g, shown in enumerate(sku):
            score = float(query[q].double() @ photo[g].double())
            best[shown] = max(score, best.get(shown, -2.0))
        if wanted in best:
            ranks[q] = sum(score >= best[wanted] - 1e-6 for score in best.values())
    return ranks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("queries", "photos", "skus"), [(7, 12, 4), (300, 40, 9), (5, 5, 5), (3, 6, 1), (0, 4, 2)])
def test_ranks_are_those_of_a_loop(queries, photos, skus, dtype):
    torch.manual_seed(queries)
    query, photo = (normalize(torch.randn(n, 3), dim=1).to(dtype) for n in (queries, photos))
    photo[: photos // 3] = photo[-1]  # duplicates across SKUs: ties
    sku = torch.randint(skus, (photos,))
    right = torch.randint(skus + 1, (queries,))  # some SKUs have no photo
    ranks = rank_sku(query, photo, sku, right, block=64)
    expected = slow_ranks(query.float(), photo.float(), sku.tolist(), right.tolist())
    assert dict(zip(ranks.query.tolist(), ranks.rank.tolist(), strict=True)) == expected
    assert ranks.queries == queries and ranks.answered == len(expected)


def test_a_collapsed_model_ranks_last():
    right = torch.tensor([0, 1, 2, 0])
    ranks = rank_sku(torch.ones(4, 2) / 2**0.5, torch.ones(6, 2) / 2**0.5, torch.arange(6) % 3, right)
    assert ranks.rank.tolist() == [3, 3, 3, 3]


def scores():
    return SkuScores(
        item_id=torch.tensor([0, 0, 0, 1, 1, 2, 9]),
        text_id=torch.tensor([0, 1, 1, 0, 1, 2, 0]),
        is_query=torch.tensor([True, False, False, True, False, False, True]),
        functions=FUNCTIONS,
    )


def figures(scores, seen):
    found = scores(seen)
    return figures_of(found.samples) | found.figures


def test_scores_of_a_small_catalogue():
    east, north, west = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
    image = torch.tensor([east, east, west, north, west, north, east])
    seen = Embedded(torch.arange(7), image, torch.tensor([0, 1, 2]), torch.tensor([north, west, north]))
    values = figures(scores(), seen)
    # Query 0 finds its photo 1 at once; query 3 (SKU 1, west) is farther than SKU 2 (north) and, best photo, than 0;
    # query 6 has no SKU in the catalogue.
    assert values["query_to_sku/queries"] == 2 and values["query_to_sku/skus"] == 3
    assert values["query_to_sku/recall@1"] == 0.5
    of_each = scores()(seen).samples[0]
    assert of_each.values["mrr"].tolist() == [1.0, pytest.approx(1 / 3)] and of_each.search.asked.tolist() == [0, 3, 6]
    # The mean of SKU 0 is nowhere: east and west cancel out.
    assert values["query_to_sku_mean/recall@1"] == 0
    assert values["text_to_sku/texts"] == 3
    assert values["text_to_sku/strict_ceiling@1"] == pytest.approx(3 / 5)  # of 0: SKUs 0, 1; of 1: 0, 1; of 2: SKU 2


def test_a_photo_under_several_skus_is_right_for_all_of_them():
    """A catalogue of SKU 0 (photos 1 and 2), SKU 1 (photo 3, the same file as 1) and SKU 2 (photo 4)."""
    east, north, west = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
    image = torch.tensor([east, east, north, east, west, north])

    def values(photo_id):
        item_id = torch.tensor([0, 0, 0, 1, 2, 2])
        scores = SkuScores(
            item_id=item_id,
            text_id=torch.tensor([-1, 0, -1, 1, 2, -1]),
            is_query=torch.tensor([True, False, False, False, False, True]),
            functions=FUNCTIONS,
            photo_id=torch.tensor(photo_id),
        )
        seen = Embedded(torch.arange(6), image, torch.tensor([0, 1, 2]), torch.tensor([east, east, west]))
        return figures(scores, seen) | {"hits": scores(seen).samples[0].values["recall@1"].tolist()}

    apart, same, asked_with = values([0, 1, 2, 3, 4, 5]), values([0, 1, 2, 1, 4, 5]), values([0, 1, 2, 1, 4, 2])
    assert apart["query_to_sku/recall@1"] == 0, "query 0 is as near to SKU 1; query 5 to SKU 0"
    assert same["hits"] == [1, 0]
    assert apart["query_to_sku_mean/recall@1"] == 0 and same["query_to_sku_mean/recall@1"] == 0.5
    assert asked_with["query_to_sku/recall@1"] == 1, "query 5 is a photo of SKU 0 as well"
    assert apart["text_to_sku/recall@1"] == pytest.approx(2 / 3) and same["text_to_sku/recall@1"] == 1
    for name in ("query_to_sku/queries", "text_to_sku/strict_ceiling@1"):
        assert apart[name] == same[name] == asked_with[name]


def test_without_queries_or_catalogue_there_is_nothing_to_say():
    for rows in ([0, 3], [1, 2, 4], []):
        row = torch.tensor(rows, dtype=torch.long)
        seen = Embedded(row, torch.ones(len(rows), 2), torch.tensor([]), torch.ones(0, 2))
        assert scores()(seen) == Found([], {})


def test_a_constant_model_is_at_the_bottom():
    seen = Embedded(torch.arange(7), torch.ones(7, 2) / 2**0.5, torch.tensor([0, 1, 2]), torch.ones(3, 2) / 2**0.5)
    values = figures(scores(), seen)
    assert values["query_to_sku/recall@1"] == values["query_to_sku_mean/recall@1"] == 0
    assert values["text_to_sku/mrr"] < 0.6


def slow_figures(ranks):
    """All figures of one direction, from the ranks of the right answers of each query."""
    answered = [sorted(of_query) for of_query in ranks if of_query]
    share = [1 / len(answered)] * len(answered) if answered else []

    def mean(values):
        return sum(one * part for one, part in zip(values, share, strict=True)) if answered else math.nan

    ideal = [sum(1 / math.log2(2 + place) for place in range(min(10, len(of_query)))) for of_query in answered]
    gain = [sum(1 / math.log2(1 + rank) for rank in of_query if rank <= 10) for of_query in answered]
    return {
        "recall@1": mean([of_query[0] <= 1 for of_query in answered]),
        "recall@5": mean([of_query[0] <= 5 for of_query in answered]),
        "mrr": mean([1 / of_query[0] for of_query in answered]),
        "ndcg@10": mean([one / most for one, most in zip(gain, ideal, strict=True)]),
        "queries": len(answered),
    }


def slow_rank(scores, wanted, right):
    """Rank of a right answer: the right ones before it, and all wrong ones that score as high, within a tie."""
    first = sorted((-scores[sku], sku) for sku in right)
    wrong = [sku for sku in scores if sku not in right]
    place = [sku for _, sku in first].index(wanted)
    return 1 + place + sum(scores[sku] >= scores[wanted] - 1e-6 for sku in wrong)


def slow_scores(rows, image, text, key, suffix=""):
    """All of SkuScores, by loops. Rows: (item, text, is_query, position in image)."""
    score = {True: "query_to_sku" + suffix, False: "query_to_sku_mean" + suffix}
    catalog = [row for row in rows if not row[2]]
    queries = [row for row in rows if row[2]]
    if not catalog or not queries:
        return {}
    by_sku = {}
    for item, _, _, place in catalog:
        by_sku.setdefault(item, []).append(image[place].double())
    mean = {}
    for item, photos in by_sku.items():
        total = sum(photos)
        mean[item] = total / max(float(total.norm()), 1e-12)
    expected = {}
    for best, direction in score.items():
        ranks = []
        for item, _, _, place in queries:
            query = image[place].double()
            if best:
                scores = {sku: max(float(query @ photo) for photo in photos) for sku, photos in by_sku.items()}
            else:
                scores = {sku: float(query @ vector) for sku, vector in mean.items()}
            ranks.append([slow_rank(scores, item, {item})] if item in by_sku else [])
        expected |= {f"{direction}/{name}": value for name, value in slow_figures(ranks).items()}
    expected[f"query_to_sku{suffix}/skus"] = len(by_sku)
    ranks, owners = [], []
    for text_id in sorted({row[1] for row in rows}):
        right = {row[0] for row in rows if key[row[1]] == key[text_id] and row[0] in by_sku}
        scores = {sku: float(text[text_id].double() @ vector) for sku, vector in mean.items()}
        ranks.append([slow_rank(scores, sku, right) for sku in right])
        owners.append(len(right))
    expected |= {f"text_to_sku{suffix}/{name}": value for name, value in slow_figures(ranks).items()}
    expected[f"text_to_sku{suffix}/texts"] = sum(owner > 0 for owner in owners)
    for k in (1, 10):
        ceiling = sum(min(k, owner) for owner in owners) / sum(owners) if sum(owners) else math.nan
        expected[f"text_to_sku{suffix}/strict_ceiling@{k}"] = ceiling
    return expected


@pytest.mark.parametrize("seed", range(12))
def test_seen_and_unseen_skus_apart_equal_loops_over_everything(seed):
    """With ties, SKUs of one domain only, texts of several SKUs or in two spellings, rows that come twice, or never."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    count, texts = rng.randint(10, 60), rng.randint(1, 9)
    image, text = normalize(torch.randn(count, 4), dim=1), normalize(torch.randn(texts, 4), dim=1)
    for _ in range(count // 3):
        image[rng.randrange(count)] = image[rng.randrange(count)]
    text[0] = text[-1]
    seen = [rng.random() < 0.4 for _ in range(count)]
    rows = [
        (
            rng.randrange(1 + count // 6) + 1000 * apart,  # a SKU is seen or not
            rng.randrange(texts),
            rng.random() < 0.5,
            place,
        )
        for place, apart in enumerate(seen)
    ]
    item_id, text_id = (torch.tensor([row[part] for row in rows]) for part in (0, 1))
    key = [text_id // (1 + seed % 2) for text_id in range(texts)]
    scores = partial(
        SkuScores,
        item_id=item_id,
        text_id=text_id,
        text_key=torch.tensor(key)[text_id],
        is_query=torch.tensor([row[2] for row in rows]),
        functions=FUNCTIONS,
    )
    metrics = RetrievalMetrics(
        item_id=item_id,
        text_id=text_id,
        functions=FUNCTIONS,
        also=[scores()],
        apart=torch.tensor(seen).nonzero()[:, 0],
        of_apart=[scores(suffix="_seen")],
    )
    came = [place for place in range(count) if rng.random() < 0.9]
    order = [*came, *rng.choices(came, k=3)]
    rng.shuffle(order)
    for batch in torch.tensor(order).split(7):
        own = text_id[batch].unique()
        metrics.update(image[batch], batch, text[own], own)
    expected = slow_scores([rows[i] for i in came if not seen[i]], image, text, key)
    expected |= slow_scores([rows[i] for i in came if seen[i]], image, text, key, suffix="_seen")
    found = {name: float(value) for name, value in metrics.compute().items() if "_to_sku" in name}
    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_rows_apart_change_nothing_of_the_others():
    image, text = normalize(torch.randn(7, 4), dim=1), normalize(torch.randn(3, 4), dim=1)
    item_id, text_id = torch.tensor([0, 0, 1, 1, 0, 2, 2]), torch.tensor([0, 0, 1, 1, 0, 1, 2])
    build = partial(RetrievalMetrics, item_id=item_id, text_id=text_id, functions=FUNCTIONS)
    alone, both = build(), build(apart=torch.tensor([4, 5, 6]))
    alone.update(image[:4], torch.arange(4), text[:2], torch.tensor([0, 1]))
    both.update(image, torch.arange(7), text, torch.arange(3))
    torch.testing.assert_close(both.compute(), alone.compute(), rtol=0, atol=0)
    assert both.embedded.image_row.tolist() == [0, 1, 2, 3] and both.embedded.text_id.tolist() == [0, 1]


@pytest.mark.parametrize("wrong", ["query", "gallery"])
def test_embeddings_that_are_not_finite_are_refused(wrong):
    given = {"query": torch.ones(2, 2), "gallery": torch.ones(2, 2)}
    given[wrong][1, 0] = torch.nan
    with pytest.raises(ValueError, match=rf"{wrong}: expected finite numbers.*\[1\]"):
        rank_sku(**given, sku=torch.tensor([0, 1]), right=torch.tensor([0, 1]))


def test_autocast_does_not_round_the_scores():
    torch.manual_seed(0)
    query, photo = normalize(torch.randn(50, 64), dim=1), normalize(torch.randn(400, 64), dim=1)
    asked = (query, photo, torch.arange(400) % 80, torch.arange(50))
    expected = rank_sku(*asked).rank
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rank_sku(*asked).rank.equal(expected)
