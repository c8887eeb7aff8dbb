"""How sure a measured share is."""

import math


def wilson_interval(share: float, count: float, *, z: float = 1.96) -> tuple[float, float]:
    """The range that a share measured on `count` independent queries leaves open, by default with 95 % confidence.

    Queries of one product are not quite independent, so with few products the true range is wider.

    Args:
        share: In [0, 1].
        count: Queries, 1 or more.
        z: Standard deviations to either side.

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
