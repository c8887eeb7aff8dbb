import math

import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.ranking import TIE
from fashionclip.metrics.retrieval_metrics import Embedded
from fashionclip.metrics.samples import figures_of
from fashionclip.metrics.triplet_metrics import TripletScores, order_accuracy, triplet_accuracy

ROWS = torch.tensor([[0, 1, 2, 5], [2, 3, 0, 6], [5, 6, 7, 0], [1, 0, 3, 9]])  # 9 is of another split
KIND = ["text/edited", "text/replaced", "text/edited", "text/edited"]
DISTANCE = torch.tensor([0.05, 1.0, 0.3, 0.2])
SEEN = [0, 1, 2, 3, 5, 6, 7]


@pytest.fixture
def image():
    return normalize(torch.randn(10, 4, generator=torch.Generator().manual_seed(0)), dim=1)


def of(rows, image):
    return Embedded(torch.tensor(list(rows)), image, torch.empty(0), torch.empty(0, 4))


def figures(scores, embedded):
    return figures_of(scores(embedded).samples)


def apart(image, one, other):
    return math.dist(image[one].tolist(), image[other].tolist())


def test_scores_are_those_of_a_loop_over_the_seen_triplets(image):
    scores = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND)
    values = figures(scores, of(SEEN, image[SEEN]))
    seen = [0, 1, 2]
    distances = [[apart(image, ROWS[i][0], ROWS[i][role]) for role in (1, 2, 3)] for i in seen]
    in_order = [p < q < n for p, q, n in distances]
    assert values["triplet/accuracy"] == pytest.approx(sum(p < n for p, _, n in distances) / 3)
    assert values["triplet/order_accuracy"] == pytest.approx(sum(in_order) / 3)
    assert values["triplet/order_accuracy/text/replaced"] == in_order[1]
    assert values["triplet/order_accuracy/text/edited"] == pytest.approx((in_order[0] + in_order[2]) / 2)
    assert values["triplet/order_accuracy/text/0-0.1"] == in_order[0]
    assert values["triplet/order_accuracy/text/0.25-0.5"] == in_order[2]
    assert "triplet/order_accuracy/text/0.1-0.25" not in values, "that one was not seen"
    for place, name in enumerate(("positive", "semipositive", "negative")):
        assert values[f"triplet/distance_{name}"] == pytest.approx(sum(d[place] for d in distances) / 3, abs=1e-5)
    assert scores.shown.rows.tolist() == ROWS[:3].tolist()
    assert torch.allclose(scores.shown.distance, torch.tensor(distances), atol=1e-5)


def test_what_train_never_shows_is_measured_apart(image):
    unseen = torch.tensor([True, False, False, True])
    scores = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND, unseen=unseen)
    values = figures(scores, of(SEEN, image[SEEN]))
    distances = [[apart(image, ROWS[i][0], ROWS[i][role]) for role in (1, 2, 3)] for i in (0, 1, 2)]
    in_order = [p < q < n for p, q, n in distances]
    assert values["triplet/order_accuracy/text/edited/unseen"] == in_order[0]
    assert values["triplet/order_accuracy/text/edited/seen"] == in_order[2]
    assert values["triplet/order_accuracy/text/replaced/seen"] == in_order[1]
    assert values["triplet/order_accuracy/text/replaced/unseen"].isnan()
    for nothing in (None, torch.zeros(4, dtype=torch.bool)):
        scores = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND, unseen=nothing)
        values = figures(scores, of(SEEN, image[SEEN]))
        assert not any("seen" in name for name in values)


def test_a_measure_of_ones_own_is_given_the_distances_that_it_names(image):
    functions = {"margin": lambda ap, an: an - ap, "gap": lambda aq, ap: aq - ap}
    scores = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND, functions=functions)
    values = figures(scores, of(SEEN, image[SEEN]))
    (p, q, n) = (sum(apart(image, ROWS[i][0], ROWS[i][role]) for i in range(3)) / 3 for role in (1, 2, 3))
    assert values["triplet/margin"] == pytest.approx(n - p, abs=1e-5)
    assert values["triplet/gap"] == pytest.approx(q - p, abs=1e-5)
    assert "triplet/gap/text/edited" in values and "triplet/margin/text/edited" not in values
    assert "triplet/accuracy" not in values


def test_a_collapsed_model_scores_nothing():
    scores = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND)
    values = figures(scores, of(range(10), torch.ones(10, 4) / 2))
    assert values["triplet/accuracy"] == values["triplet/order_accuracy"] == 0


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
    assert triplet_accuracy(ap, an).mean().item() == pytest.approx(share([slow_nearer(ap[i], an[i]) for i in rows]))
    in_order = [slow_nearer(ap[i], aq[i]) and slow_nearer(aq[i], an[i]) for i in rows]
    assert order_accuracy(ap, aq, an).mean().item() == pytest.approx(share(in_order))
    assert size < 100 or 0.2 < share(in_order) < triplet_accuracy(ap, an).mean() < 1


def test_of_nothing_there_is_no_share():
    nothing = torch.empty(0)
    assert len(triplet_accuracy(nothing, nothing)) == len(order_accuracy(nothing, nothing, nothing)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("at", [0.0, 1.0, 2.0])
def test_ties_count_against_the_model(dtype, at):
    same = torch.full((5,), at, dtype=dtype)
    assert not triplet_accuracy(same, same).any()
    assert not order_accuracy(same, same, same + 1).any() and not order_accuracy(same, same + 1, same + 1).any()


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_tie_is_anything_closer_than_rounding(at):
    ap = torch.tensor([at])
    assert triplet_accuracy(ap, ap + TIE / 4) == 0
    assert triplet_accuracy(ap, ap + TIE * 4) == 1


def test_what_is_not_a_finite_number_is_refused():
    right, wrong = torch.tensor([0.1, 0.2]), torch.tensor([0.1, math.nan])
    for measure in (
        lambda: triplet_accuracy(right, wrong),
        lambda: order_accuracy(wrong, right, right),
    ):
        with pytest.raises(ValueError, match=r"expected finite numbers.*\[1\]"):
            measure()
