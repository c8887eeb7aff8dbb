"""What of a backbone is trained, and at which share of the learning rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from open_clip.hf_model import HFTextEncoder
from timm.models._manipulate import group_with_matcher

from fashionclip.errors import InputError
from fashionclip.models.backbone import Backbone

# In names of open_clip and transformers. Numbers of a block: resblocks.3., layer2.0., layer.5., block.1.
BLOCK = re.compile(r"(?:^|\.)(?:resblocks|layers?|block)\.?(\d+)\.(?:(\d+)\.)?")
HEAD = re.compile(r"(?:proj|text_projection|attnpool)\b")
STEM = re.compile(r"conv\d|bn\d|ln_pre|class_embedding|positional_embedding|token_embedding|cls_emb|.*\bembed")
SCALES = ("logit_scale", "logit_bias")


@dataclass(frozen=True)
class Tower:
    """The parameters of a tower by their depth.

    Args:
        depth: Depth of each parameter by its name in the model: 0 before the first block, then the number of the block,
            from 1 (norms behind the last one count to it), and one more in the head that projects to the embedding.
        blocks: Number of blocks.
        added: Names of the parameters that open_clip put behind a tower of timm or transformers.
    """

    depth: Mapping[str, int]
    blocks: int
    added: frozenset[str]


def towers(backbone: Backbone) -> dict[str, Tower]:
    """The towers `image` and `text` of a backbone; the logit scale and bias are in neither."""
    clip = backbone.clip
    names = [name for name, _ in clip.named_parameters() if name not in SCALES and not name.startswith("text_decoder.")]
    image = [name for name in names if name.startswith("visual.")]
    text = [name for name in names if not name.startswith("visual.")]
    hf = isinstance(getattr(clip, "text", None), HFTextEncoder)
    return {
        "image": _of_timm(clip.visual, image) if hasattr(clip.visual, "trunk") else _tower(image, prefix="visual."),
        "text": _tower(text, prefix="text." if hasattr(clip, "text") else "", added="text.proj." if hf else None),
    }


def _tower(names: list[str], *, prefix: str, added: str | None = None) -> Tower:
    blocks = {name: match.groups("0") for name in names if (match := BLOCK.search(name))}
    order = sorted(set(blocks.values()), key=lambda numbers: [int(number) for number in numbers])
    depth = {}
    for name in names:
        own = name.removeprefix(prefix)
        if name in blocks:
            depth[name] = 1 + order.index(blocks[name])
        else:
            depth[name] = len(order) + 1 if HEAD.match(own) else 0 if STEM.match(own) else len(order)
    return Tower(depth, len(order), frozenset(name for name in names if added and name.startswith(added)))


def _of_timm(visual: Any, names: list[str]) -> Tower:
    """By timm's own list of what lies how deep, whose last entry is all behind the blocks, such as a head."""
    trunk = [name.removeprefix("visual.trunk.") for name in names if name.startswith("visual.trunk.")]
    behind = "\0"  # a name that is in no block
    listed: Any = getattr(visual.trunk, "group_matcher", dict)()  # a few towers have none: they are all stem
    depth = group_with_matcher(iter([(name, None) for name in [*trunk, behind]]), listed, reverse=True)
    last = max(1, depth.pop(behind))
    added = frozenset(name for name in names if name.startswith("visual.head."))
    # Where open_clip put a head behind it, that is the tower's, and the rest counts to the last block.
    inner = {f"visual.trunk.{name}": min(number, last - 1) if added else number for name, number in depth.items()}
    return Tower(inner | dict.fromkeys(added, last), last - 1, added)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is trained of a backbone, in place of what its model freezes.

    Args:
        keep_frozen: Whether what the model freezes stays frozen.
        image_blocks: Number of the image tower's last blocks that are trained, beside its head; None: all of it.
        text_blocks: Number of the text tower's last blocks that are trained, beside its head; None: all of it.
        lock: Tower that stays as it is; what open_clip put behind a tower of timm or transformers is trained.
        tower_rate: Factor on the learning rate of all but the heads and the logit scale.
        layer_decay: Factor on the learning rate from each block to the one before it, and from the head to the last.

    Source: the lock of Zhai et al. 2022, "LiT: Zero-Shot Transfer with Locked-image text Tuning"; rates by depth of
        Bao et al. 2022, "BEiT: BERT Pre-Training of Image Transformers", section 3.2.
    """

    keep_frozen: bool = False
    image_blocks: int | None = None
    text_blocks: int | None = None
    lock: Literal["image", "text"] | None = None
    tower_rate: float = 1.0
    layer_decay: float = 1.0

    def apply(self, backbone: Backbone) -> dict[str, float]:
        """Freezes what is not trained.

        Returns:
            Factor on the learning rate of each parameter of the towers, by its name in `backbone`.

        Raises:
            InputError: There are fewer blocks.
        """
        rates = {}
        for name, tower in towers(backbone).items():
            blocks = self.image_blocks if name == "image" else self.text_blocks
            if blocks is not None and blocks > tower.blocks:
                raise InputError(
                    f"tuning.{name}_blocks={blocks}: the {name} tower has {tower.blocks} blocks. Expected 0 (its head "
                    f"alone) to {tower.blocks}, or null for all of the tower."
                )
            head = tower.blocks + 1
            first = 0 if blocks is None else head - blocks
            for parameter, depth in tower.depth.items():
                trained = parameter in tower.added if self.lock == name else depth >= first
                if not self.keep_frozen:
                    backbone.clip.get_parameter(parameter).requires_grad_(trained and parameter in backbone.trainable)
                below = self.tower_rate * self.layer_decay ** (head - depth)
                rates[f"clip.{parameter}"] = below if depth < head else 1.0
        backbone.train(backbone.training)
        return rates
