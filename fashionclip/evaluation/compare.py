"""Whether one model is better than another on the same queries, as a whole and by slices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from fashionclip.evaluation.slices import SLICED_BY
from fashionclip.metrics.intervals import DRAWS, Groups, interval
from fashionclip.metrics.samples import is_median, median

FLIPS = 2000
LEAST = 10  # queries of a slice that is compared
COLUMNS = ("direction", "slice", "metric", "queries", "first", "second", "difference", "low", "high", "p", "sure")


def compared(first: pd.DataFrame, second: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Compares two models query by query.

    Args:
        first: A line a query and direction, as `Outcome.queries` has them.
        second: The same of the other model. What only one of them has is passed over.
        seed: Seed of the draws.

    Returns:
        A line a direction, slice ("" of the whole direction, else such as "category/Shirts") and metric, with
        `COLUMNS`: both figures, the second's difference to the first, its 95 % interval by drawing groups of queries
        anew, the p value of a test that swaps the two models in groups (NaN of a median), and `sure`: whether the
        difference is told from chance at 5 %, with as many tests as there are slices of that metric (Holm).
    """
    keys = ["direction", "query", "group"]
    metrics = [column for column in first if column in second and pd.api.types.is_float_dtype(first[column])]
    both = first.merge(second[[*keys, *metrics]], on=keys, suffixes=("", " of second"), validate="one_to_one")
    lines = [
        [direction, name, metric, len(some), *_difference(some, str(metric), seed=seed)]
        for direction, rows in both.groupby("direction", sort=False)
        for name, part in _parts(rows)
        for metric in metrics
        if len(some := part.dropna(subset=[metric, f"{metric} of second"]))
    ]
    table = pd.DataFrame([[*line, False] for line in lines], columns=list(COLUMNS))
    for _, tests in table.dropna(subset="p").groupby(["direction", "metric", table["slice"] != ""], sort=False):
        table.loc[tests.index, "sure"] = _holm(tests["p"].to_numpy())
    return table


def _parts(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "", rows
    for attribute in SLICED_BY:
        if attribute in rows and rows[attribute].nunique() > 1:
            for value, part in rows.groupby(attribute, sort=True):
                if len(part) >= LEAST:
                    yield f"{attribute}/{value}", part


def _difference(rows: pd.DataFrame, metric: str, *, seed: int) -> list[float]:
    """Both figures, the difference, its interval and p."""
    pair = (rows[name].to_numpy("float64") for name in (metric, f"{metric} of second"))
    values = dict(zip((f"{metric} 1", f"{metric} 2"), pair, strict=True))
    groups = Groups(torch.from_numpy(rows["group"].to_numpy("int64").copy()))
    one, two = (
        median(torch.tensor(value)).item() if is_median(metric) else float(value.mean()) for value in values.values()
    )
    drawn = groups.draw(values, draws=DRAWS, seed=seed)
    apart = drawn[f"{metric} 2"] - drawn[f"{metric} 1"]
    low, high = interval(two - one, apart, groups=groups.worth, share=False)
    return [one, two, two - one, low, high, np.nan if is_median(metric) else _p(groups, values, metric, seed=seed)]


def _p(groups: Groups, values: dict[str, np.ndarray], metric: str, *, seed: int) -> float:
    """How often a difference as large comes about when in each group the two models are swapped by chance.

    Source: Fisher's randomization test, as Smucker, Allan & Carterette 2007, "A Comparison of Statistical Significance
    Tests for Information Retrieval Evaluation", recommend it, with groups of queries in place of queries.
    """
    of_group = np.bincount(groups.place, values[f"{metric} 2"] - values[f"{metric} 1"], groups.count)
    of_group = of_group[of_group != 0]
    if not len(of_group):
        return 1.0
    random = np.random.default_rng(seed)
    flips = [(random.integers(2, size=(100, len(of_group))) * 2.0 - 1) @ of_group for _ in range(FLIPS // 100)]
    as_large = (np.abs(np.concatenate(flips)) >= abs(of_group.sum()) - 1e-9).sum()
    return float((1 + as_large) / (1 + FLIPS))


def _holm(p: np.ndarray, *, at: float = 0.05) -> np.ndarray:
    """Whether each of several tests is passed at 5 % of them all (Holm 1979)."""
    order = p.argsort(kind="stable")
    passed = np.logical_and.accumulate(p[order] <= at / (len(p) - np.arange(len(p))))
    sure = np.zeros(len(p), dtype=bool)
    sure[order] = passed
    return sure
