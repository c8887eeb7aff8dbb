"""A photo of a catalogue, and what is known of it."""

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
        image_id: Unique in its index.
        item_id: The product that it shows.
        path: Path of its file below the source's folder, with "/".
        text: Name or description of the product, "" where there is none.
        category: Kind of product, "" where it is not known.
        attributes: All else to filter by; what is not known is not among them.
    """

    image_id: str
    item_id: str
    path: str
    text: str
    category: str
    attributes: Mapping[str, Value]

    def value(self, field: str) -> Value | None:
        """What is known of a field; None where nothing is."""
        return (getattr(self, field) or None) if field in TEXT_FIELDS else self.attributes.get(field)

    def group(self, field: str) -> tuple[Value, str]:
        """A key that photos share which have the same value of a field; a photo without a value shares it with none."""
        value = self.value(field)
        return ("", self.image_id) if value is None else (value, "")

    @property
    def digest(self) -> str:
        """Differs where anything but the pixels does."""
        facts = [self.item_id, self.path, self.text, self.category, dict(self.attributes)]
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
