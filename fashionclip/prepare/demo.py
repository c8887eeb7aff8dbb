"""The demo catalogue as a dataset: drawn in Kaggle's format, then prepared like the real thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fashionclip.manifest import PreparedDataset
from fashionclip.prepare.demo_catalog import write_demo_catalog
from fashionclip.prepare.kaggle_products import prepare_kaggle_products


def prepare_demo(*, source: Path | str, items: int, shots: int, seed: int, **settings: Any) -> PreparedDataset:
    """Draws the catalogue into `source`, unless it is there, and prepares it.

    Args:
        source: Folder for the drawn catalogue.
        items: Number of different products.
        shots: Photos of each.
        seed: Of drawing and split.
        settings: The other arguments of `prepare_kaggle_products`.
    """
    if not Path(source, "styles.csv").exists():
        write_demo_catalog(Path(source), items=items, shots=shots, seed=seed)
    return prepare_kaggle_products(source=source, seed=seed, **settings)
