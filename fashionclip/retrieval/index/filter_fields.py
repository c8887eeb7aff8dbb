"""The fields by which the photos of an index can be filtered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from fashionclip.errors import InputError
from fashionclip.retrieval.index.filter_parser import Clause, Condition, Kind, plain_name
from fashionclip.retrieval.index.indexed_photo import TEXT_FIELDS, IndexedPhoto, Value

HINTED = 8  # values of a field that a hint names, the most frequent ones
LISTED = 300  # largest number of different values of a text field that are listed; else, as of codes, none is
FIXED: dict[str, Kind] = dict.fromkeys(TEXT_FIELDS, "text")

Choices = dict[str, list[str] | tuple[float, float]]


class Fields:
    """The fields of photos and their values, counted photo by photo."""

    def __init__(self) -> None:
        self._values: dict[str, Counter[str] | None] = {}  # None where there are too many
        self._range: dict[str, tuple[float, float]] = {}
        self.products = set[str]()

    def add(self, photo: IndexedPhoto) -> None:
        self.products.add(photo.item_id)
        if photo.category:
            self._count("category", photo.category)
        for name, value in photo.attributes.items():
            self._count(name, value)

    def _count(self, name: str, value: Value) -> None:
        if not isinstance(value, str):
            low, high = self._range.get(name, (value, value))
            self._range[name] = (min(low, value), max(high, value))
            return
        counts = self._values.setdefault(name, Counter())
        if counts is not None:
            counts[value] += 1
            if len(counts) > LISTED:
                self._values[name] = None

    def to_json(self) -> dict[str, Any]:
        """The kind of each field, with its values, the most frequent first, or its range."""
        texts = {
            name: {"kind": "text", "values": None if counts is None else [value for value, _ in counts.most_common()]}
            for name, counts in self._values.items()
        }
        return texts | {name: {"kind": "number", "range": list(ends)} for name, ends in self._range.items()}


def kinds_of(fields: dict[str, Any]) -> dict[str, Kind]:
    """The kind of every field that a filter may name, from what `Fields.to_json` gave."""
    return FIXED | {name: field["kind"] for name, field in fields.items()}


def field_named(name: str, fields: Iterable[str]) -> str:
    """The field that a user means.

    Args:
        name: Name in any spelling, also without its `_id`.
        fields: Names of all fields.

    Raises:
        InputError: There is no such field.

    >>> field_named("item", ["item_id", "Main Colour"]), field_named("main colour", ["item_id", "Main Colour"])
    ('item_id', 'Main Colour')
    """
    fields = sorted(fields)
    for wanted in (name, plain_name(name), f"{plain_name(name)}_id"):
        for field in fields:
            if wanted in (field, plain_name(field)):
                return field
    raise InputError(f"no field {name!r} to group by; has {fields}.")


def choices_of(fields: dict[str, Any]) -> Choices:
    """The fields worth offering: text fields with their values where these are few, numbers with their range."""
    choices: Choices = {}
    for name, field in fields.items():
        if field["kind"] == "number":
            choices[name] = (field["range"][0], field["range"][1])
        elif field["values"]:
            choices[name] = field["values"]
    return choices


def hints(condition: Condition, fields: dict[str, Any]) -> list[str]:
    """What the fields that a condition names hold, in words.

    >>> fields = {"gender": {"kind": "text", "values": ["Men", "Women"]}, "price": {"kind": "number", "range": [5, 90]}}
    >>> hints(Clause("gender", "=", ("men",)), fields) + hints(Clause("price", "<", (1,)), fields)
    ["gender has 'Men', 'Women'", 'price is from 5 to 90']
    """
    if not isinstance(condition, Clause):
        return list(dict.fromkeys(hint for part in condition.parts for hint in hints(part, fields)))
    field = fields.get(condition.field)
    if field is None and condition.field == "category":
        return ["no photo has a category"]
    if field is None or field.get("values", ()) is None:
        return [f"{condition.field} has too many values to list; like 'A%' finds those that begin so"]
    if field["kind"] == "number":
        low, high = field["range"]
        return [f"{condition.field} is from {low:g} to {high:g}"]
    more = ", ..." if len(field["values"]) > HINTED else ""
    return [f"{condition.field} has {', '.join(map(repr, field['values'][:HINTED]))}{more}"]
