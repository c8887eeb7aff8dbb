"""A photo of a catalogue, with what is known of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

Value = str | int | float
TEXT_FIELDS = ("image_id", "item_id", "text", "category")  # that a photo has beside its attributes


@dataclass(frozen=True)
class IndexedPhoto:
    """One photo as its source describes it.

    Attributes:
        image_id: Name of the photo, unique in its index.
        item_id: Product that it shows.
        path: Path of its file below the source's folder, with "/".
        text: Name or description of the product, "" where there is none.
        category: Kind of product, "" where it is not known.
        attributes: Values of all other fields; unknown ones are left out.
    """

    image_id: str
    item_id: str
    path: str
    text: str
    category: str
    attributes: Mapping[str, Value]

    def value(self, field: str) -> Value | None:
        """The value of a field; None where it is unknown."""
        return (getattr(self, field) or None) if field in TEXT_FIELDS else self.attributes.get(field)

    def group(self, field: str) -> tuple[Value, str]:
        """A key that photos with the same value of a field share; without a value a photo has a key of its own."""
        value = self.value(field)
        return ("", self.image_id) if value is None else (value, "")

    @property
    def digest(self) -> str:
        """A hash of everything but the pixels."""
        facts = [self.item_id, self.path, self.text, self.category, dict(self.attributes)]
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
