"""Search over plain numpy arrays: those of `fashionclip index --npz`, or of anybody else."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.retrieval.encoder import Encoder

if TYPE_CHECKING:
    import pandas as pd

ARRAYS = ("embeddings", "image_names")


def load_embeddings(file: Path | str) -> dict[str, Any]:
    """Reads what `fashionclip index --npz` has written, without pickle.

    Returns:
        `embeddings`, (N, D) float32 of unit norm; `image_names`, (N,) paths of the photos; `dataframe`, a table of N
        rows with `image_id, item_id, text, category` and the attributes.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    import pandas as pd

    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: cannot be read ({error}). Write it by: fashionclip index ... --npz FILE") from None
    if missing := [name for name in ARRAYS if name not in found]:
        raise InputError(f"{file}: lacks the arrays {missing}. Write it by: fashionclip index ... --npz FILE")
    return {**{name: found.pop(name) for name in ARRAYS}, "dataframe": pd.DataFrame(found)}


def search_products(
    query: str | Image.Image,
    *,
    model: Encoder,
    image_embeddings: np.ndarray,
    image_names: np.ndarray,
    dataframe: pd.DataFrame | None = None,
    top_k: int = 5,
) -> pd.DataFrame:
    """The photos nearest to a text or a photo.

    Args:
        query: Text, or upright RGB picture.
        model: Export that the embeddings are of, from `fashionclip.load`.
        image_embeddings: (N, D) embeddings of unit norm.
        image_names: (N,) names of their photos.
        dataframe: Table of N rows, in the same order.
        top_k: Number of photos to return.

    Returns:
        A table of the photos, the best first: `image_name`, `score` (the cosine, in [-1, 1]) and the columns of
        `dataframe`.

    Raises:
        InputError: The arrays differ in their length, or are of another model.
    """
    import pandas as pd

    vector = (model.encode_text([query]) if isinstance(query, str) else model.encode_image([query]))[0]  # (D,)
    table = pd.DataFrame(index=range(len(image_names))) if dataframe is None else dataframe.reset_index(drop=True)
    if not len(image_embeddings) == len(image_names) == len(table):
        raise InputError(
            f"search_products: got {len(image_embeddings)} embeddings, {len(image_names)} names and {len(table)} rows; "
            "expected as many of each, in the same order."
        )
    if image_embeddings.shape[1:] != vector.shape:
        raise InputError(
            f"search_products: embeddings of shape {image_embeddings.shape}, expected (N, {len(vector)}) as of this "
            "model. Give the export that made them."
        )
    scores = image_embeddings @ vector  # (N,)
    best = np.argsort(-scores, kind="stable")[:top_k]
    found = table.iloc[best].reset_index(drop=True)
    found.insert(0, "image_name", np.asarray(image_names)[best])
    found.insert(1, "score", scores[best])
    return found
