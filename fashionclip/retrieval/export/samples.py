"""Photos and texts by which an export is checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from fashionclip.data.transforms import eval_transform
from fashionclip.drawing.catalog import draw_items, draw_shot
from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.manifest import PreparedDataset
from fashionclip.models.backbone import Backbone

COUNT = 32  # photos, and as many texts; ViT-L/14 takes about a second a photo on 2 cores
GROUP = 16  # photos and texts embedded at a time
# Texts that tokenizers treat differently: empty, too long, in other scripts, with markup and spaces.
AWKWARD = (
    "",
    "a very long description " * 40,
    "Kleid für Damen, größe 38 👗",
    "Levi's &amp; café <b>red</b>  \t top, 100% 棉",
)

Embeddings = dict[str, np.ndarray]  # "image" and "text" -> (N, D)


@dataclass(frozen=True)
class Samples:
    """Photos and texts whose embeddings are compared.

    Attributes:
        photos: Upright RGB pictures.
        texts: Texts, some of them awkward.
        source: Name of where both come from, for the model card.
    """

    photos: Sequence[Image.Image]
    texts: Sequence[str]
    source: str


def drawn_samples(*, count: int = COUNT) -> Samples:
    """Drawn garments and their names, for when no dataset is at hand."""
    items = draw_items(count=count, seed=0)
    photos = [draw_shot(item, shot=place % 2, seed=0) for place, item in enumerate(items)]
    return Samples(photos=photos, texts=[*(item.name for item in items), *AWKWARD], source="drawn garments")


def samples_of(dataset: PreparedDataset, *, decode_size: int, count: int = COUNT) -> Samples:
    """Photos and texts spread over the test split of a prepared dataset, or over all of it where that is empty.

    Args:
        dataset: Prepared dataset, as read from disk.
        decode_size: Number of pixels of a photo's shorter side that are enough.
        count: Largest number of photos, and of texts.

    Raises:
        InputError: None of the photos tried can be read.
    """
    files, texts, source = chosen_of(dataset, count=count)
    photos: list[Image.Image] = []
    errors: list[InputError] = []
    for file in files:
        try:
            photos.append(load_image(file, at_least=decode_size))
        except InputError as error:
            errors.append(error)
    if not photos:
        raise errors[0]
    return Samples(photos=photos, texts=texts, source=source)


def chosen_of(dataset: PreparedDataset, *, count: int) -> tuple[list[Path], list[str], str]:
    """The photos and texts of a dataset that serve as samples.

    Returns:
        Files spread over the test split, or over all photos where that is empty; texts chosen likewise, with the
        awkward ones; and the name of where they come from.
    """
    test = dataset.manifest[dataset.manifest["split"] == "test"]
    rows = dataset.manifest if test.empty else test
    files = [dataset.root / path for path in _spread(rows["path"], count)]
    texts = _spread(rows.loc[rows["text"] != "", "text"].drop_duplicates(), count)
    part = "" if test.empty else "the test split of "
    return files, [*texts, *AWKWARD], f"{part}{dataset.info['config'].get('name', dataset.root.name)}"


@torch.inference_mode()
def embed(backbone: Backbone, samples: Samples) -> Embeddings:
    """Embeds samples as training and search do, with a backbone in evaluation mode."""
    transform, device = eval_transform(backbone.preprocess), backbone.mean.device
    pixels = torch.stack([transform(photo) for photo in samples.photos])  # (P, 3, S, S)
    tokens = backbone.tokenizer(list(samples.texts))
    return {
        "image": in_groups(backbone.encode_image, pixels.to(device), size=GROUP),
        "text": in_groups(backbone.encode_text, tokens.to(device), size=GROUP),
    }


def lowest_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest cosine between rows of two (N, D) arrays; nan where one of them holds nan.

    >>> lowest_cosine(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    1.0
    """
    if one.shape != other.shape:
        return float("nan")
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


def in_groups(encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, *, size: int) -> np.ndarray:
    """The (N, D) outputs of an encoder that is given at most `size` inputs at a time."""
    return torch.cat([encode(group) for group in inputs.split(size)]).float().cpu().numpy()


def _spread(column: pd.Series, count: int) -> list[str]:
    places = np.unique(np.linspace(0, len(column) - 1, min(count, len(column))).astype(int))
    return column.iloc[places].tolist()
