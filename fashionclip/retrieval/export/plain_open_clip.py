"""An export as any user of open_clip loads it, without code of ours."""

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
    """A model as open_clip loads it from a folder.

    Attributes:
        model: open_clip's model, in evaluation mode.
        transform: Function that turns an RGB picture into (3, S, S) normalised floats.
        tokenizer: Function that turns texts into (T, L) token ids.
    """

    model: Any  # open_clip is not typed
    transform: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]

    def pixels(self, photos: Sequence[Image.Image]) -> Tensor:
        """The (P, 3, S, S) inputs of P photos."""
        return torch.stack([self.transform(photo) for photo in photos])

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """The (T, L) token ids of T texts, where L is the context length."""
        return self.tokenizer(list(texts))

    def images(self, pixels: Tensor) -> Tensor:
        """(P, D) unit-norm embeddings of (P, 3, S, S) inputs."""
        return self.model.encode_image(pixels, normalize=True)

    def texts(self, tokens: Tensor) -> Tensor:
        """(T, D) unit-norm embeddings of (T, L) token ids."""
        return self.model.encode_text(tokens, normalize=True)


def load_plain(folder: Path) -> PlainOpenClip:
    """Loads a folder with open_clip alone. A text tower of transformers comes from the folder, not from the hub.

    Raises:
        InputError: `check_folder` refuses the folder.
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
