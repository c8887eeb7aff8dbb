import math
import statistics

import numpy as np
import pytest
import torch

from fashionclip.metrics.intervals import Groups, intervals_of
from fashionclip.metrics.samples import Sample


def sample(values, group, name="recall@1"):
    return Sample("a", {name: values}, group, torch.arange(len(values)))


def grouped(times, items, per_item, alike):
    """(times, items * per_item) uniform numbers, of which two of one item are the same with some probability."""
    draws = torch.Generator().manual_seed(0)
    group = torch.arange(items).repeat_interleave(per_item)
    of_item = torch.rand(times, items, generator=draws)[:, group]
    own = torch.rand(times, len(group), generator=draws)
    return torch.where(torch.rand(times, len(group), generator=draws) < math.sqrt(alike), of_item, own), group


def coverage(values, group, truth, name):
    held = 0
    for line in values:
        low, high = intervals_of(sample(line, group, name), draws=300)[f"a/{name}"]
        held += low <= truth <= high
    return held / len(values)


@pytest.mark.parametrize(
    ("items", "per_item", "alike", "share"),
    [(60, 2, 0.0, 0.3), (60, 10, 0.3, 0.3), (60, 10, 0.9, 0.3), (20, 1, 0.0, 0.95), (8, 5, 0.5, 0.9)],
)
def test_intervals_hold_the_true_share_as_often_as_they_say(items, per_item, alike, share):
    given, group = grouped(300, items, per_item, alike)
    values = (given < share).float()
    assert 0.925 <= coverage(values, group, share, "recall@1") <= 0.99
    if alike == 0.9:
        assert coverage(values, torch.arange(len(group)), share, "recall@1") < 0.65, "as if queries were independent"


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_intervals_of_reciprocal_ranks_and_of_the_median_hold_them(alike):
    given, group = grouped(200, 40, 3, alike)
    ranks = (given**-1.3).floor()
    of_all = (torch.rand(10**6, generator=torch.Generator().manual_seed(1)) ** -1.3).floor()
    assert 0.92 <= coverage(1 / ranks, group, (1 / of_all).mean().item(), "mrr") <= 0.995
    assert 0.92 <= coverage(ranks, group, of_all.median().item(), "median_rank") <= 1
    assert 0.92 <= coverage(100 * given, group, 50.0, "clip_score") <= 0.99


def test_draws_are_figures_of_the_queries_of_the_groups_drawn():
    group = torch.tensor([5, 5, 7, 9, 9, 9])
    values = {"mrr": np.array([1.0, 0.5, 0.2, 0.1, 0.3, 1.0]), "median_rank": np.array([1.0, 2.0, 5.0, 10.0, 3.0, 1.0])}
    groups = Groups(group)
    drawn = groups.draw(values, draws=40)
    members = {place: (groups.place == place).nonzero()[0].tolist() for place in range(3)}
    weights = np.concatenate(list(groups.weights(draws=40, seed=0)))
    assert weights.sum(1).tolist() == [3] * 40 and len(np.unique(weights, axis=0)) > 5
    for row, times in enumerate(weights):
        chosen = [i for place, count in enumerate(times) for i in members[place] * count]
        assert drawn["mrr"][row] == pytest.approx(statistics.mean(values["mrr"][chosen]))
        assert drawn["median_rank"][row] == statistics.median(values["median_rank"][chosen])


def test_the_same_interval_each_time_and_in_parts(monkeypatch):
    given, group = grouped(1, 30, 2, 0.5)
    once = intervals_of(sample(given[0], group))
    assert once == intervals_of(sample(given[0], group))
    monkeypatch.setattr("fashionclip.metrics.intervals.AT_ONCE", 64)
    low, high = intervals_of(sample(given[0], group))["a/recall@1"]
    assert (low, high) == pytest.approx(once["a/recall@1"], abs=0.02), "drawn two at a time: others, but as wide"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_succeed_or_fail_each_group_counts_as_one_query(value):
    (low, high) = intervals_of(sample(torch.full((20,), value), torch.arange(20) // 2))["a/recall@1"]
    assert (low, high) == pytest.approx((0.722, 1.0) if value else (0.0, 0.278), abs=1e-3), "Wilson's of 10"


@pytest.mark.parametrize("size", [0, 1])
def test_of_one_query_hardly_anything_is_known_and_of_none_nothing(size):
    found = intervals_of(sample(torch.ones(size), torch.zeros(size, dtype=torch.long)))
    assert found == ({"a/recall@1": (pytest.approx(0.207, abs=1e-3), 1.0)} if size else {})
    assert intervals_of(sample(torch.full((3,), torch.nan), torch.arange(3))) == {}
