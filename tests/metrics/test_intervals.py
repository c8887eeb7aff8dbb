import math

import pytest
import torch

from fashionclip.metrics.intervals import effective_count, effective_queries, wilson_interval
from fashionclip.metrics.ranking import Ranks, measured, recall


def slow_count(hit, group):
    """The design effect from sums over groups, in plain Python."""
    queries, share = len(hit), sum(hit) / len(hit)
    members = [[i for i in range(queries) if group[i] == name] for name in set(group)]
    groups = queries**2 / sum(len(part) ** 2 for part in members)
    if len(members) == queries:
        return queries
    if len(members) == 1 or share in (0, 1):
        return groups
    between = sum(sum(hit[i] - share for i in part) ** 2 for part in members) / queries**2 * groups / (groups - 1)
    effect = between / (share * (1 - share) / queries) * (1 + (1.96**2 + 1) / (4 * (groups - 1))) ** 2
    return queries / min(max(effect, 1), queries)


@pytest.mark.parametrize("seed", range(30))
def test_the_count_equals_the_loop(seed):
    draws = torch.Generator().manual_seed(seed)
    size = int(torch.randint(1, 40, (), generator=draws))
    group = torch.randint(1 + seed, (size,), generator=draws)
    hit = torch.rand(size, generator=draws) < (seed % 5) / 4
    found = effective_count(hit, group).item()
    assert found == pytest.approx(slow_count(hit.tolist(), group.tolist()), rel=1e-5)
    assert 1 - 1e-6 <= found <= size


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.9])  # correlation of two queries of one item
@pytest.mark.parametrize(("per_item", "naive_at_most"), [(2, 0.88), (10, 0.59)])
def test_intervals_hold_the_true_share_as_often_as_they_say(per_item, alike, naive_at_most):
    items, times, share = 60, 800, 0.3
    draws = torch.Generator().manual_seed(0)
    group = torch.arange(items).repeat_interleave(per_item)
    of_item = (torch.rand(times, items, generator=draws) < share)[:, group]
    own = torch.rand(times, len(group), generator=draws) < share
    hits = torch.where(torch.rand(times, len(group), generator=draws) < math.sqrt(alike), of_item, own)
    held = {"effective": 0, "naive": 0}
    for hit in hits:
        found = hit.double().mean().item()
        for name, count in ("effective", effective_count(hit, group).item()), ("naive", len(hit)):
            low, high = wilson_interval(found, count)
            held[name] += low <= share <= high
    assert 0.93 <= held["effective"] / times <= 0.98
    assert alike < 0.9 or held["naive"] / times <= naive_at_most, "of queries counted as independent"


def test_what_is_measured_says_as_how_many_queries_it_counts():
    rank, query = torch.tensor([1, 1, 9, 9, 1, 1]), torch.tensor([0, 1, 3, 4, 5, 6])
    group = torch.tensor([0, 0, 9, 1, 1, 2, 2])
    ranks = Ranks(rank=rank, query=query, queries=7)
    functions = {f"recall@{k}": lambda ranks, k=k: recall(ranks, k=k) for k in (1, 10)}
    values = measured(ranks, functions, direction="text_to_image", group=group)
    assert values["text_to_image/queries"] == 6
    of_query = group[query].tolist()
    for k, hit in ((1, [1, 1, 0, 0, 1, 1]), (10, [1] * 6)):
        assert values[f"text_to_image/effective_queries@{k}"].item() == pytest.approx(slow_count(hit, of_query))
    numbers = {name: value.item() for name, value in values.items()}
    assert effective_queries(numbers, "text_to_image/recall@10") == pytest.approx(3), "all succeed: as many as groups"
    assert effective_queries({"a/queries": 6.0}, "a/recall@1") == 6
    nothing = measured(Ranks(rank[:0], query[:0], 0), functions, direction="a", group=group[:0])
    assert set(nothing) == {"a/recall@1", "a/recall@10", "a/queries"}
