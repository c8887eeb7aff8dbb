"""How far the contents of two rows of one group are apart, in [0, 1]."""

from __future__ import annotations

from typing import Protocol

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from fashionclip.data.manifest_tensors import ManifestTensors


class ContentDistance(Protocol):
    """A distance of rows of one group, symmetric.

    Attributes:
        columns: Manifest columns that the distance is computed of.
    """

    columns: tuple[str, ...]

    def __call__(self, rows: ManifestTensors, one: Tensor, other: Tensor) -> Tensor:
        """(P,) distances in [0, 1] between the rows of P pairs, (P,) row numbers each."""
        ...


class EditDistance:
    """Levenshtein distance over the longer length: of characters for captions, of words for lists of logos.

    Source: Levenshtein 1966, "Binary codes capable of correcting deletions, insertions, and reversals".
    """

    columns = ("text", "overlay")

    def __call__(self, rows: ManifestTensors, one: Tensor, other: Tensor) -> Tensor:
        overlay = rows.code["overlay"]
        logo = rows.code_of("overlay", "logo")
        content: dict[int, str | list[str]] = {}
        for row in torch.cat([one, other]).unique().tolist():
            text = rows.text[int(rows.text_id[row])]
            content[row] = text.split(", ") if overlay[row] == logo else text
        pairs = zip(one.tolist(), other.tolist(), strict=True)
        distance = torch.tensor([Levenshtein.normalized_distance(content[a], content[b]) for a, b in pairs])
        return distance.masked_fill(overlay[one] != overlay[other], 1.0)


class AttributeDistance:
    """Share of some attributes in which two products differ.

    Args:
        columns: Columns of the attributes; None: `attributes` of dataset.json. Without any, all products are 1 apart.
    """

    def __init__(self, columns: list[str] | None = None) -> None:
        self.columns = tuple(columns or ())

    def __call__(self, rows: ManifestTensors, one: Tensor, other: Tensor) -> Tensor:
        columns = self.columns or rows.attributes
        if not columns:
            return torch.ones(len(one))
        codes = torch.stack([rows.code[column] for column in columns])  # (A, N)
        return (codes[:, one] != codes[:, other]).float().mean(0)
