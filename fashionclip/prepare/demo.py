"""The demo catalogue as a dataset: drawn in Kaggle's format, then prepared like the real thing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.drawing.catalog import write_demo_catalog
from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset
from fashionclip.prepare.kaggle_products import prepare_kaggle_products

DEMO_RATIOS = {"train": 0.6, "val": 0.2, "test": 0.2}  # so few products leave little to test on


def prepare_demo(
    *,
    name: str = "demo",
    source: Path | str,
    items: int = 300,
    shots: int = 3,
    ratios: Mapping[str, float] = DEMO_RATIOS,
    seed: int = 0,
    **settings: Any,
) -> PreparedDataset:
    """Draws the catalogue into `source`, unless it is there, and prepares it.

    Args:
        name: Name of the dataset, for the record.
        source: Folder of the drawn catalogue.
        items: Number of different products.
        shots: Number of photos of each product.
        ratios: Shares of train, val and test; without val a tenth of train becomes val.
        seed: Seed of the drawing and of the split.
        settings: Other arguments of `prepare_kaggle_products`.

    Raises:
        InputError: `source` holds a catalogue of other counts.
    """
    table = Path(source, "styles.csv")
    if not table.exists():
        write_demo_catalog(Path(source), items=items, shots=shots, seed=seed)
    names = pd.read_csv(table)["productDisplayName"]  # no two items share a name
    if (names.nunique(), len(names)) != (items, items * shots):
        raise InputError(
            f"{table}: {len(names)} photos of {names.nunique()} products, expected {items * shots} of {items} "
            "(dataset.items, dataset.shots). Remove the folder or name another dataset.source."
        )
    return prepare_kaggle_products(name=name, source=source, ratios=ratios, seed=seed, **settings)
