"""A photo of a catalogue, and what is known of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

Value = str | int | float


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

    @property
    def digest(self) -> str:
        """Differs where anything but the pixels does."""
        facts = [self.item_id, self.path, self.text, self.category, dict(self.attributes)]
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
