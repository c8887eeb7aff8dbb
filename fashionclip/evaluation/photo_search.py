"""More like this: photos that search for photos of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from fashionclip.evaluation.embedded_split import EmbeddedSplit, TaskLeftOut, check_columns, check_most, drawn
from fashionclip.metrics.ranking import graded, relevant_pairs
from fashionclip.metrics.samples import Found, Functions, Search, measured


class PhotoSearch:
    """Photos search the others; right are those that have all of some columns in common with them.

    Args:
        alike: Columns in which right answers agree, such as category and colour.
        graded_by: Further columns; a right answer's grade is 1, and 1 more for each of them in which it agrees as well.
            Empty: right answers are all alike.
        max_queries: Number of photos, beyond which so many are drawn, the same each time; None: all.
    """

    def __init__(self, alike: Sequence[str], *, graded_by: Sequence[str] = (), max_queries: int | None = 1000) -> None:
        self.alike, self.graded_by, self.max_queries = alike, graded_by, max_queries
        check_columns("alike", alike)
        if graded_by:
            check_columns("graded_by", graded_by)
        check_most(max_queries)

    def __call__(self, split: EmbeddedSplit, functions: Functions, name: str) -> Found:
        """A sample of all photos that ask.

        Raises:
            TaskLeftOut: A column is missing, or no two photos agree.
        """
        device = split.image.device
        key = self._codes(split, "+".join(self.alike))
        asked = drawn(len(key), self.max_queries).to(device)
        double = split.double
        same = relevant_pairs([double[asked]], [double])
        right = relevant_pairs([key[asked]], [key])
        apart = double[asked[right[:, 0]]] != double[right[:, 1]]
        right = right[apart]
        if not len(right):
            raise TaskLeftOut(f"no two photos have one {'+'.join(self.alike)}")
        search = Search(
            query=split.image[asked],
            gallery=split.image,
            relevant=right,
            asked=split.row[asked],
            shown=split.row,
            by_text=False,
            exclude=same,
        )
        ranks = search.ranks()
        if self.graded_by:
            grade = torch.ones(len(right), device=device)
            for column in self.graded_by:
                code = self._codes(split, column)
                of_query, of_item = code[asked[right[:, 0]]], code[right[:, 1]]
                grade += (of_query == of_item) & (of_query >= 0)
            ranks = graded(ranks, search.query, search.gallery, right, grade)
        return Found([measured(ranks, functions, direction=name, group=split.group[asked], search=search)], {})

    def _codes(self, split: EmbeddedSplit, columns: str) -> Tensor:
        return split.codes(pd.Series(split.field(columns), dtype=object).replace("", None))
