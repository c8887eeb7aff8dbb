"""From a photo to the backbone's input size, with and without augmentation. Scaling to mean and std comes later,
on the backbone's device, so that a worker hands over bytes and not floats four times their size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import v2

from fashionclip.images import Preprocess, without_ends

Transform = Callable[[Image.Image], torch.Tensor]


class _EvalTransform(v2.Compose):
    """Names all of the preprocessing in its `repr`, which tells feature caches apart; that of the steps lacks some."""

    def __init__(self, preprocess: Preprocess) -> None:
        steps = image_transform_v2(PreprocessCfg(**asdict(preprocess)), is_train=False).transforms
        super().__init__([*steps[:-2], v2.PILToTensor()])  # the last two are ToTensor and Normalize
        self.preprocess = preprocess

    def forward(self, image: Image.Image) -> torch.Tensor:
        return super().forward(without_ends(image))

    def extra_repr(self) -> str:
        return repr(self.preprocess)


def eval_transform(preprocess: Preprocess) -> Transform:
    """RGB picture to (3, S, S) uint8, by open_clip's own resizing and cropping."""
    return _EvalTransform(preprocess)


def train_transform(
    preprocess: Preprocess,
    *,
    crop_scale: Sequence[float] | None = None,
    flip: float = 0.0,
    color_jitter: Sequence[float] | None = None,
    rotation: float = 0.0,
) -> Transform:
    """RGB picture to (3, S, S) uint8, randomly changed.

    Args:
        preprocess: Preprocessing of the backbone.
        crop_scale: Smallest and largest share of the photo's area that a random crop keeps; None keeps it whole.
        flip: Probability of a horizontal flip.
        color_jitter: Strength of brightness, contrast, saturation (each a share) and hue (share of the circle, to .5).
        rotation: Largest angle, in degrees, to either side; corners are filled with white.
    """
    steps: list[Callable] = []
    if rotation:
        steps.append(v2.RandomRotation(rotation, interpolation=v2.InterpolationMode.BILINEAR, fill=255))
    if crop_scale:
        steps.append(
            v2.RandomResizedCrop(preprocess.size, scale=tuple(crop_scale), interpolation=v2.InterpolationMode.BICUBIC)
        )
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if color_jitter:
        steps.append(v2.ColorJitter(*color_jitter))
    return v2.Compose([*steps, eval_transform(preprocess)])
