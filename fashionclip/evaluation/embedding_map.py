"""A map of photos in two dimensions: those that a model takes for alike lie side by side."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fashionclip.atomic import whole_file
from fashionclip.images import UnreadableImageError, load_image
from fashionclip.manifest import PreparedDataset

MOST = 2000  # photos
SEED = 0
FEWEST = 5  # photos of a t-SNE
SAME = 1e-4  # extent of embeddings that are all the same, as of a collapsed model
COLOURS = 20  # values of an attribute that have a colour of their own
FREQUENT, LEAST = 0.01, 5  # share and number of the photos that such a value has at least
SIDE, WIDTH, HEIGHT = 44, 1600, 1000  # pixels: of a thumbnail, and of the picture of all
NOT_ATTRIBUTES = {"path", "split", "text", "photo_hash"}  # nor are ids


@dataclass(frozen=True)
class EmbeddingMap:
    """Photos on a map.

    Attributes:
        row: (N,) rows of the manifest, ascending.
        point: (N, 2) points in [0, 1].
        method: Name of the method, such as "t-SNE".
    """

    row: Tensor
    point: np.ndarray
    method: str


def embedding_map(row: Tensor, image: Tensor, *, most: int = MOST, seed: int = SEED) -> EmbeddingMap:
    """Lays out photos by their embeddings, with t-SNE, or PCA where scikit-learn is missing or photos are few.

    Args:
        row: (I,) rows of the manifest.
        image: (I, D) embeddings of their photos, of unit norm.
        most: Number of photos on the map, drawn where there are more.
        seed: Seed of the draw.

    Source: van der Maaten & Hinton 2008, "Visualizing Data using t-SNE"; by scikit-learn.
    """
    drawn = torch.randperm(len(row), generator=torch.Generator().manual_seed(seed))[:most].sort().values.to(row.device)
    embedded = image[drawn].float().cpu()
    centred = embedded - embedded.mean(0)
    left, size, _ = torch.linalg.svd(centred, full_matrices=False)
    along = left[:, :50] * size[:50]  # (N, <= 50), all that matters, and faster than D
    along = along * along.gather(0, along.abs().argmax(0, keepdim=True)).sign()  # of either sign, take one
    point, method = torch.nn.functional.pad(along[:, :2], (0, max(0, 2 - along.shape[1]))).numpy(), "PCA"
    if find_spec("sklearn") is None:
        method = "PCA, for want of scikit-learn (pip install scikit-learn)"
    elif len(drawn) >= FEWEST and np.ptp(point) > SAME:
        from sklearn.manifold import TSNE

        begin = 1e-4 * point / point[:, 0].std()
        perplexity = min(30, (len(drawn) - 1) / 3)
        fitted = TSNE(perplexity=perplexity, init=begin, random_state=seed, max_iter=500, n_jobs=1)
        point, method = fitted.fit_transform(along.numpy()), "t-SNE"
    low, high = point.min(0), point.max(0)
    return EmbeddingMap(row[drawn].cpu(), (point - low) / np.maximum(high - low, SAME), method)


def draw_maps(folder: Path, found: EmbeddingMap, dataset: PreparedDataset) -> dict[str, Path]:
    """Writes `embedding_map.parquet`, and the map with colours, one picture an attribute, and with thumbnails.

    `embedding_map.png` is of category; those of further attributes, `embedding_map_<attribute>.png`.

    Args:
        folder: Folder of the files.
        found: Photos on the map.
        dataset: Dataset of the photos.

    Returns:
        Pictures by what they show.
    """
    shown = dataset.manifest.iloc[found.row.tolist()].reset_index(drop=True)
    with whole_file(folder / "embedding_map.parquet") as file:
        where = pd.DataFrame(found.point, columns=["x", "y"])
        pd.concat([shown[["image_id", "path"]], where], axis=1).to_parquet(file, index=False)
    says = f"{found.method} of {len(shown)} photos"
    everything = folder / "embedding_map_photos.png"
    placed = _draw_thumbnails(everything, found.point, dataset.root, shown["path"].tolist())
    pictures = {f"{says}, of which {placed} have room for their picture": everything}
    for attribute, values in _coloured(shown):
        file_name = "embedding_map.png" if attribute == "category" else f"embedding_map_{attribute}.png"
        _draw_colours(folder / file_name, found.point, values, title=f"{says}, by {attribute.replace('_', ' ')}")
        pictures[f"{says}, coloured by {attribute.replace('_', ' ')}"] = folder / file_name
    return pictures


def _coloured(shown: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Attributes that are worth a picture, category always, and their values, "" for what is grey."""
    for name in ["category", *sorted({*shown} - NOT_ATTRIBUTES - {"category"})]:
        if name.endswith("_id"):
            continue
        values = shown[name].fillna("").astype(str).to_numpy(dtype=object)
        counts = Counter(value for value in values if value)
        frequent = [
            value for value, count in counts.most_common(COLOURS) if count >= max(LEAST, FREQUENT * len(values))
        ]
        covers = sum(counts[value] for value in frequent) >= len(values) / 2
        if name == "category" or (len(frequent) > 1 and covers):
            yield name, np.array([value if value in frequent else "" for value in values], dtype=object)


def _draw_colours(picture: Path, point: np.ndarray, values: np.ndarray, *, title: str) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots()
    others = point[values == ""]
    axes.scatter(others[:, 0], others[:, 1], s=9, color="#d0d0d0", label="others" if len(others) else None)
    palette = list(colormaps["tab20"].colors)  # type: ignore[attr-defined]
    palette[14:16] = "black", "#004d40"  # in the place of greys, which are of others
    counts = Counter(value for value in values if value)
    for colour, (value, count) in zip(palette[::2] + palette[1::2], counts.most_common(), strict=False):
        across, up = point[values == value].T
        label = f"{value[:40]} ({count})".replace("$", r"\$")
        axes.scatter(across, up, s=12, color=colour, label=label)
    axes.set(title=title, xticks=[], yticks=[], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, markerscale=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # scripts that its font lacks
        figure.savefig(picture, dpi=100)


def _draw_thumbnails(picture: Path, point: np.ndarray, root: Path, paths: list[str]) -> int:
    """Draws photos at their points, the first ones that do not cover another; returns how many."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    corner = (point * [1, -1] + [0, 1]) * [WIDTH - SIDE, HEIGHT - SIDE]  # (N, 2), y upwards
    placed = np.empty((0, 2))
    for (left, upper), path in zip(corner, paths, strict=True):
        if (np.abs(placed - [left, upper]).max(axis=1) < SIDE).any():
            continue
        try:
            photo = load_image(root / path, at_least=SIDE)
        except UnreadableImageError:
            continue
        sheet.paste(ImageOps.pad(photo, (SIDE, SIDE), color="white"), (int(left), int(upper)))
        placed = np.vstack([placed, [left, upper]])
    with whole_file(picture) as file:
        sheet.save(file, "PNG")
    return len(placed)
