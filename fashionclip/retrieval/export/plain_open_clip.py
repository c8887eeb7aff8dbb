"""An export as any user of open_clip loads it: nothing of ours takes part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from fashionclip.models.folder import check_folder, local_text_tower


@dataclass(frozen=True)
class PlainOpenClip:
    """What open_clip makes of a folder.

    Attributes:
        model: open_clip's model, in evaluation mode.
        transform: Function of an RGB picture to (3, S, S) normalised floats.
        tokenizer: Function of texts to (T, L) token ids.
    """

    model: Any  # open_clip is not typed
    transform: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]

    def pixels(self, photos: Sequence[Image.Image]) -> Tensor:
        """(P, 3, S, S) normalised floats."""
        return torch.stack([self.transform(photo) for photo in photos])

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """(T, L) token ids, L the context length."""
        return self.tokenizer(list(texts))

    def images(self, pixels: Tensor) -> Tensor:
        """(P, 3, S, S) to (P, D) unit-norm embeddings."""
        return self.model.encode_image(pixels, normalize=True)

    def texts(self, tokens: Tensor) -> Tensor:
        """(T, L) to (T, D) unit-norm embeddings."""
        return self.model.encode_text(tokens, normalize=True)


def load_plain(folder: Path) -> PlainOpenClip:
    """Loads a folder with open_clip alone; a text tower of transformers, of which open_clip would ask the hub, from it.

    Raises:
        InputError: It leads elsewhere, see `check_folder`.
    """
    check_folder(folder)
    name = f"local-dir:{folder}"
    logging.disable(logging.WARNING)
    try:
        tower = local_text_tower(open_clip.get_model_config(name), folder, load_weights=False)
        model, _, transform = open_clip.create_model_and_transforms(name, **tower)
        tokenizer = open_clip.get_tokenizer(name)
    finally:
        logging.disable(logging.NOTSET)
    return PlainOpenClip(model=model.eval(), transform=transform, tokenizer=tokenizer)
