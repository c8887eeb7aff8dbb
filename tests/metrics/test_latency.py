import time

import pytest
import torch

from fashionclip.metrics import latency
from fashionclip.metrics.latency import rank_times


def test_the_times_are_those_of_single_queries(monkeypatch):
    ticks = iter([0.0, 9.0] * 3 + [second for number in range(1, 101) for second in (0.0, number / 1000)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    found = rank_times(torch.ones(100, 4), torch.ones(7, 4))
    assert found["p50_ms"] == pytest.approx(50.5) and found["p95_ms"] == pytest.approx(95.05)
    assert (found["queries"], found["vectors"]) == (100, 7)


def test_as_many_queries_as_are_worth_it(monkeypatch):
    monkeypatch.setattr(latency, "QUERIES", 5)
    for owner in (None, torch.tensor([0, 2, 2])):
        found = rank_times(torch.ones(30, 4), torch.ones(3, 4), owner=owner)
        assert found["queries"] == 5 and 0 < found["p50_ms"] <= found["p95_ms"]
    assert rank_times(torch.ones(0, 4), torch.ones(3, 4)) == {}
