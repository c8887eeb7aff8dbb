"""A picture of the photos that a search has found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from fashionclip.errors import InputError
from fashionclip.images import UnreadableImageError, load_image
from fashionclip.retrieval.search.search import Hit

HITS_A_ROW = 5
SIDE = 240  # pixels of a drawn photo's shorter side, at least


def draw_hits(
    picture: Path, hits: Sequence[Hit], photos: Sequence[Path], *, title: str, asked: Image.Image | None = None
) -> None:
    """Draws the photos in rows, each with its score and text below; the photo of the query comes first.

    Args:
        picture: File to write, of a type that matplotlib knows, such as PNG.
        hits: Hits of a search, the best first.
        photos: Files of their photos.
        title: Title of the picture.
        asked: Photo of the query; None: it had none.
    """
    from matplotlib.figure import Figure

    tiles: list[tuple[Path | Image.Image, str]] = [] if asked is None else [(asked, "asked with this photo")]
    tiles += [
        (photo, f"{rank}   {hit.score:.3f}\n{_caption(hit)}")
        for rank, (hit, photo) in enumerate(zip(hits, photos, strict=True), start=1)
    ]
    rows = max(1, -(-len(tiles) // HITS_A_ROW))
    figure = Figure(figsize=(2.2 * HITS_A_ROW, 2.9 * rows + 0.5), layout="constrained")
    figure.suptitle(textwrap.fill(title, 90), fontsize=12, parse_math=False)
    places = figure.subplots(rows, HITS_A_ROW, squeeze=False).flat
    for axes in places:
        axes.axis("off")
    for axes, (photo, caption) in zip(figure.axes, tiles, strict=False):
        try:
            axes.imshow(load_image(photo, at_least=SIDE) if isinstance(photo, Path) else photo)
        except UnreadableImageError:
            axes.text(0.5, 0.5, "photo is gone", ha="center", va="center")
        axes.set_title(caption, y=-0.04, pad=0, va="top", fontsize=8, parse_math=False)
    try:
        figure.savefig(picture, dpi=100)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--grid {picture}: cannot be written ({error}). Give a .png in a folder that exists."
        ) from error


def _caption(hit: Hit) -> str:
    shown = textwrap.shorten(hit.text or hit.image_id, 60, placeholder="…")
    return textwrap.fill(shown, 26)
