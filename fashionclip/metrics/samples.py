"""What an evaluation measures of each query, from which come its figures, their intervals and what there is to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from fashionclip.metrics.ranking import Ranks, rank_relevant

Functions = Mapping[str, Callable[[Ranks], Tensor]]  # with one value an answered query, by the name of their metric


@dataclass(frozen=True)
class Search:
    """Queries, and the gallery that they were ranked against.

    Attributes:
        query: (Q, D) embeddings of unit norm.
        gallery: (G, D) embeddings of unit norm.
        relevant: (P, 2) long, indices of query and gallery, the right answers.
        asked: (Q,) long, rows of the manifest where queries are photos, ids of texts where they are texts.
        shown: (G,) long, the same of the gallery; of a product, one of its photos.
        by_text: Whether queries are texts.
        among_texts: Whether the gallery is of texts.
        exclude: (E, 2) long, indices of query and gallery, what the gallery of a query lacks.
        texts: Texts that ids stand for; None: those of the manifest.
    """

    query: Tensor
    gallery: Tensor
    relevant: Tensor
    asked: Tensor
    shown: Tensor
    by_text: bool
    among_texts: bool = False
    exclude: Tensor | None = None
    texts: Sequence[str] | None = None

    def ranks(self) -> Ranks:
        """Ranks of the right answers, each item of the gallery by itself."""
        return rank_relevant(self.query, self.gallery, self.relevant, exclude=self.exclude)


@dataclass(frozen=True)
class Sample:
    """Measures of each of A answered queries of one direction.

    Attributes:
        direction: Name of the direction, such as "text_to_image"; empty for measures beside all directions.
        values: (A,) values by the name of their metric, such as "recall@10". The figure of a metric is their mean, of
            one whose name begins with "median" their median.
        group: (A,) codes of queries that are not independent of each other, such as those for one product.
        place: (A,) places of the queries among those of `search`, ascending.
        search: Queries and gallery; None where nothing was ranked.
    """

    direction: str
    values: Mapping[str, Tensor]
    group: Tensor
    place: Tensor
    search: Search | None = None

    def named(self, metric: str) -> str:
        """Name of a metric's figure, with its direction before it."""
        return f"{self.direction}/{metric}" if self.direction else metric

    def of(self, chosen: Tensor, *, direction: str) -> Sample:
        """The queries that are `chosen`, (A,) bool, as a direction of its own."""
        values = {name: value[chosen] for name, value in self.values.items()}
        return Sample(direction, values, self.group[chosen], self.place[chosen], self.search)


class Found(NamedTuple):
    """What a measure found.

    Attributes:
        samples: Samples of queries.
        figures: Figures that are of no query, such as counts.
        left_out: What was not measured, such as a query, and why.
    """

    samples: list[Sample]
    figures: dict[str, Tensor]
    left_out: Mapping[str, str] = MappingProxyType({})


def measured(
    ranks: Ranks,
    functions: Functions,
    *,
    direction: str,
    group: Tensor,
    search: Search | None = None,
) -> Sample:
    """The measures of each query's ranks.

    Args:
        ranks: Ranks of Q queries.
        functions: Functions of `Ranks` with one value an answered query, by name, such as "recall@10".
        direction: Name of the direction, such as "text_to_image".
        group: (Q,) codes of queries that are not independent of each other, such as those for one product.
        search: Queries and gallery that were ranked.
    """
    place = ranks.query.unique_consecutive()
    values = {name: function(ranks) for name, function in functions.items()}
    return Sample(direction, values, group[place], place, search)


def is_median(metric: str) -> bool:
    """Whether a metric's figure is the median of its values instead of their mean, by its name."""
    return metric.startswith("median")


def figures_of(samples: Iterable[Sample]) -> dict[str, Tensor]:
    """`<direction>/<metric>` of each sample, nan without queries, and `<direction>/queries`, the number of queries.

    >>> values = {"recall@1": torch.tensor([1.0, 0.0]), "median_rank": torch.tensor([1.0, 4.0])}
    >>> sample = Sample("text_to_image", values, group=torch.arange(2), place=torch.arange(2))
    >>> {name: value.item() for name, value in figures_of([sample]).items()}
    {'text_to_image/recall@1': 0.5, 'text_to_image/median_rank': 2.5, 'text_to_image/queries': 2.0}
    """
    figures: dict[str, Tensor] = {}
    for sample in samples:
        for metric, values in sample.values.items():
            figures[sample.named(metric)] = median(values) if is_median(metric) else values.float().mean()
        if sample.direction:
            figures[sample.named("queries")] = torch.tensor(float(len(sample.place)))
    return figures


def median(values: Tensor) -> Tensor:
    """Median of (A,) values, of an even number the mean of the middle two; nan of none."""
    ascending = values.float().sort().values
    return ascending[(len(ascending) - 1) // 2 : len(ascending) // 2 + 1].mean()
