"""From chosen rows to the images and texts a batch must hold, and the relation among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fashionclip.batch import Pairs
from fashionclip.data.rows import Rows
from fashionclip.errors import InputError


@dataclass(frozen=True)
class Related:
    """What a batch shall hold: distinct manifest rows (I,), distinct text ids (T,) and the relation among them."""

    image_row: Tensor
    text_id: Tensor
    relation: Pairs


class Relation(Protocol):
    """A rule that turns the rows of a batch into a relation.

    Attributes:
        name: As the loss's YAML says it.
        columns: Manifest columns it cannot do without.
    """

    name: str
    columns: tuple[str, ...]

    def relate(self, rows: Rows, chosen: Tensor) -> Related:
        """Builds the relation for the (N,) chosen row numbers, which may repeat."""
        ...


class PairRelation:
    """Each row's photo with its own text."""

    name: str = "pairs"
    columns: tuple[str, ...] = ("item_id", "text")

    def relate(self, rows: Rows, chosen: Tensor) -> Related:
        image_row, image_index = torch.unique(chosen, return_inverse=True)
        text_id, text_index = torch.unique(rows.text_id[chosen], return_inverse=True)
        pairs = Pairs(
            image_index=image_index,
            text_index=text_index,
            item_id=rows.item_id[chosen],
            text_id=rows.text_id[chosen],
        )
        return Related(image_row=image_row, text_id=text_id, relation=pairs)


def check_columns(relation: Relation, rows: Rows) -> None:
    """Refuses a dataset that lacks what the relation needs, before any model is built.

    Raises:
        InputError: Naming the missing or empty column.
    """
    for column in relation.columns:
        if column not in rows.columns:
            raise InputError(
                f"{rows.root}/manifest.parquet: no column {column!r} with values, needed by relation={relation.name}; "
                f"has {rows.columns}. Use a loss that needs no {column!r}, or re-run prepare.py on a source with it."
            )
