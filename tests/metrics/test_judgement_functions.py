import math
from functools import partial

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    multiclass_f1_score,
)

from fashionclip.metrics.judgement_functions import (
    accuracy,
    auroc,
    average_precision,
    best_threshold,
    calibration_error,
    f1,
    fit_probability,
    reliability,
)

NAN = float("nan")


def scored(case):
    """Scores (N,) and labels (N,)."""
    torch.manual_seed(len(case))
    score, label = torch.rand(60) * 2 - 1, torch.rand(60) < 0.5
    if case == "ties":
        score = (score * 4).round() / 4
    elif case == "rare mismatches":
        label = torch.arange(60) > 4
    elif case == "separable":
        score = torch.where(label, score.abs() + 0.01, -score.abs())
    elif case == "inverted":
        score = torch.where(label, -score.abs(), score.abs() + 0.01)
    elif case == "one of each":
        score, label = score[:2], torch.tensor([True, False])
    elif case == "constant":
        score = torch.full((60,), 0.3)
    elif case == "bfloat16":
        score = score.bfloat16()
    elif case == "repeated":
        score, label = score.repeat(3), label.repeat(3)
    return score, label


CASES = [
    "random",
    "ties",
    "rare mismatches",
    "separable",
    "inverted",
    "one of each",
    "constant",
    "bfloat16",
    "repeated",
]


def split_of(score, label):
    score, label = score.tolist(), label.tolist()
    return [s for s, match in zip(score, label, strict=True) if match], [
        s for s, match in zip(score, label, strict=True) if not match
    ]


def slow_accuracy(score, label, threshold):
    matches, mismatches = split_of(score, label)
    hit = sum(s >= threshold for s in matches) / len(matches)
    return (hit + sum(s < threshold for s in mismatches) / len(mismatches)) / 2


def slow_f1(score, label, threshold):
    matches, mismatches = split_of(score, label)
    hit = sum(s >= threshold for s in matches) / len(matches)
    alarm = sum(s >= threshold for s in mismatches) / len(mismatches)
    one = 2 * hit / (2 * hit + alarm + (1 - hit))
    other = 2 * (1 - alarm) / (2 * (1 - alarm) + (1 - hit) + alarm)
    return (one + other) / 2


def slow_auroc(score, label):
    matches, mismatches = split_of(score, label)
    wins = sum((m > w) + (m == w) / 2 for m in matches for w in mismatches)
    return wins / len(matches) / len(mismatches)


def slow_average_precision(score, label):
    matches, mismatches = split_of(score, label)
    total = 0.0
    for m in matches:
        h = sum(s >= m for s in matches) / len(matches)
        a = sum(s >= m for s in mismatches) / len(mismatches)
        total += h / (h + a) / len(matches)
    return total


def slow_calibration_error(probability, label, bins):
    total = 0.0
    for k in range(bins):
        inside = [
            (p, match)
            for p, match in zip(probability.tolist(), label.tolist(), strict=True)
            if k / bins < p <= (k + 1) / bins or (k == 0 and p == 0)
        ]
        if inside:
            mean, share = (sum(part) / len(inside) for part in zip(*inside, strict=True))
            total += abs(mean - share) * len(inside)
    return total / len(probability)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threshold", [-2.0, 0.0, 0.25, 0.3, 2.0])
def test_measures_equal_the_loops(case, threshold):
    score, label = scored(case)
    assert accuracy(score, label, threshold=threshold).item() == pytest.approx(slow_accuracy(score, label, threshold))
    assert f1(score, label, threshold=threshold).item() == pytest.approx(slow_f1(score, label, threshold))
    assert auroc(score, label).item() == pytest.approx(slow_auroc(score, label), abs=1e-6)
    assert average_precision(score, label).item() == pytest.approx(slow_average_precision(score, label), abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_threshold_is_the_best_there_is_and_parts_the_scores_it_lies_between(case):
    score, label = scored(case)
    chosen = best_threshold(score, label)
    reached = slow_accuracy(score, label, chosen.item())
    values = sorted(set(score.float().tolist()))
    best = max(slow_accuracy(score, label, value) for value in [*values, values[-1] + 1])
    assert reached == pytest.approx(best)
    if case == "separable":
        matches, mismatches = split_of(score, label)
        assert chosen.item() == pytest.approx((min(matches) + max(mismatches)) / 2)


@pytest.mark.parametrize("repeated", [1, 9])
@pytest.mark.parametrize("case", ["any", "ties", "constant"])
def test_they_are_torchmetrics_of_the_same_scores_with_as_many_of_each_label(case, repeated):
    """The rarer label repeated until both are as many: what ours weigh, torchmetrics sees."""
    torch.manual_seed(repeated)
    score = {"any": torch.rand(200), "ties": (torch.rand(200) * 8).round() / 8, "constant": torch.full((200,), 0.3)}[
        case
    ]
    label = torch.arange(200) % (1 + repeated) > 0  # a mismatch, then `repeated` matches
    times = torch.where(label, 1, repeated)
    many, truth = score.repeat_interleave(times), label.repeat_interleave(times).long()
    assert abs(truth.double().mean() - 0.5) < 0.001
    torch.testing.assert_close(auroc(score, label), binary_auroc(many, truth))
    torch.testing.assert_close(average_precision(score, label), binary_average_precision(many, truth))
    for threshold in (0.2, 0.6):
        measured = accuracy(score, label, threshold=threshold), f1(score, label, threshold=threshold)
        says = (many >= threshold).long()
        expected = binary_accuracy(says, truth), multiclass_f1_score(says, truth, num_classes=2, average="macro")
        torch.testing.assert_close(measured, expected)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("matches", [5, 100])
def test_calibration_error_is_torchmetrics(bins, matches):
    torch.manual_seed(0)
    probability, label = torch.rand(200), torch.arange(200) < matches
    expected = binary_calibration_error(probability, label.long(), n_bins=bins)
    torch.testing.assert_close(calibration_error(probability, label, bins=bins), expected)


@pytest.mark.parametrize("matches", [1, 50, 95])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.7])
def test_a_constant_score_is_at_chance_everywhere(matches, value):
    score, label = torch.full((100,), value), torch.arange(100) < matches
    threshold = best_threshold(score, label)
    assert accuracy(score, label, threshold=threshold) == 0.5
    assert auroc(score, label) == 0.5
    assert average_precision(score, label) == 0.5
    for verdict in (-2.0, threshold.item(), 2.0):
        assert f1(score, label, threshold=verdict) <= 0.5
        assert accuracy(score, label, threshold=verdict) == 0.5


def test_a_random_score_is_at_chance_whatever_the_labels():
    torch.manual_seed(0)
    score, label = torch.rand(20_000), torch.rand(20_000) < 0.95
    for measured in (
        auroc(score, label),
        average_precision(score, label),
        accuracy(score, label, threshold=0.5),
        f1(score, label, threshold=0.5),
    ):
        assert measured.item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("label", [[], [True, True], [False, False]])
def test_without_either_label_there_is_no_measure(label):
    score, label = torch.arange(float(len(label))), torch.tensor(label, dtype=torch.bool)
    measured = [auroc(score, label), average_precision(score, label), best_threshold(score, label)]
    measured += [accuracy(score, label, threshold=0.5), f1(score, label, threshold=0.5)]
    assert all(math.isnan(value) for value in measured)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 3])  # of a match, and of a mismatch
@pytest.mark.parametrize(
    "measure",
    [
        auroc,
        average_precision,
        best_threshold,
        fit_probability,
        calibration_error,
        reliability,
        partial(accuracy, threshold=0.5),
        partial(f1, threshold=0.5),
    ],
)
def test_what_is_not_a_finite_number_is_refused_whatever_the_order(measure, place, value):
    score = torch.tensor([0.9, 0.5, 0.5, 0.1])
    score[place] = value
    with pytest.raises(ValueError, match=rf"expected finite numbers, got nan, inf or overflow in rows \[{place}\]"):
        measure(score, torch.tensor([True, True, False, False]))


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
@pytest.mark.parametrize("case", ["random", "ties", "edges"])
def test_calibration_equals_the_loop(bins, case):
    torch.manual_seed(1)
    probability, label = torch.rand(80), torch.rand(80) < 0.5
    if case != "random":
        probability = (probability * 10).round() / 10
    if case == "edges":
        probability = probability.round()
    found = reliability(probability.double(), label, bins=bins)
    assert found.count.sum() == 80
    expected = slow_calibration_error(probability.double(), label, bins)
    assert calibration_error(probability.double(), label, bins=bins).item() == pytest.approx(expected, abs=1e-6)


def test_calibration_by_hand():
    label = torch.tensor([True, False, True, True])
    assert calibration_error(torch.full((4,), 0.75), label) == 0, "right on average"
    assert calibration_error(torch.ones(4), label) == 0.25
    empty = reliability(torch.tensor([0.1]), torch.tensor([True]), bins=2)
    assert empty.count.tolist() == [1, 0] and empty.matches[1].isnan()


@pytest.mark.parametrize("case", ["random", "ties", "rare mismatches", "bfloat16"])
def test_the_fitted_probability_is_the_likeliest(case):
    score, label = scored(case)
    scale, bias = (value.double() for value in fit_probability(score, label))
    matches = int(label.sum())
    target = torch.where(label, (matches + 1) / (matches + 2), 1 / (len(label) - matches + 2)).double()

    def cost(scale, bias):
        return binary_cross_entropy_with_logits(scale * score.double() + bias, target).item()

    for step in (-0.05, 0.05):
        assert cost(scale, bias) < min(cost(scale + step, bias), cost(scale, bias + step))
    given = (scale * score.double() + bias).sigmoid()
    assert given.mean().item() == pytest.approx(target.mean().item(), abs=1e-5)


def test_without_an_error_or_a_difference_the_probability_stays_finite():
    score, label = scored("separable")
    scale, bias = fit_probability(score, label)
    assert 0 < scale < 1000 and ((scale * score + bias >= 0) == label).all()
    constant = torch.full((60,), 0.3)
    scale, bias = fit_probability(constant, torch.arange(60) < 30)
    assert scale == pytest.approx(0, abs=1e-6) and (scale * 0.3 + bias).sigmoid().item() == pytest.approx(0.5)
    for labels in ([], [True]):
        fitted = fit_probability(torch.ones(len(labels)), torch.tensor(labels, dtype=torch.bool))
        assert all(value.isfinite() for value in fitted)
