"""How far the contents of two rows of one group are apart, in [0, 1]."""

from __future__ import annotations

from typing import Protocol

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from fashionclip.data.rows import Rows


class ContentDistance(Protocol):
    """A symmetric distance of rows.

    Attributes:
        columns: Manifest columns it cannot do without.
    """

    columns: tuple[str, ...]

    def __call__(self, rows: Rows, chosen: Tensor) -> Tensor:
        """(I, I) distances in [0, 1] among the (I,) chosen rows."""
        ...


class EditDistance:
    """Levenshtein distance over the longer length: of characters for captions, of words for lists of logos.

    Source: Levenshtein 1966, "Binary codes capable of correcting deletions, insertions, and reversals".
    """

    columns = ("text", "overlay")

    def __call__(self, rows: Rows, chosen: Tensor) -> Tensor:
        overlay = rows.code["overlay"][chosen]
        logo = rows.code_of("overlay", "logo")
        texts = [rows.text[i] for i in rows.text_id[chosen].tolist()]
        contents = [t.split(", ") if kind == logo else t for t, kind in zip(texts, overlay.tolist(), strict=True)]
        distance = torch.tensor([[Levenshtein.normalized_distance(a, b) for b in contents] for a in contents])
        return distance.masked_fill(overlay[:, None] != overlay[None], 1.0)


class AttributeDistance:
    """Share of some attributes in which two products differ.

    Args:
        columns: The attributes.
    """

    def __init__(self, columns: list[str]) -> None:
        self.columns = tuple(columns)

    def __call__(self, rows: Rows, chosen: Tensor) -> Tensor:
        codes = torch.stack([rows.code[column][chosen] for column in self.columns])  # (A, I)
        return (codes[:, :, None] != codes[:, None]).float().mean(0)
