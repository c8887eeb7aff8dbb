"""How well scores tell matches from mismatches: pure functions of N scores, higher for matches, and their labels.

Both labels weigh the same, whatever their numbers: all measures but calibration are those of a set with as many matches
as mismatches. So a constant score has accuracy, AUROC and average precision 0.5, and F1 at most 0.5. Without one of the
labels a measure is nan; scores that are not finite are a `ValueError`.

torchmetrics gives the same on a set with as many of either label, but on 66 mismatches beside 1,494 matches a constant
score has there an average precision of 0.96 and an F1 of 0.98. Its AUROC also takes a sigmoid of scores outside [0, 1],
which rounds high ones to 1, and is 0 without one of the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fashionclip.metrics.ranking import check_finite


def accuracy(score: Tensor, label: Tensor, *, threshold: float | Tensor) -> Tensor:
    """Mean of the shares of matches and of mismatches that are judged right, in [0, 1].

    Args:
        score: (N,) scores.
        label: (N,) bool, true for a match.
        threshold: Lowest score that is called a match.

    >>> accuracy(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, True, False]), threshold=0.85)  # 1/2 and 1/1
    tensor(0.7500)
    """
    says = _says(score, threshold)
    return (_share(says, label) + _share(~says, ~label)) / 2


def f1(score: Tensor, label: Tensor, *, threshold: float | Tensor) -> Tensor:
    """Mean of the F1 of matches and that of mismatches, in [0, 1], where both labels weigh the same.

    A verdict that calls everything a match has 1/3; its F1 of matches alone would be 2/3.

    Args:
        score: (N,) scores.
        label: (N,) bool, true for a match.
        threshold: Lowest score that is called a match.

    >>> f1(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, True, False, False]), threshold=0.5)
    tensor(0.7333)
    """
    says = _says(score, threshold)
    hit, alarm = _share(says, label), _share(says, ~label)  # of matches, of mismatches
    of_matches = 2 * hit / (1 + hit + alarm)
    of_mismatches = 2 * (1 - alarm) / (1 + (1 - alarm) + (1 - hit))
    return (of_matches + of_mismatches) / 2


def auroc(score: Tensor, label: Tensor) -> Tensor:
    """Share of pairs of a match and a mismatch in which the match scores higher, in [0, 1]; a tie counts half.

    Args:
        score: (N,) scores.
        label: (N,) bool, true for a match.

    Source: Hanley & McNeil 1982, "The Meaning and Use of the Area under a ROC Curve".

    >>> auroc(torch.tensor([0.9, 0.5, 0.5, 0.1]), torch.tensor([True, True, False, False]))
    tensor(0.8750)
    """
    hit, alarm = _curve(score, label)
    return torch.trapezoid(hit, alarm).float()


def average_precision(score: Tensor, label: Tensor) -> Tensor:
    """Mean over matches of the precision at their scores, in [0, 1], where both labels weigh the same.

    Equal scores share a place. The precision at a score is h / (h + a), where h and a are the shares of matches and of
    mismatches with at least that score.

    Args:
        score: (N,) scores.
        label: (N,) bool, true for a match.

    Source: Buckley & Voorhees 2000, "Evaluating Evaluation Measure Stability"; the weights are ours.

    >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]))  # 1, then 1 / (1 + 1)
    tensor(0.7500)
    """
    hit, alarm = _curve(score, label)
    precision = hit[1:] / (hit[1:] + alarm[1:])
    return (hit.diff() * precision).sum().float()


def best_threshold(score: Tensor, label: Tensor) -> Tensor:
    """The threshold with the highest `accuracy`: the lowest score, or midway between two neighbouring scores.

    Of several that are equally good it is the middle one; it is nan where one of the labels is missing.

    Args:
        score: (N,) scores.
        label: (N,) bool, true for a match.

    >>> best_threshold(torch.tensor([0.9, 0.6, 0.4, 0.1]), torch.tensor([True, True, False, False]))
    tensor(0.5000)
    """
    score = score.float()
    hit, alarm = _curve(score, label)
    if hit.isnan().any():
        return torch.tensor(torch.nan, device=score.device)
    values = score.unique().flip(0)  # (V,), at or below each of which the verdict changes
    below = torch.cat([values[1:], values[-1:]])
    gain = hit[1:] - alarm[1:]
    best = (gain >= gain.max() - 1e-9).nonzero()[:, 0]
    chosen = best[len(best) // 2]
    return (values[chosen] + below[chosen]) / 2


def fit_probability(score: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and bias for which the labels are most likely, with sigmoid(scale x score + bias) as their probability.

    The targets lie within (0, 1), by the numbers of matches and mismatches, so that the scale stays finite for scores
    without an error. A constant score gets the scale 0, and about the share of matches as its probability.

    Args:
        score: (N,) scores.
        label: (N,) bool, true for a match.

    Source: Platt 1999, "Probabilistic Outputs for Support Vector Machines", section 2.2; Newton's method with halved
    steps, as in Lin, Lin & Weng 2007, "A Note on Platt's Probabilistic Outputs", algorithm 1.

    >>> scale, bias = fit_probability(torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([False, False, True, True]))
    >>> bool(scale > 0)
    True
    """
    check_finite(score=score)
    matches = int(label.sum())
    high, low = (matches + 1) / (matches + 2), 1 / (len(label) - matches + 2)
    target = torch.where(label, high, low).double()
    centre = score.double().mean() if len(score) else score.new_zeros((), dtype=torch.double)
    x = torch.stack([score.double() - centre, torch.ones_like(target)], dim=1)  # (N, 2)
    ridge = 1e-9 * torch.eye(2, dtype=torch.double, device=x.device)
    weight = x.new_zeros(2)

    def cost(weight: Tensor) -> Tensor:
        z = x @ weight
        return torch.nn.functional.binary_cross_entropy_with_logits(z, target, reduction="sum")

    for _ in range(50):
        p = (x @ weight).sigmoid()
        gradient = x.T @ (p - target)
        if not len(x) or gradient.abs().max() < 1e-8:
            break
        step = torch.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, gradient)
        while cost(weight - step) > cost(weight) and step.abs().max() > 1e-12:
            step = step / 2
        weight = weight - step
    return weight[0].float(), (weight[1] - weight[0] * centre).float()


@dataclass(frozen=True)
class Reliability:
    """How often judgements of similar probability match, in K bins of equal width.

    Attributes:
        probability: (K,) means of the probabilities; nan for an empty bin.
        matches: (K,) shares of matches; nan for an empty bin.
        count: (K,) numbers of judgements.
    """

    probability: Tensor
    matches: Tensor
    count: Tensor


def reliability(probability: Tensor, label: Tensor, *, bins: int = 15) -> Reliability:
    """Puts N judgements into bins by their probability of a match; bin k holds k/K < p <= (k + 1)/K.

    Args:
        probability: (N,) probabilities in [0, 1]; 0 belongs to the first bin.
        label: (N,) bool, true for a match.
        bins: Number K of bins.

    >>> reliability(torch.tensor([0.1, 0.3, 0.8]), torch.tensor([False, True, True]), bins=2).matches
    tensor([0.5000, 1.0000])
    """
    check_finite(probability=probability)
    p = probability.double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.double, device=p.device)[1:-1]
    place = torch.bucketize(p, edges)  # (N,)
    count = place.bincount(minlength=bins)
    given, matched = (place.bincount(weights=w, minlength=bins) / count for w in (p, label.double()))
    return Reliability(given.float(), matched.float(), count)


def calibration_error(probability: Tensor, label: Tensor, *, bins: int = 15) -> Tensor:
    """Expected calibration error: mean over judgements of the difference between probability and matches in their bin.

    Unlike the other measures it depends on how many match; a constant probability that is right on average has 0.

    Args:
        probability: (N,) probabilities in [0, 1].
        label: (N,) bool, true for a match.
        bins: Number of bins.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.

    >>> calibration_error(torch.tensor([0.1, 0.3, 0.8]), torch.tensor([False, True, True]), bins=2)  # (2 * .3 + .2) / 3
    tensor(0.2667)
    """
    found = reliability(probability, label, bins=bins)
    gap = (found.probability - found.matches).abs().nan_to_num()
    return (gap * found.count).sum() / found.count.sum()


def _says(score: Tensor, threshold: float | Tensor) -> Tensor:
    check_finite(score=score)
    return score >= threshold


def _share(of: Tensor, among: Tensor) -> Tensor:
    return of[among].float().mean()


def _curve(score: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (V + 1,) of matches and of mismatches with at least each of V scores, highest first, after a 0."""
    check_finite(score=score)
    place = score.float().unique(return_inverse=True)[1]  # (N,) ascending
    bins = int(place.max()) + 1 if len(place) else 0
    shares = []
    for part in (place[label], place[~label]):
        count = part.bincount(minlength=bins).flip(0).cumsum(0).double()
        shares.append(
            torch.cat([count.new_zeros(1), count]) / len(part) if len(part) else count.new_full((1,), torch.nan)
        )
    if any(share.isnan().any() for share in shares):
        nothing = torch.full((2,), torch.nan, dtype=torch.double, device=score.device)
        return nothing, nothing
    return shares[0], shares[1]
