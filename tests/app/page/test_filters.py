import pytest

from fashionclip.app.page.filters import NumberFilter, TextFilter, filters_of, where_of
from fashionclip.errors import InputError
from fashionclip.retrieval.index.filter_parser import Clause, Group, parse_where

FIELDS = {"base_colour": ["Red", "Blue"], "brand": ["Only"], "price": (1.5, 90.0)}


def test_what_is_offered():
    form = {"is.base_colour": "Blue", "min.price": " 2 ", "is.brand": "Only", "q": "dress"}
    assert filters_of(FIELDS, form) == [
        TextFilter("base_colour", "Base colour", ("Red", "Blue"), "Blue"),
        NumberFilter("price", "Price", 1.5, 90.0, "2", ""),
    ]


@pytest.mark.parametrize("value", ["Levi's", "a' or 'a' = 'a", 'say "x"', "x\\", "--", "/*", "%", "é ☃", ";", "a\nb"])
def test_any_value_reaches_the_searcher_as_it_is(value):
    where = where_of([TextFilter("brand", "Brand", (), value)])
    assert parse_where(where, {"brand": "text"}) == Clause("brand", "=", (value,))


def test_any_field_can_be_named():
    field = 'price (£), "net"; or 1'
    where = where_of([NumberFilter(field, "Price", 0, 1, "-1e3", "2.50")])
    assert parse_where(where, {field: "number"}) == Group(
        "and", (Clause(field, ">=", (-1000,)), Clause(field, "<=", (2.5,)))
    )


def test_nothing_chosen_is_no_filter():
    assert where_of(filters_of(FIELDS, {})) is None


@pytest.mark.parametrize("typed", ["a", "nan", "inf", "1 or 1", "1;"])
def test_what_is_no_number(typed):
    with pytest.raises(InputError, match=r"Price: got .*, expected a number"):
        where_of([NumberFilter("price", "Price", 0, 1, typed, "")])
