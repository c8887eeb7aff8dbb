"""An export at work: texts and photos in, unit-norm embeddings out."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fashionclip.data.transforms import eval_transform
from fashionclip.errors import InputError
from fashionclip.images import load_image, upright_rgb
from fashionclip.models.backbone import Backbone
from fashionclip.models.folder import CONFIG, FACTS, WEIGHTS, run_instead
from fashionclip.models.load import load_backbone

BATCH = 64  # photos or texts that are encoded at once


@dataclass(frozen=True)
class Encoder:
    """The two towers of an export.

    Attributes:
        backbone: Backbone in evaluation mode, on its device.
        digest: SHA-256 of config and weights; only embeddings of the same digest can be compared.
        facts: Content of the export's `fashionclip.json`.
    """

    backbone: Backbone
    digest: str
    facts: dict[str, Any]

    @property
    def decode_size(self) -> int:
        """Number of pixels of a photo's shorter side that are enough when it is decoded."""
        return 2 * self.backbone.preprocess.size

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """(T, D) float32 unit-norm embeddings of any number of texts; longer ones are cut at the context length."""
        return self._in_batches(self.texts, texts)

    def encode_image(self, photos: Sequence[Image.Image | Path | str]) -> np.ndarray:
        """(I, D) float32 unit-norm embeddings of any number of photos: files, or pictures of Pillow of any mode.

        Raises:
            UnreadableImageError: A file cannot be decoded.
        """
        return self._in_batches(lambda some: self.images([self._opened(photo) for photo in some]), photos)

    def _in_batches(self, encode: Callable[[Sequence[Any]], np.ndarray], given: Sequence[Any]) -> np.ndarray:
        if isinstance(given, str | Path | Image.Image):
            raise InputError(f"{given}: is one text or photo. Expected a list of them.")
        parts = [encode(given[start : start + BATCH]) for start in range(0, len(given), BATCH)]
        return np.concatenate([np.empty((0, self.backbone.architecture["embed_dim"]), np.float32), *parts])

    def _opened(self, photo: Image.Image | Path | str) -> Image.Image:
        if isinstance(photo, Image.Image):
            return upright_rgb(photo.copy())
        return load_image(photo, at_least=self.decode_size)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(T, D) float32 unit-norm embeddings; longer texts are cut at the context length."""
        tokens = self.backbone.tokenizer(list(texts))
        return self.backbone.encode_text(tokens.to(self.backbone.mean.device)).float().cpu().numpy()

    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(I, D) float32 unit-norm embeddings of upright RGB pictures, as `load_image` gives them."""
        return self.embed([self.pixels(image) for image in images])

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """The (3, S, S) uint8 input of a picture: the first half of `images`, which many threads can do at once."""
        return eval_transform(self.backbone.preprocess)(image)

    @torch.inference_mode()
    def embed(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        """(I, D) float32 unit-norm embeddings of I inputs from `pixels`: the second half of `images`."""
        batch = torch.stack(list(pixels)).to(self.backbone.mean.device)  # (I, 3, S, S)
        return self.backbone.encode_image(batch).float().cpu().numpy()


def export_digest(folder: Path) -> str:
    """The digest of an export's config and weights, as in `Encoder.digest`; the model is not loaded.

    Raises:
        InputError: The folder holds no export.
    """
    for file in (CONFIG, WEIGHTS, FACTS):
        if not (folder / file).is_file():
            way_on = run_instead(folder) or f"Run: fashionclip export RUN --to {shlex.quote(str(folder))}"
            raise InputError(f"{folder}: no export there (no {file}). {way_on}")
    digest = hashlib.sha256()
    for file in (CONFIG, WEIGHTS):
        with (folder / file).open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load_encoder(folder: Path | str, *, device: str = "cpu", digest: str | None = None) -> Encoder:
    """Loads an export.

    Args:
        folder: Folder of the export.
        device: Device to encode on.
        digest: Digest of the export, where it is known already; None: it is computed.

    Raises:
        InputError: The folder holds no export, or one that cannot be read.
    """
    folder = Path(folder)
    digest = digest or export_digest(folder)
    backbone = load_backbone(name=f"local-dir:{folder}").eval().to(device)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / FACTS}: cannot be read ({error}). Export the run again.") from error
    return Encoder(backbone=backbone, digest=digest, facts=facts)
