"""Whether a config's values are of the types that the functions and classes named in it say they take."""

from __future__ import annotations

import inspect
import json
import pkgutil
import typing
from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from fashionclip.errors import InputError

WORDS = {  # how a user says it
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid array": "a list",
    "an object": "keys with values",
}
RENAMED = {("mining", "given"): " What was mining=given is random now, drawn anew for each batch."}
NODE = "a node with _target_"


def arguments_of(target: str, *, key: str) -> dict[str, Any]:
    """The arguments of a function or class by name, with their types (`Any`: not said); "**" where it takes any name.

    Args:
        target: Import path of the function or class.
        key: Place in the config that names it.

    Raises:
        InputError: It cannot be imported.
    """
    try:
        called: Callable[..., Any] = pkgutil.resolve_name(target)
    except Exception as error:  # whatever importing it raises
        lacks = isinstance(error, ModuleNotFoundError) and error.name == "pytorch_metric_learning"
        remedy = "Run: pip install 'fashionclip[pml]'" if lacks else "Correct its path."
        raise InputError(f"{key}._target_={target}: cannot be imported ({error}). {remedy}") from error
    try:
        parameters = inspect.signature(called).parameters
        hints = typing.get_type_hints(inspect.unwrap(called) if inspect.isfunction(called) else called.__init__)
    except (NameError, TypeError, ValueError):  # names that only a type checker imports; no signature at all
        return {"**": Any}
    names = {"**" if p.kind is p.VAR_KEYWORD else name for name, p in parameters.items()}
    return {name: hints.get(name, Any) for name in names}


def check_types(node: Any, *, key: str = "", typed: Callable[[str], str] = str) -> None:
    """Refuses values of a type that the callee does not take, everywhere below a node of a plain config.

    Args:
        node: Plain values, in which nodes to build have a `_target_`.
        key: Place of the node in the config.
        typed: Function from the key of a value to the key under which it was given.

    Raises:
        InputError: Naming the key, what it got and what is expected.
    """
    if isinstance(node, list):
        for place, below in enumerate(node):
            check_types(below, key=f"{key}[{place}]", typed=typed)
    if not isinstance(node, dict):
        return
    known = arguments_of(node["_target_"], key=key) if "_target_" in node else {}
    for name, value in node.items():
        below = f"{key}.{name}" if key else str(name)
        if name in known and value != "???" and (expected := _expected(value, known[name])):
            hint = RENAMED.get((name, value), "") if isinstance(value, str) else ""
            raise InputError(f"{typed(below)}={'null' if value is None else value}: expected {expected}.{hint}")
        check_types(value, key=below, typed=typed)


def _expected(value: Any, hint: Any) -> str:
    """What is taken in place of a value that does not fit; nothing where it does, or will be built of a node."""
    if "_target_" in str(value):
        return ""
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        said = [part["msg"].removeprefix("Input should be ") for part in error.errors()]
        built = [one for one in said if "instance of" in one or "isinstance" in one or one == "callable"]
        words = [NODE if one in built else WORDS.get(one, one) for one in said]
        return " or ".join(dict.fromkeys([*words, *["null"] * (type(None) in typing.get_args(hint))]))
    except SchemaError:  # of a protocol, which no plain value is
        return NODE
    return ""
