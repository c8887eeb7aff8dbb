"""Triplets as a dataset of Hugging Face's `datasets`, in the columns of the pipeline this project began from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.errors import InputError


def require_datasets() -> Any:
    """The `datasets` package.

    Raises:
        InputError: It is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            "dataset.save_hf=true: needs the package 'datasets', which is not installed. Run: "
            "pip install 'fashionclip[hf]', or leave dataset.save_hf=false."
        ) from None
    return datasets


def save_hugging_face(triplets: pd.DataFrame, *, manifest: pd.DataFrame, folder: Path) -> None:
    """Writes a dataset that `datasets.load_from_disk(folder)` loads.

    A triplet becomes two rows: with its positive (`semipos` 0) and with its semi-positive (`semipos` its distance in
    (0, 1]) as `pos`. `anchor`, `pos` and `neg` are paths below the prepared dataset's folder; `caption` is the
    anchor's; `split` says where the row belongs.

    Args:
        triplets: Triplets of all splits, from `draw_triplets`.
        manifest: Manifest with the images they name.
        folder: Folder to write.

    Raises:
        InputError: `datasets` is not installed.
    """
    datasets = require_datasets()
    rows = manifest.set_index("image_id")[["path", "caption", "split"]]
    near, far = triplets.assign(pos=triplets["positive"], semipos=0.0), triplets.assign(pos=triplets["semipositive"])
    far["semipos"] = far["semipos_distance"]
    both = pd.concat([near, far]).sort_index(kind="stable")  # the two rows of a triplet stand together
    columns: dict[str, list[Any]] = {
        "anchor": rows["path"].loc[both["anchor"]].tolist(),
        "pos": rows["path"].loc[both["pos"]].tolist(),
        "neg": rows["path"].loc[both["negative"]].tolist(),
        "semipos": both["semipos"].tolist(),
        "caption": rows["caption"].loc[both["anchor"]].tolist(),
        "split": rows["split"].loc[both["anchor"]].tolist(),
    }
    datasets.Dataset.from_dict(columns).save_to_disk(str(folder))
