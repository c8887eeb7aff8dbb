from itertools import pairwise

import pytest
import torch

from fashionclip import distributed
from fashionclip.data.samplers import GroupSampler, SomeSampler

GROUP = torch.tensor([0] * 7 + [1] * 3 + [2] + [3] * 5 + [4] * 4)
ITEM = torch.arange(20) // 2


def sampler(epoch=0, **settings):
    one = GroupSampler(**{"group": GROUP, "item": ITEM, "per_group": 4, "seed": 0} | settings)
    one.set_epoch(epoch)
    return one


def runs(positions):
    """Consecutive stretches of one group."""
    found = [[positions[0]]]
    for before, after in pairwise(positions):
        if GROUP[before] == GROUP[after] and len(found[-1]) < 4:
            found[-1].append(after)
        else:
            found.append([after])
    return found


def test_each_row_comes_once_an_epoch_in_runs_of_its_group():
    positions = list(sampler())
    assert sorted(positions) == list(range(20)) and len(sampler()) == 20
    assert sum(len(run) > 1 for run in runs(positions)) >= 4


def test_rows_of_one_item_lie_side_by_side():
    positions = list(sampler(group=torch.zeros(20, dtype=torch.long), per_group=20))
    items = ITEM[positions].tolist()
    assert all(items[i] == items[i + 1] for i in range(0, 20, 2))


def test_epochs_differ_and_repeat_by_seed():
    assert list(sampler()) == list(sampler()) != list(sampler(epoch=1))
    assert list(sampler(epoch=1)) != list(sampler(seed=1))


@pytest.mark.parametrize("kind", ["groups", "some"])
def test_all_processes_are_told_the_same_order(monkeypatch, kind):
    orders = []
    for processes, rank in (1, 0), (3, 0), (3, 2):
        monkeypatch.setattr(distributed, "world_size", lambda processes=processes: processes)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        orders.append(list(sampler(1) if kind == "groups" else SomeSampler(torch.arange(20), seed=0)))
    assert orders[0] == orders[1] == orders[2] and sorted(orders[0]) == list(range(20))


def test_the_first_rows_of_an_item_are_of_different_views():
    item, view = torch.arange(24) // 12, torch.tensor([0] * 10 + [1] * 2 + [0] * 6 + [1] * 6)
    for epoch in range(4):
        one = GroupSampler(group=torch.zeros(24).long(), item=item, view=view, per_group=4, per_item=4, seed=0)
        one.set_epoch(epoch)
        positions = torch.tensor(list(one))
        assert sorted(positions.tolist()) == list(range(24))
        runs = {tuple(item[run].tolist()): view[run].sum().item() for run in positions.split(4)}
        assert set(runs) == {(0,) * 4, (1,) * 4}, "four rows of one item together"
        starts = [run for run in positions.split(4) if {0, 1} <= set(view[run].tolist())]
        assert len(starts) >= 4, "the second item has three such runs, the first one: then its second view is used up"


def test_some_rows_come_in_another_order_each_epoch():
    one = SomeSampler(torch.tensor([3, 5, 7, 8, 11]), seed=0)
    orders = []
    for epoch in range(4):
        one.set_epoch(epoch)
        orders.append(tuple(one))
    assert len(one) == 5 and all(sorted(order) == [3, 5, 7, 8, 11] for order in orders) and len(set(orders)) > 1
