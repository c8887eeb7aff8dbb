"""What the page about the API shows, read from the OpenAPI schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Value:
    """A parameter, or a field of an answer."""

    name: str
    kind: str
    place: str
    required: bool
    default: str
    description: str


@dataclass(frozen=True)
class Endpoint:
    """One method of one path. `answers` are pairs of status and meaning."""

    method: str
    path: str
    summary: str
    description: str
    values: list[Value]
    answer: str
    answers: list[tuple[str, str]]


def endpoints_of(schema: dict[str, Any]) -> dict[str, Any]:
    """`info`, `endpoints` and `models`, the fields of each answer by its name."""
    named = schema.get("components", {}).get("schemas", {})
    endpoints, shown = [], set()
    for path, methods in schema["paths"].items():
        for method, one in methods.items():
            values = [_value(each["name"], each["schema"], each["in"], each) for each in one.get("parameters", [])]
            for content in one.get("requestBody", {}).get("content", {}).values():
                body = named[_name(content["schema"])]
                required = body.get("required", [])
                values += [
                    _value(name, field, "form", {"required": name in required, **field})
                    for name, field in body["properties"].items()
                ]
            contents = [
                content for answer in one["responses"].values() for content in answer.get("content", {}).items()
            ]
            names = [_name(content.get("schema", {})) or kind for kind, content in contents]
            shown |= set(names) & set(named)
            answers = [(status, answer["description"]) for status, answer in one["responses"].items()]
            about = one.get("description", "")
            endpoints.append(Endpoint(method.upper(), path, one["summary"], about, values, names[0], answers))
    models = {name: _fields(named[name]) for name in named if name in shown | {"Found"}}
    return {"info": schema["info"], "endpoints": endpoints, "models": models}


def _fields(model: dict[str, Any]) -> list[Value]:
    return [_value(name, field, "", {**field, "required": False}) for name, field in model["properties"].items()]


def _value(name: str, field: dict[str, Any], place: str, about: dict[str, Any]) -> Value:
    default = field.get("default", "")
    description = about.get("description") or field.get("description", "")
    return Value(name, _kind(field), place, about.get("required", False), str(default), description)


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return _name(field)
    if "anyOf" in field:
        return " or ".join(kind for kind in map(_kind, field["anyOf"]) if kind != "null")
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    if field.get("format") == "binary" or "contentMediaType" in field:
        return "file"
    ends = [f"{field[end]:g}" for end in ("minimum", "maximum") if end in field]
    return str(field.get("type", "")) + (f" {ends[0]} to {ends[1]}" if len(ends) == 2 else "")


def _name(field: dict[str, Any]) -> str:
    return str(field.get("$ref", "")).rpartition("/")[2]
