"""The templates. Everything that is put into them is escaped."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined


def photo_url(image_id: str) -> str:
    """The path at which the photo of an image_id is served.

    >>> photo_url("new/50% off?.jpg")
    '/images/new/50%25%20off%3F.jpg'
    """
    return "/images/" + quote(image_id)


_templates = Environment(
    loader=PackageLoader(__package__ or ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["photo_url"] = photo_url


def render(template: str, **values: Any) -> str:
    return _templates.get_template(template).render(**values)
