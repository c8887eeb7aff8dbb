import itertools
import math

import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.ranking import TIE
from fashionclip.metrics.triplet_functions import order_accuracy, order_curve, spread, triplet_accuracy


def distances(size, *, ties=False):
    """Of the anchor to positive, semi-positive and negative, (N,) each, mostly in this order."""
    torch.manual_seed(size)
    apart = torch.rand(3, size) + torch.tensor([[0.0], [0.3], [0.6]])
    return tuple((4 * apart).round() / 4 if ties else apart)


def share(hits):
    return sum(hits) / len(hits) if hits else math.nan


def slow_nearer(x, y):
    return float(y) - float(x) > 1e-6


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_accuracies_equal_the_loops(size, ties):
    ap, aq, an = distances(size, ties=ties)
    rows = range(size)
    assert triplet_accuracy(ap, an).item() == pytest.approx(share([slow_nearer(ap[i], an[i]) for i in rows]))
    in_order = [slow_nearer(ap[i], aq[i]) and slow_nearer(aq[i], an[i]) for i in rows]
    assert order_accuracy(ap, aq, an).item() == pytest.approx(share(in_order))
    assert size < 100 or 0.2 < share(in_order) < triplet_accuracy(ap, an) < 1


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_the_curve_equals_the_loop(size, ties):
    ap, aq, _ = distances(size, ties=ties)
    s = torch.randint(0, 11, (size,)) / 10  # often on an edge
    edges = torch.tensor([0.0, 0.1, 0.5, 0.55, 0.9])
    shares, counts = order_curve(ap, aq, s, edges)
    for k in range(4):
        inside = [i for i in range(size) if edges[k] < s[i] <= edges[k + 1]]
        assert counts[k] == len(inside)
        expected = share([slow_nearer(ap[i], aq[i]) for i in inside])
        assert shares[k].item() == pytest.approx(expected, nan_ok=True)
    assert counts[2] == 0 and shares[2].isnan()


def test_of_nothing_there_is_no_share():
    nothing = torch.empty(0)
    assert triplet_accuracy(nothing, nothing).isnan()
    assert order_accuracy(nothing, nothing, nothing).isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("at", [0.0, 1.0, 2.0])
def test_ties_count_against_the_model(dtype, at):
    same = torch.full((5,), at, dtype=dtype)
    assert triplet_accuracy(same, same) == 0
    assert order_accuracy(same, same, same + 1) == order_accuracy(same, same + 1, same + 1) == 0
    assert order_curve(same, same, torch.ones(5), torch.tensor([0.0, 1.0]))[0] == 0


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_tie_is_anything_closer_than_rounding(at):
    ap = torch.tensor([at])
    assert triplet_accuracy(ap, ap + TIE / 4) == 0
    assert triplet_accuracy(ap, ap + TIE * 4) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [2, 3, 50])
def test_spread_is_the_mean_over_pairs(size, dtype):
    torch.manual_seed(size)
    x = normalize(torch.randn(size, 6) + 0.5, dim=1).to(dtype)
    pairs = [1 - float(x[i].double() @ x[j].double()) for i, j in itertools.combinations(range(size), 2)]
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2  # bfloat16 vectors are not of unit norm
    assert spread(x).item() == pytest.approx(share(pairs), abs=tolerance)


def test_spread_of_special_cases():
    one = normalize(torch.ones(1, 512), dim=1)
    assert spread(one).isnan()
    assert spread(one[:0]).isnan()
    assert spread(one.expand(1000, -1)) < 1e-10  # collapsed
    assert spread(torch.cat([one, -one])) == pytest.approx(2)
    assert spread(torch.eye(100)) == pytest.approx(1)


def test_what_is_not_a_finite_number_is_refused():
    right, wrong = torch.tensor([0.1, 0.2]), torch.tensor([0.1, math.nan])
    for measure in (
        lambda: triplet_accuracy(right, wrong),
        lambda: order_accuracy(wrong, right, right),
        lambda: order_curve(right, wrong, right, torch.tensor([0.0, 1.0])),
        lambda: spread(torch.stack([right, wrong])),
    ):
        with pytest.raises(ValueError, match=r"expected finite numbers.*\[1\]"):
            measure()
