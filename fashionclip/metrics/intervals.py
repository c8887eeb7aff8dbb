"""Confidence intervals of figures, and tests of differences, from draws of groups of queries.

Queries for one product tend to succeed together, so whole groups are drawn, with replacement, never single queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from fashionclip.metrics.samples import Sample, figures_of, is_median

Z = 1.96  # standard deviations to either side of 95 %
DRAWS = 1000
AT_ONCE = 2**22  # numbers that are drawn at a time
Interval = tuple[float, float]


def intervals_of(sample: Sample, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Interval]:
    """The 95 % interval of each figure of a sample, by the figure's name; none where it has no value.

    The draws tell how much a figure varies. A mean of values between 0 and 1, such as a share, gets Wilson's interval
    for as many queries as would vary that much: it is right near 0 and 1, too, where quantiles of draws are too narrow.
    Other figures get the quantiles of the draws.

    Args:
        sample: Measures of queries, with their groups.
        draws: Number of draws.
        seed: Seed of the draws.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; Field & Welsh 2007, "Bootstrapping Clustered
    Data"; Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if not len(sample.group):
        return {}
    groups = Groups(sample.group)
    values = {metric: value.cpu().double().numpy() for metric, value in sample.values.items()}
    drawn = groups.draw(values, draws=draws, seed=seed)
    figures = {name: figure.item() for name, figure in figures_of([sample]).items()}
    found = {}
    for metric, value in values.items():
        name = sample.named(metric)
        if not math.isnan(figures[name]):
            share = not is_median(metric) and value.min() >= 0 and value.max() <= 1
            low, high = interval(figures[name], drawn[metric], groups=groups.worth, share=share)
            found[name] = (low, high) if share else (max(low, float(value.min())), min(high, float(value.max())))
    return found


class Groups:
    """Groups of A queries that are not independent of each other.

    Args:
        group: (A,) codes of the groups.

    Attributes:
        worth: Number of groups of equal size that vary as much as these; at most their number.
    """

    def __init__(self, group: Tensor) -> None:
        names, self.place, sizes = np.unique(group.cpu().numpy(), return_inverse=True, return_counts=True)
        self.count, self.sizes = len(names), sizes.astype("float64")
        self.worth = float(self.sizes.sum() ** 2 / np.square(self.sizes).sum())

    def weights(self, *, draws: int, seed: int) -> Iterator[np.ndarray]:
        """(B, G) how often each group comes in some of the draws, each of as many groups as there are."""
        random = np.random.default_rng(seed)
        most = max(1, AT_ONCE // self.count)
        for start in range(0, draws, most):
            rows = np.arange(min(most, draws - start))[:, None]
            chosen = random.integers(self.count, size=(len(rows), self.count)) + self.count * rows
            yield np.bincount(chosen.ravel(), minlength=self.count * len(rows)).reshape(len(rows), self.count)

    def draw(self, values: Mapping[str, np.ndarray], *, draws: int, seed: int = 0) -> dict[str, np.ndarray]:
        """(draws,) figures of each metric, from its (A,) values, over the queries of the groups drawn."""
        means = [metric for metric in values if not is_median(metric)]
        medians = [metric for metric in values if is_median(metric)]
        sums = np.stack(
            [self.sizes, *(np.bincount(self.place, values[metric], self.count) for metric in means)], axis=1
        )
        in_order = {metric: values[metric].argsort(kind="stable") for metric in medians}
        found: dict[str, list[np.ndarray]] = {metric: [] for metric in values}
        for weights in self.weights(draws=draws, seed=seed):
            of_draw = weights @ sums  # (B, 1 + M)
            for column, metric in enumerate(means, start=1):
                found[metric].append(of_draw[:, column] / of_draw[:, 0])
            for metric, order in in_order.items():
                ascending = values[metric][order]
                upto = weights[:, self.place[order]].cumsum(axis=1)  # (B, A) queries up to each
                middle = [
                    (np.searchsorted(line, (line[-1] + 1) // 2), np.searchsorted(line, line[-1] // 2 + 1))
                    for line in upto
                ]
                found[metric].append(ascending[np.array(middle)].mean(axis=1))
        return {metric: np.concatenate(parts) for metric, parts in found.items()}


def interval(figure: float, drawn: np.ndarray, *, groups: float, share: bool) -> Interval:
    """The 95 % interval of a figure, from its values in draws of groups.

    Few groups say little about their own variance, so it is widened as a t distribution is. Where the draws do not vary
    at all, each group counts as one query.

    Args:
        figure: Figure of all queries.
        drawn: (B,) figures of the draws; nan where a draw has none.
        groups: Number of equal groups that were drawn from, 1 or more.
        share: Whether it is a mean of values between 0 and 1.

    Source: Korn & Graubard 1998, "Confidence Intervals for Proportions with Small Expected Number of Positive Counts
    Estimated from Survey Data", for the number of queries that a grouped sample is worth; the quantile of t is the
    first two terms of Abramowitz & Stegun 1964, 26.7.5.
    """
    others = max(groups - 1, 1e-9)
    wider = math.sqrt(groups / others) * (1 + (Z**2 + 1) / (4 * others))
    if not share:
        low, high = (float(np.nanquantile(drawn, edge)) for edge in (0.025, 0.975))
        return figure - (figure - low) * wider, figure + (high - figure) * wider
    variance = float(np.nanvar(drawn)) * wider**2
    if variance < 1e-12 or not 0 < figure < 1:
        return wilson_interval(figure, groups)
    return wilson_interval(figure, max(figure * (1 - figure) / variance, 1.0))


def wilson_interval(share: float, count: float, *, z: float = Z) -> Interval:
    """The interval of a share that was measured on `count` independent queries, by default with 95 % confidence.

    Args:
        share: Share of hits, in [0, 1].
        count: Number of independent queries, 1 or more.
        z: Number of standard deviations to either side.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    >>> [round(edge, 3) for edge in wilson_interval(0.5, 100)]
    [0.404, 0.596]
    >>> [round(edge, 3) for edge in wilson_interval(0.0, 10)]
    [0.0, 0.278]
    """
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
