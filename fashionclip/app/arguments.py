"""Whether a config's values are of the types that the functions and classes named in it say they take."""

from __future__ import annotations

import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fashionclip.errors import InputError

WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
    **dict.fromkeys((list, tuple, Sequence), "a list"),
    **dict.fromkeys((dict, Mapping), "keys with values"),
}


def arguments_of(target: str, *, key: str) -> dict[str, Any]:
    """The arguments of a function or class by name, with their types (`Any`: not said); "**" where it takes any name.

    Args:
        target: Its import path.
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


def check_types(node: Any, *, key: str = "") -> None:
    """Refuses values of a type that the callee does not take, everywhere below a node of a plain config.

    Raises:
        InputError: Naming the key, what it got and what is expected.
    """
    if isinstance(node, list):
        for place, below in enumerate(node):
            check_types(below, key=f"{key}[{place}]")
    if not isinstance(node, dict):
        return
    known = arguments_of(node["_target_"], key=key) if "_target_" in node else {}
    for name, value in node.items():
        below = f"{key}.{name}" if key else str(name)
        hint = known.get(name, Any)
        if value != "???" and not fits(value, hint):
            raise InputError(f"{below}={'null' if value is None else value}: expected {worded(hint)}.")
        check_types(value, key=below)


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value may be passed where `hint` is expected; true where that cannot be told."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any or (isinstance(value, dict) and "_target_" in value):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if not isinstance(origin, type):
        return True
    if isinstance(value, list):
        inner = [part for part in parts if part is not ...] or [Any]
        return (origin is tuple or issubclass(list, origin)) and all(
            any(fits(v, part) for part in inner) for v in value
        )
    if isinstance(value, dict):
        return issubclass(dict, origin) and all(fits(v, parts[1] if parts else Any) for v in value.values())
    if origin is float:
        return type(value) in (int, float)
    if origin is Path:
        return isinstance(value, str)
    return type(value) is origin or origin is object  # neither number nor text is one of other classes


def worded(hint: Any) -> str:
    """A type as a user says it."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(worded, parts)))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, parts))}"
    inner = [
        worded(part) for part in (parts if origin in (list, Sequence) else parts[1:2] if origin is Mapping else ())
    ]
    return " of ".join([WORDS.get(origin) or inspect.formatannotation(hint), *inner])
