"""Further texts of a product, made of its columns: what short queries say, where a name says everything at once."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd


def columns_in(field: str) -> tuple[str, ...]:
    """The columns that a field is made of.

    Args:
        field: Name of a column, or several joined by "+".

    >>> columns_in("category"), columns_in("colour+category")
    (('category',), ('colour', 'category'))
    """
    return tuple(field.split("+"))


def texts_of(manifest: pd.DataFrame, field: str) -> list[str]:
    """The text of each row in a field, such as "Red Shirts" of colour+category; "" where a column is empty."""
    rows = zip(*(manifest[column].astype(str) for column in columns_in(field)), strict=True)
    return [" ".join(row) if all(row) else "" for row in rows]


def check_fields(fields: Mapping[str, float]) -> None:
    """Refuses a weight that is none.

    Raises:
        ValueError: It is no number above 0.
    """
    for field, weight in fields.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise ValueError(f"loss.text_fields: {field!r} has the weight {weight!r}. Expected a number above 0.")
