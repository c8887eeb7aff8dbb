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
    # convert_dtypes: of whole numbers, too, some may be missing, and pandas holds them as 2017.0
    columns = [manifest[column].convert_dtypes() for column in columns_in(field)]
    rows = zip(*(["" if pd.isna(cell) else str(cell).strip() for cell in cells] for cells in columns), strict=True)
    return [" ".join(row) if all(row) else "" for row in rows]


def check_fields(fields: Mapping[str, float], *, key: str = "loss.text_fields") -> None:
    """Refuses a weight that is none, and a field without a column, such as "colour+".

    Args:
        fields: Weights by field.
        key: Name of the setting, for the message.

    Raises:
        ValueError: Naming the field.
    """
    for field, weight in fields.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise ValueError(f"{key}: {field!r} has the weight {weight!r}. Expected a number above 0.")
        if not all(columns_in(field)):
            raise ValueError(f"{key}: {field!r} lacks a column. Expected one, or several joined by '+'.")
