"""Queries as people type them, each with a filter that says what they ask for in terms of the catalogue."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pandas as pd
import torch

from fashionclip.data.text_fields import check_fields
from fashionclip.errors import InputError
from fashionclip.evaluation.embedded_split import IMAGE, EmbeddedSplit, TaskLeftOut
from fashionclip.metrics.samples import Found, Functions, Search, measured
from fashionclip.retrieval.index.filter_parser import Condition, Kind, holds, parse_where
from fashionclip.retrieval.index.indexed_photo import TEXT_FIELDS, IndexedPhoto


class FilterSearch:
    """Each query searches the products; right are those that pass its filter, which search does not look at.

    Args:
        queries: Filters, as `fashionclip search --where` reads them, by their queries.
        documents: Weights of a product's fields, "image" or columns, by which its embedding is made.
    """

    def __init__(self, queries: Mapping[str, str], *, documents: Mapping[str, float] | None = None) -> None:
        self.queries, self.documents = dict(queries), dict(documents or {IMAGE: 1.0})
        if not self.queries:
            raise ValueError("queries: expected one or more, each with its filter.")
        for query, where in self.queries.items():
            if not isinstance(query, str) or not isinstance(where, str):
                raise ValueError(
                    f"queries: {query!r}: {where!r}: expected two texts, a query and its filter; quote them."
                )
            try:
                parse_where(where, None)
            except InputError as error:
                raise ValueError(f"queries: {query!r}: {error}") from None
        check_fields(self.documents, key="documents")

    def __call__(self, split: EmbeddedSplit, functions: Functions, name: str) -> Found:
        """A sample of the queries that some product answers, and `by_chance`, their share of right products.

        Raises:
            TaskLeftOut: No query has a right answer, or a filter that fits the dataset's columns.
        """
        split, left_out = split.catalogue(self.documents)
        kinds: dict[str, Kind] = {
            str(column): "number" if pd.api.types.is_numeric_dtype(split.manifest[column]) else "text"
            for column in split.manifest
        }
        conditions: dict[str, Condition] = {}
        for query, where in self.queries.items():
            try:
                conditions[query] = parse_where(where, kinds)
            except InputError as error:
                left_out[repr(query)] = str(error)
        if not conditions:
            raise TaskLeftOut(f"no filter fits the dataset's columns; {left_out.popitem()[1]}")
        photos = [_photo(row) for row in split.manifest.to_dict("records")]
        hits = [
            [query, place]
            for query, condition in enumerate(conditions.values())
            for place, photo in enumerate(photos)
            if holds(condition, photo)
        ]
        if not hits:
            raise TaskLeftOut("no product passes any of the filters")
        relevant = torch.tensor(hits, device=split.image.device)
        asked = torch.arange(len(conditions), device=relevant.device)
        texts = list(conditions)
        search = Search(
            query=split.texts(texts),
            gallery=split.documents(self.documents),
            relevant=relevant,
            asked=asked,
            shown=split.row,
            by_text=True,
            texts=texts,
        )
        ranks = search.ranks()
        chance = torch.tensor(len(hits) / len(photos) / ranks.answered)
        sample = measured(ranks, functions, direction=name, group=asked, search=search)
        return Found([sample], {f"{name}/by_chance": chance}, left_out)


def _photo(row: Mapping[Hashable, object]) -> IndexedPhoto:
    own = {name: str(row[name]) for name in (*TEXT_FIELDS, "path")}
    others = {str(k): v for k, v in row.items() if k not in own and isinstance(v, str | int | float) and v == v}
    return IndexedPhoto(**own, attributes={k: v for k, v in others.items() if v != ""})
