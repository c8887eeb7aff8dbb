"""Search by what stands in a column: a category, a colour, a product's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from fashionclip.data.text_fields import check_fields
from fashionclip.evaluation.embedded_split import (
    IMAGE,
    EmbeddedSplit,
    TaskLeftOut,
    check_columns,
    check_most,
    check_templates,
    drawn,
)
from fashionclip.manifest import text_key
from fashionclip.metrics.ranking import relevant_pairs
from fashionclip.metrics.samples import Found, Functions, Search, measured


class ColumnSearch:
    """Each different value of a column searches the products; right are all that have it, in any spelling.

    Args:
        query: Column whose values are asked for, or several joined by "+", such as "colour+category".
        documents: Weights of a product's fields, "image" or columns, by which its embedding is made.
        templates: Prompts with a place for the value, whose embeddings are averaged.
        max_queries: Number of values, beyond which so many are drawn, the same each time; None: all.
    """

    def __init__(
        self,
        query: str,
        *,
        documents: Mapping[str, float] | None = None,
        templates: Sequence[str] = ("{}",),
        max_queries: int | None = 2000,
    ) -> None:
        self.query, self.templates, self.max_queries = query, templates, max_queries
        self.documents = dict(documents or {IMAGE: 1.0})
        check_columns("query", [query])
        check_templates(templates)
        check_most(max_queries)
        check_fields(self.documents, key="documents")

    def __call__(self, split: EmbeddedSplit, functions: Functions, name: str) -> Found:
        """A sample of all values asked for.

        Raises:
            TaskLeftOut: A column is missing, or empty.
        """
        split, left_out = split.catalogue(self.documents)
        texts = split.field(self.query)
        keys = pd.Series([text_key(text) if text else None for text in texts], dtype=object)
        code = split.codes(keys)
        first = keys.drop_duplicates().dropna().index.tolist()
        if not first:
            raise TaskLeftOut(f"no product has a value of {self.query}")
        asked = torch.tensor(first)[drawn(len(first), self.max_queries)]
        values = [texts[place] for place in asked.tolist()]
        search = Search(
            query=split.prompts(values, self.templates),
            gallery=split.documents(self.documents),
            relevant=relevant_pairs([code[asked.to(code.device)]], [code]),
            asked=torch.arange(len(values), device=code.device),
            shown=split.row,
            by_text=True,
            texts=values,
        )
        sample = measured(search.ranks(), functions, direction=name, group=search.asked, search=search)
        return Found([sample], {}, left_out)
