"""What an evaluation found: figures with their intervals, parts of directions, and a line for each query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fashionclip.evaluation.slices import attributes_of, sliced
from fashionclip.metrics.intervals import Interval, intervals_of
from fashionclip.metrics.samples import Sample, figures_of

COUNTS = ("queries", "texts", "skus", "count", "labels", "triplets")  # last parts of the names of figures


@dataclass(frozen=True)
class Outcome:
    """An evaluation of one split.

    Attributes:
        figures: Figures by their names, such as "text_to_image/recall@10".
        intervals: 95 % intervals by the names of their figures, of those that come from queries or judgements.
        samples: Measures of each query, of whole directions.
        parts: The same of their slices.
        queries: A line a query and direction: `direction`, `query` (the text, or the photo's path; else its number),
            `group`, attributes by which directions are sliced, and metrics, nan where a direction has none. Measures of
            no direction stand under "photos", or under what their names begin with, such as "triplet".
    """

    figures: dict[str, float]
    intervals: dict[str, Interval]
    samples: list[Sample]
    parts: list[Sample]
    queries: pd.DataFrame


def outcome_of(
    samples: Sequence[Sample],
    *,
    manifest: pd.DataFrame,
    texts: Sequence[str],
    figures: Mapping[str, float],
    intervals: Mapping[str, Interval] | None = None,
) -> Outcome:
    """Adds slices, intervals and the table of queries to what an evaluation measured.

    Args:
        samples: Measures of each query.
        manifest: Manifest of the dataset.
        texts: Texts that ids of its manifest stand for.
        figures: Figures that are known already, among them those that come from no sample.
        intervals: Intervals that are known already, such as those of judgements.
    """
    parts, tables = [], []
    for sample in samples:
        attributes = attributes_of(sample, manifest)
        parts += sliced(sample, attributes)
        tables.append(_table(sample, attributes, manifest, texts))
    found = dict(intervals or {})
    for sample in [*samples, *parts]:
        found |= intervals_of(sample)
    of_parts = {name: value.item() for name, value in figures_of(parts).items()}
    queries = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if len(queries):
        queries = queries.groupby(["direction", "query", "group"], sort=False, dropna=False).first().reset_index()
    return Outcome({**figures, **of_parts}, found, list(samples), parts, queries)


def _table(sample: Sample, attributes: pd.DataFrame, manifest: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    place = sample.place.tolist()
    search = sample.search
    if search is None:
        asked = [str(one) for one in place]
    else:
        ids: list[int] = search.asked[sample.place].tolist()
        paths = manifest["path"].to_numpy()
        known = texts if search.texts is None else search.texts
        asked = [known[one] for one in ids] if search.by_text else [paths[one] for one in ids]
    values = {metric.rpartition("/")[2]: value.float().cpu().numpy() for metric, value in sample.values.items()}
    direction = sample.direction or next(iter(sample.values)).rpartition("/")[0] or "photos"
    head = {"direction": direction, "query": asked, "group": sample.group.cpu().numpy()}
    return pd.concat([pd.DataFrame(head), attributes.set_axis(range(len(asked))), pd.DataFrame(values)], axis=1)
