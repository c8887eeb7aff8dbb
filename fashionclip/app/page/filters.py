"""The filters of the page's form: a choice among the values of a text field, or the ends of a number's range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fashionclip.errors import InputError
from fashionclip.retrieval.index.filter_fields import Choices

SHORT = 12  # values; so many stand by frequency, more by the alphabet
CHOSEN, LEAST, MOST = "is.", "min.", "max."  # before the name of a field, in the form and in the page's address


@dataclass(frozen=True)
class TextFilter:
    """A field with few values, and the value chosen, "" for any."""

    field: str
    label: str
    values: tuple[str, ...]
    chosen: str

    @property
    def where(self) -> list[str]:
        return [f"{_name(self.field)} = {_text(self.chosen)}"] if self.chosen else []

    @property
    def given(self) -> dict[str, str]:
        """The names and values of the form that are not empty."""
        return {CHOSEN + self.field: self.chosen} if self.chosen else {}


@dataclass(frozen=True)
class NumberFilter:
    """A field with numbers from `low` to `high`, and the ends chosen, as typed."""

    field: str
    label: str
    low: float
    high: float
    least: str
    most: str

    @property
    def where(self) -> list[str]:
        ends = ((">=", self.least), ("<=", self.most))
        return [f"{_name(self.field)} {sign} {_number(end, self.label)}" for sign, end in ends if end]

    @property
    def given(self) -> dict[str, str]:
        both = {LEAST + self.field: self.least, MOST + self.field: self.most}
        return {name: end for name, end in both.items() if end}


Filter = TextFilter | NumberFilter


def filters_of(choices: Choices, form: Mapping[str, str]) -> list[Filter]:
    """The filters that the page offers, with what the form has chosen."""
    filters: list[Filter] = []
    for field, choice in choices.items():
        label = field.replace("_", " ").strip().capitalize()
        if isinstance(choice, tuple):
            least, most = (form.get(end + field, "").strip() for end in (LEAST, MOST))
            filters.append(NumberFilter(field, label, choice[0], choice[1], least, most))
        elif len(choice) > 1:  # one value alone tells nothing apart
            values = choice if len(choice) <= SHORT else sorted(choice, key=str.casefold)
            filters.append(TextFilter(field, label, tuple(values), form.get(CHOSEN + field, "")))
    return filters


def where_of(filters: list[Filter]) -> str | None:
    """The condition that the filters mean together, as `Query.where` takes it; None where none is set.

    >>> where_of([TextFilter("brand", "Brand", ("A", "B"), "Levi's"), NumberFilter("price", "Price", 1, 90, "", "50")])
    '"brand" = \\'Levi\\'\\'s\\' and "price" <= 50'

    Raises:
        InputError: An end of a range is not a number.
    """
    return " and ".join(clause for one in filters for clause in one.where) or None


def _name(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _number(typed: str, label: str) -> str:
    try:
        number = float(typed)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{label}: got {typed!r}, expected a number.")
    return f"{number:.12g}"
