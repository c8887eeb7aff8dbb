"""Confidence intervals of measured shares."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Z = 1.96  # standard deviations to either side of 95 %


def effective_count(hit: Tensor, group: Tensor) -> Tensor:
    """The number of independent queries that Q queries are worth where those of one group tend to succeed together.

    It is Q over the design effect, the ratio, 1 or more, of the variance of the share of hits between groups to that of
    independent queries. Few groups say little about this variance, so it is widened as a t distribution is. Where all
    queries succeed, or all fail, it is unknown, and each group counts as one query.

    Args:
        hit: (Q,) bool, whether each query succeeds, with Q > 0.
        group: (Q,) code of each query's group.

    Source: Kish 1965, "Survey Sampling", section 8.2; Korn & Graubard 1998, "Confidence Intervals for Proportions with
    Small Expected Number of Positive Counts Estimated from Survey Data"; the quantile of t is the first two terms of
    Abramowitz & Stegun 1964, 26.7.5.

    >>> hit = torch.tensor([True, True, False, False, True, True, False, False])
    >>> effective_count(hit, torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]))
    tensor(8.)
    >>> effective_count(hit, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])) < 4
    tensor(True)
    """
    place, sizes = group.cpu().unique(return_inverse=True, return_counts=True)[1:]
    queries, hits = len(hit), hit.cpu().double()
    if len(sizes) == queries:
        return torch.tensor(float(queries))
    share, groups = hits.mean(), queries**2 / sizes.double().square().sum()  # equal groups of this weight
    if len(sizes) == 1 or share in (0, 1):
        return groups.float()
    surplus = torch.zeros_like(sizes, dtype=torch.double).index_add(0, place, hits - share)  # (G,)
    variance = surplus.square().sum() / queries**2 * groups / (groups - 1)
    t = 1 + (Z**2 + 1) / (4 * (groups - 1))  # ratio to its value for very many groups
    effect = variance * queries / (share * (1 - share)) * t**2
    return (queries / effect.clamp(min=1, max=queries)).float()


def effective_queries(values: Mapping[str, float], name: str) -> float:
    """The number of independent queries behind `<direction>/recall@k`, as an evaluation reports it.

    >>> values = {"text_to_image/recall@1": 0.5, "text_to_image/queries": 40.0}
    >>> effective_queries(values, "text_to_image/recall@1")  # of an older run, which did not report it
    40.0
    """
    direction, _, k = name.partition("/recall@")
    return values.get(f"{direction}/effective_queries@{k}", values.get(f"{direction}/queries", 0.0))


def wilson_interval(share: float, count: float, *, z: float = Z) -> tuple[float, float]:
    """The interval of a share that was measured on `count` independent queries, by default with 95 % confidence.

    Args:
        share: Share of hits, in [0, 1].
        count: Number of independent queries, 1 or more; `effective_count` gives it where they depend on each other.
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
