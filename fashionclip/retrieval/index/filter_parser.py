"""Filters such as `gender = 'Women' and price < 50`, conditions as in SQL, parsed into a small tree that each store
turns into its own language. Only the operators listed below are accepted."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from fashionclip.errors import InputError
from fashionclip.retrieval.index.indexed_photo import IndexedPhoto, Value

Kind = Literal["text", "number"]
LARGEST = 2**53  # up to here a float holds every whole number
LONGEST = 4000  # characters of a filter
DEEPEST = 24  # levels of nested conditions; SQLite and Milvus read some fifty to a hundred parentheses
EXAMPLE = "Expected something like: gender = 'Women' and (price < 50 or colour in ('Red', 'Blue'))"


@dataclass(frozen=True)
class Clause:
    """A test of one field. A photo without a value of the field passes only "is null".

    Attributes:
        field: Name of the field, as the index spells it.
        operator: `= <> < <= > >=` with one value, `in`, `not in` with any number of them, `like`, `not like` with a
            pattern (`%` any characters, `_` one; upper and lower case differ), `is null`, `is not null` with none.
        values: Values to compare with, all text or all numbers.
    """

    field: str
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Group:
    """Conditions joined by `and` or by `or`."""

    operator: Literal["and", "or"]
    parts: tuple[Condition, ...]


Condition = Clause | Group

_COMPARES: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.Like: "like",
}
_OPERATORS = {getattr(TokenType, name) for name in ("AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL")}
_PARTS = {"this", "expression", "expressions", "low", "high", "negate"}  # of a node of sqlglot's tree, as far as read
_OPPOSITE = {
    "=": "<>",
    "<": ">=",
    ">": "<=",
    "in": "not in",
    "like": "not like",
    "is null": "is not null",
}
_OPPOSITE |= {opposite: operator for operator, opposite in _OPPOSITE.items()}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def plain_name(name: str) -> str:
    """One name for all spellings of a field, such as `Master Category` and `master_category`.

    >>> plain_name("Master Category")
    'master_category'
    """
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def parse_where(where: str, kinds: Mapping[str, Kind] | None) -> Condition:
    """Reads a filter.

    `not` is moved down to the single tests, so that in every store a photo without a value passes neither a test nor
    its opposite, as in SQL.

    Args:
        where: Filter, as a user writes it.
        kinds: Kind of each field, by its name; None: they are not known, and any name and comparison is taken.

    Raises:
        InputError: The filter cannot be read, names an unknown field, or uses something that is not accepted.
    """
    if len(where) > LONGEST:
        raise InputError(f"filter: {len(where):,} characters, at most {LONGEST:,} are read.")
    try:
        statements = sqlglot.parse(_names_quoted(where))
        statement = statements[0] if len(statements) == 1 else None
        if not isinstance(statement, exp.Expression):
            raise InputError(f"filter: got {where!r}. {EXAMPLE}")
        condition = _Reader(where, kinds).read(statement, negated=False)
    except (SqlglotError, RecursionError) as error:
        reason = re.sub(r"\x1b\[\d*m", "", str(error)).strip().splitlines()[0] if str(error) else "nested too deep"
        shown = where if len(where) < 200 else where[:200] + "..."
        raise InputError(f"filter: {shown!r} cannot be read ({reason[:200]}). {EXAMPLE}") from None
    if (depth := _depth(condition)) > DEEPEST:
        raise InputError(f"filter: conditions stand {depth} deep within each other, at most {DEEPEST} are read.")
    return condition


def holds(condition: Condition, photo: IndexedPhoto) -> bool:
    """Whether a photo passes a condition, as every store decides it."""
    if isinstance(condition, Group):
        return (all if condition.operator == "and" else any)(holds(part, photo) for part in condition.parts)
    value = photo.value(condition.field)
    if condition.operator in ("is null", "is not null"):
        return (value is None) == (condition.operator == "is null")
    if value is None:
        return False
    if condition.operator.startswith("not "):
        return not holds(replace(condition, operator=_OPPOSITE[condition.operator]), photo)
    if condition.operator == "in":
        return value in condition.values
    if condition.operator == "like":
        pattern = re.escape(str(condition.values[0])).replace("%", ".*").replace("_", ".")
        return re.fullmatch(pattern, str(value), re.DOTALL) is not None
    return _TESTS[condition.operator](value, condition.values[0])


def _depth(condition: Condition) -> int:
    return 1 + max(map(_depth, condition.parts)) if isinstance(condition, Group) else 0


def _names_quoted(where: str) -> str:
    """The filter with every word but operators in double quotes.

    Without them sqlglot also tries words as types and functions, which takes 2^n steps for `dec(dec(...` nested n deep.

    Raises:
        InputError: The filter calls a function.
    """
    pieces, end, named = [], 0, False
    for token in sqlglot.tokenize(where):
        if token.token_type == TokenType.L_PAREN and named:
            raise InputError(
                f"filter: a name before a parenthesis in {where[:200]!r}; there are no functions. {EXAMPLE}"
            )
        spelled = where[token.start : token.end + 1]
        word = token.token_type not in _OPERATORS and re.fullmatch(r"[^\W\d]\w*", spelled) is not None
        named = word or token.token_type == TokenType.IDENTIFIER
        pieces += [where[end : token.start], f'"{spelled}"' if word else spelled]
        end = token.end + 1
    return "".join([*pieces, where[end:]])


class _Reader:
    def __init__(self, where: str, kinds: Mapping[str, Kind] | None) -> None:
        self.where = where
        self.kinds = kinds
        self.names = {plain_name(name): name for name in kinds or ()}

    def read(self, node: exp.Expr, *, negated: bool) -> Condition:
        if {part for part, value in node.args.items() if value} - _PARTS:  # such as ESCAPE, SYMMETRIC
            raise self.refusal(node)
        if node.args.get("negate"):  # NOT LIKE; NOT IN is a Not around an In
            negated = not negated
        if isinstance(node, exp.Paren):
            return self.read(node.this, negated=negated)
        if isinstance(node, exp.Not):
            return self.read(node.this, negated=not negated)
        if isinstance(node, exp.And | exp.Or):
            both = isinstance(node, exp.And) != negated  # not (a and b) is (not a) or (not b)
            parts = [self.read(part, negated=negated) for part in node.flatten()]
            return Group("and" if both else "or", tuple(parts))
        if isinstance(node, exp.Between):
            low = self.test(node.this, ">=", [node.args["low"]], negated)
            high = self.test(node.this, "<=", [node.args["high"]], negated)
            return Group("or" if negated else "and", (low, high))
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return self.test(node.this, "is null", [], negated)
        if isinstance(node, exp.In) and node.expressions:
            return self.test(node.this, "in", node.expressions, negated)
        operator = _COMPARES.get(type(node))
        if operator is None:
            raise self.refusal(node)
        left, right = node.this, node.expression
        if not isinstance(left, exp.Column) and operator in _MIRRORED:  # 50 > price
            left, right, operator = right, left, _MIRRORED[operator]
        return self.test(left, operator, [right], negated)

    def test(self, column: exp.Expr, operator: str, values: list[exp.Expr], negated: bool) -> Clause:
        if not isinstance(column, exp.Column) or len(column.parts) != 1:
            raise self.refusal(column)
        spelled = self.kinds is None or column.name in self.kinds
        name = column.name if spelled else self.names.get(plain_name(column.name))
        if name is None:
            raise InputError(f"filter: no field {column.name!r}; has {sorted(self.kinds or ())}.")
        kind = None if self.kinds is None else self.kinds[name]
        if kind == "number" and operator == "like":
            raise InputError(f"filter: {name} is a number, `like` is for text, in {self.where!r}.")
        read = tuple(self.value(value, name, kind) for value in values)
        if kind == "number":
            read = tuple(map(self.as_number, read))
        ordered = operator in ("<", "<=", ">", ">=")
        if kind == "text" and ordered and any(not value.is_string for value in values):
            raise InputError(f"filter: {name} is text and has no order among numbers, in {self.where!r}.")
        if operator == "like" and "\\" in str(read[0]):  # escapes in some stores and not in others
            raise InputError(f"filter: patterns have no backslashes, in {self.where!r}. `_` is any one character.")
        return Clause(name, _OPPOSITE[operator] if negated else operator, read)

    def value(self, node: exp.Expr, name: str, kind: Kind | None) -> Value:
        if isinstance(node, exp.Column) and node.this.quoted:
            raise InputError(f"filter: text stands in single quotes: {name} ... '{node.name}', in {self.where!r}.")
        digits = node.this if isinstance(node, exp.Neg) else node
        if not isinstance(digits, exp.Literal) or (digits is not node and digits.is_string):
            raise self.refusal(node)
        if digits.is_string:
            return str(digits.this)
        if kind != "number":  # as it is spelled: "007" is a code
            return f"{'-' if digits is not node else ''}{digits.this}"
        number = float(digits.this)
        if abs(number) > LARGEST:
            raise InputError(f"filter: {digits.this} is too large, in {self.where!r}.")
        whole = str(digits.this).isdecimal()
        return (-1 if digits is not node else 1) * (int(digits.this) if whole else number)

    def as_number(self, value: Value) -> int | float:
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if not abs(number) <= LARGEST:
                raise InputError(f"filter: {value!r} is compared with numbers, in {self.where!r}.")
            return number
        return value

    def refusal(self, node: exp.Expr) -> InputError:
        fields = "Fields" if self.kinds is None else f"Fields {sorted(self.kinds)}"
        return InputError(
            f"filter: cannot say {node.sql()!r}, in {self.where!r}. {fields} can be compared with "
            "text or numbers by = <> < <= > >= in like between, is null, joined by and, or, not. "
            f"{EXAMPLE}"
        )
