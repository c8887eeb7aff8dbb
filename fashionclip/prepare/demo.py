"""The demo catalogue as a dataset: drawn in Kaggle's format, then prepared like the real thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.drawing.catalog import write_demo_catalog
from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset
from fashionclip.prepare.kaggle_products import prepare_kaggle_products


def prepare_demo(*, source: Path | str, items: int, shots: int, seed: int, **settings: Any) -> PreparedDataset:
    """Draws the catalogue into `source`, unless it is there, and prepares it.

    Args:
        source: Folder for the drawn catalogue.
        items: Number of different products.
        shots: Photos of each.
        seed: Of drawing and split.
        settings: The other arguments of `prepare_kaggle_products`.

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
    return prepare_kaggle_products(source=source, seed=seed, **settings)
