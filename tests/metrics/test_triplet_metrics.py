import math

import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.embedded import Embedded
from fashionclip.metrics.triplet_metrics import TripletScores

ROWS = torch.tensor([[0, 1, 2, 5], [2, 3, 0, 6], [5, 6, 7, 0], [1, 0, 3, 9]])  # 9 is of another split
KIND = ["text/edited", "text/replaced", "text/edited", "text/edited"]
DISTANCE = torch.tensor([0.05, 1.0, 0.3, 0.2])
SEEN = [0, 1, 2, 3, 5, 6, 7]


@pytest.fixture
def image():
    return normalize(torch.randn(10, 4, generator=torch.Generator().manual_seed(0)), dim=1)


def of(rows, image):
    return Embedded(torch.tensor(list(rows)), image, torch.empty(0), torch.empty(0, 4))


def apart(image, one, other):
    return math.dist(image[one].tolist(), image[other].tolist())


def test_scores_are_those_of_a_loop_over_the_seen_triplets(image):
    scores = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND)
    values = scores(of(SEEN, image[SEEN]))
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
    values = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND, unseen=unseen)(of(SEEN, image[SEEN]))
    distances = [[apart(image, ROWS[i][0], ROWS[i][role]) for role in (1, 2, 3)] for i in (0, 1, 2)]
    in_order = [p < q < n for p, q, n in distances]
    assert values["triplet/order_accuracy/text/edited/unseen"] == in_order[0]
    assert values["triplet/order_accuracy/text/edited/seen"] == in_order[2]
    assert values["triplet/order_accuracy/text/replaced/seen"] == in_order[1]
    assert values["triplet/order_accuracy/text/replaced/unseen"].isnan()
    for nothing in (None, torch.zeros(4, dtype=torch.bool)):
        values = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND, unseen=nothing)(of(SEEN, image[SEEN]))
        assert not any("seen" in name for name in values)


def test_a_collapsed_model_scores_nothing():
    values = TripletScores(rows=ROWS, semipos_distance=DISTANCE, kind=KIND)(of(range(10), torch.ones(10, 4) / 2))
    assert values["triplet/accuracy"] == values["triplet/order_accuracy"] == 0
