from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.catalog import CatalogScores, rank_sku
from fashionclip.metrics.embedded import Embedded
from fashionclip.metrics.ranking import mean_reciprocal_rank, recall

FUNCTIONS = {"recall@1": partial(recall, k=1), "recall@5": partial(recall, k=5), "mrr": mean_reciprocal_rank}


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
    return CatalogScores(
        item_id=torch.tensor([0, 0, 0, 1, 1, 2, 9]),
        text_id=torch.tensor([0, 1, 1, 0, 1, 2, 0]),
        is_query=torch.tensor([True, False, False, True, False, False, True]),
        functions=FUNCTIONS,
        slices={"category": ["dress", "dress", "dress", "skirt", "skirt", "vest", "vest"]},
    )


def test_scores_of_a_small_catalogue():
    east, north, west = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
    image = torch.tensor([east, east, west, north, west, north, east])
    seen = Embedded(torch.arange(7), image, torch.tensor([0, 1, 2]), torch.tensor([north, west, north]))
    values = scores()(seen)
    # Query 0 finds its photo 1 at once; query 3 (SKU 1, west) is farther than SKU 2 (north) and, best photo, than 0;
    # query 6 has no SKU in the catalogue.
    assert values["query_to_sku/queries"] == 2 and values["query_to_sku/skus"] == 3
    assert values["query_to_sku/recall@1"] == 0.5
    assert values["query_to_sku/recall@1/category/dress"] == 1 and values["query_to_sku/recall@1/category/skirt"] == 0
    assert "query_to_sku/recall@1/category/vest" not in values
    # The mean of SKU 0 is nowhere: east and west cancel out.
    assert values["query_to_sku_mean/recall@1"] == 0
    assert values["text_to_sku/texts"] == 3
    assert values["text_to_sku/strict_ceiling@1"] == pytest.approx(3 / 5)  # of 0: SKUs 0, 1; of 1: 0, 1; of 2: SKU 2


def test_without_queries_or_catalogue_there_is_nothing_to_say():
    for rows in ([0, 3], [1, 2, 4], []):
        row = torch.tensor(rows, dtype=torch.long)
        seen = Embedded(row, torch.ones(len(rows), 2), torch.tensor([]), torch.ones(0, 2))
        assert scores()(seen) == {}


def test_a_constant_model_is_at_the_bottom():
    seen = Embedded(torch.arange(7), torch.ones(7, 2) / 2**0.5, torch.tensor([0, 1, 2]), torch.ones(3, 2) / 2**0.5)
    values = scores()(seen)
    assert values["query_to_sku/recall@1"] == values["query_to_sku_mean/recall@1"] == 0
    assert values["text_to_sku/mrr"] < 0.6
