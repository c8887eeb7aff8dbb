"""Triplets as a dataset of Hugging Face's `datasets`, in the columns of the pipeline this project began from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.errors import InputError


def require_datasets() -> Any:
    """The `datasets` package.

    Raises:
        InputError: The package is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            "dataset.save_hf=true: needs the package 'datasets', which is not installed. Run: "
            "pip install 'fashionclip[hf]', or leave dataset.save_hf=false."
        ) from None
    return datasets


def save_hugging_face(triplets: pd.DataFrame, *, manifest: pd.DataFrame, folder: Path, root: Path) -> None:
    """Writes a dataset that `datasets.load_from_disk(folder)` loads: a `DatasetDict` of the splits that have triplets.

    A triplet becomes two rows: with its positive (`semipos` 0) and with its semi-positive (`semipos` its distance in
    (0, 1]) as `pos`. `anchor`, `pos` and `neg` are absolute paths, which
    `.cast_column("anchor", datasets.Image())` turns into pictures; `caption` is the anchor's.

    Args:
        triplets: Triplets of all splits, from `draw_triplets`.
        manifest: Manifest with the images they name.
        folder: Folder to write.
        root: Folder of the prepared dataset, where the paths lead.

    Raises:
        InputError: `datasets` is not installed.
    """
    datasets = require_datasets()
    rows = manifest.set_index("image_id")
    paths = str(root.resolve()) + "/" + rows["path"]
    near = triplets.assign(pos=triplets["positive"], semipos=0.0)
    far = triplets.assign(pos=triplets["semipositive"], semipos=triplets["semipos_distance"])
    both = pd.concat([near, far]).sort_index(kind="stable")  # the two rows of a triplet stand together
    table = pd.DataFrame(
        {
            "anchor": both["anchor"].map(paths),
            "pos": both["pos"].map(paths),
            "neg": both["negative"].map(paths),
            "semipos": both["semipos"],
            "caption": both["anchor"].map(rows["caption"]),
        }
    )
    splits = table.groupby(both["anchor"].map(rows["split"]).to_numpy(), sort=False)
    saved = {split: datasets.Dataset.from_dict(of.to_dict("list")) for split, of in splits}
    datasets.DatasetDict(saved).save_to_disk(str(folder))
