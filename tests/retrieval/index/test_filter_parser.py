import pytest

from fashionclip.errors import InputError
from fashionclip.retrieval.index.filter_parser import Clause, Group, parse_where

KINDS = {"gender": "text", "size": "text", "price": "number", "Master Category": "text"}


@pytest.mark.parametrize(
    ("where", "clause"),
    [
        ("gender = 'Women'", Clause("gender", "=", ("Women",))),
        ("GENDER == 'Women'", Clause("gender", "=", ("Women",))),
        ("gender != 'it''s'", Clause("gender", "<>", ("it's",))),
        ("price <= -2.5", Clause("price", "<=", (-2.5,))),
        ("price < '50'", Clause("price", "<", (50.0,))),
        ("50 > price", Clause("price", "<", (50,))),
        ("size = 42", Clause("size", "=", ("42",))),
        ("size = 007", Clause("size", "=", ("007",))),
        ("gender > 'M'", Clause("gender", ">", ("M",))),
        ("price in (1, 2)", Clause("price", "in", (1, 2))),
        ("gender not in ('Men')", Clause("gender", "not in", ("Men",))),
        ("gender like 'W%'", Clause("gender", "like", ("W%",))),
        ("gender not like 'W%'", Clause("gender", "not like", ("W%",))),
        ("not gender not like 'W%'", Clause("gender", "like", ("W%",))),
        ("gender is null", Clause("gender", "is null", ())),
        ("gender is not null", Clause("gender", "is not null", ())),
        ("not (gender is not null)", Clause("gender", "is null", ())),
        ("\"master category\" = 'x'", Clause("Master Category", "=", ("x",))),
        ("MASTER_category = 'x'", Clause("Master Category", "=", ("x",))),
    ],
)
def test_clauses(where, clause):
    assert parse_where(where, KINDS) == clause


def test_not_comes_down_to_the_clauses():
    assert parse_where("not (gender = 'Men' or price >= 5 and price between 1 and 2)", KINDS) == Group(
        "and",
        (
            Clause("gender", "<>", ("Men",)),
            Group(
                "or",
                (
                    Clause("price", "<", (5,)),
                    Group("or", (Clause("price", "<", (1,)), Clause("price", ">", (2,)))),
                ),
            ),
        ),
    )


def test_and_binds_more_than_or():
    read = parse_where("price = 1 or price = 2 and price = 3", KINDS)
    assert read.operator == "or" and read.parts[1].operator == "and"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("colour = 'Red'", r"no field 'colour'; has \['Master Category', 'gender', 'price', 'size'\]"),
        ('gender = "Women"', "text stands in single quotes: gender ... 'Women'"),
        ("gender = Women", "text stands in single quotes: gender ... 'Women'"),
        ("price = " + "dec(" * 40 + "1" + ")" * 40, "there are no functions"),
        ("price = " + "array<" * 600 + "int", "cannot"),
        ("price < 'cheap'", "'cheap' is compared with numbers"),
        ("price < 'nan'", "'nan' is compared with numbers"),
        ("price < 1e400", "1e400 is too large"),
        ("price like '5%'", "price is a number"),
        ("size < 42", "size is text"),
        ("gender like 'a\\%'", "no backslashes"),
        ("", "got ''"),
        ("price <", "cannot be read"),
        ("gender", "cannot say"),
        ("price = " + "1" * 5000, "at most 4,000"),
        ("(" * 3900, "cannot be read"),
        ("not " * 900 + "price = 1", "cannot be read"),
    ],
)
def test_mistakes_are_explained(where, message):
    with pytest.raises(InputError, match=message):
        parse_where(where, KINDS)


@pytest.mark.parametrize(
    "where",
    [
        "gender = 'a'; drop table photos",
        "gender = 'a' union select 1",
        "gender = (select content from photos)",
        "gender in (select 1)",
        "exists(select 1)",
        "1 = 1",
        "gender = lower('A')",
        "gender || 'x' = 'y'",
        "gender = price",
        "photos.gender = 'a'",
        "gender like 'a' escape 'b'",
        "gender = 'a' collate nocase",
        "price between symmetric 1 and 2",
        "price = ?",
        "price = :x",
        "price = 1 + 1",
        "gender = null",
        "price is 5",
        "case when price = 1 then 1 end",
        "cast(price as text) = '1'",
        "gender in ()",
        "load_extension('x')",
    ],
)
def test_nothing_else_can_be_said(where):
    with pytest.raises(InputError):
        parse_where(where, KINDS)


def test_what_is_not_known_of_fields_is_not_asked_of_them():
    assert parse_where("size < 42 and Price like '1%' and code in (007)", None) == Group(
        "and", (Clause("size", "<", ("42",)), Clause("Price", "like", ("1%",)), Clause("code", "in", ("007",)))
    )
    with pytest.raises(InputError, match=r"cannot say .*\. Fields can be compared"):
        parse_where("gender", None)
