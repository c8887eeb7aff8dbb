"""What of a backbone is trained, and at which share of the learning rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from open_clip.hf_model import HFTextEncoder
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn

from fashionclip.errors import InputError
from fashionclip.models.backbone import Backbone, behind_trunk

# In names of open_clip and transformers. Numbers of a block: resblocks.3., layer2.0., layer.5., block.1.
BLOCK = re.compile(r"(?:^|\.)(?:resblocks|layers?|block)\.?(\d+)\.(?:(\d+)\.)?")
HEAD = re.compile(r"(?:proj|text_projection|attnpool)\b")
STEM = re.compile(r"conv\d|bn\d|ln_pre|class_embedding|positional_embedding|token_embedding|cls_emb|.*\bembed")
ADAPTER = ".lora_"  # in peft's names of what it added
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
    beyond = "\0"  # a name that is in no block
    listed: Any = getattr(visual.trunk, "group_matcher", dict)()  # a few towers have none: they are all stem
    depth = group_with_matcher(iter([(name, None) for name in [*trunk, beyond]]), listed, reverse=True)
    last = max(1, depth.pop(beyond))
    behind = {id(weight) for weight in behind_trunk(visual).parameters()}
    added = frozenset(f"visual.{name}" for name, weight in visual.named_parameters() if id(weight) in behind)
    # Where open_clip put a head behind it, that is the tower's, and the rest counts to the last block.
    inner = {f"visual.trunk.{name}": min(number, last - 1) if added else number for name, number in depth.items()}
    return Tower(inner | dict.fromkeys(added, last), last - 1, added)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is trained of a backbone, in place of what its model freezes.

    What open_clip put behind a tower of timm or transformers is trained by every setting, and so is the logit scale.

    Args:
        keep_frozen: Whether what the model freezes stays frozen.
        image_blocks: Number of the image tower's last blocks that are trained, beside its head; None: all of it.
        text_blocks: Number of the text tower's last blocks that are trained, beside its head; None: all of it.
        lock: Tower that stays as it is.
        bias_only: Whether nothing but the biases of the towers is trained.
        lora_rank: Rank of the matrices that are added to those of the blocks and trained in their place; None: none.
        heads_first: Share of the steps in which the heads are trained alone, in [0, 1).
        tower_rate: Factor on the learning rate of all but the heads and the logit scale.
        layer_decay: Factor on the learning rate from each block to the one before it, and from the head to the last.

    Source: Zhai et al. 2022, "LiT: Zero-Shot Transfer with Locked-image text Tuning" (lock); Ben Zaken et al. 2022,
        "BitFit" (bias_only); Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"; Kumar et al. 2022,
        "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution" (heads_first);
        Bao et al. 2022, "BEiT: BERT Pre-Training of Image Transformers", section 3.2 (layer_decay).
    """

    keep_frozen: bool = False
    image_blocks: int | None = None
    text_blocks: int | None = None
    lock: Literal["image", "text"] | None = None
    bias_only: bool = False
    lora_rank: int | None = None
    heads_first: float = 0.0
    tower_rate: float = 1.0
    layer_decay: float = 1.0

    def apply(self, backbone: Backbone) -> dict[str, float]:
        """Freezes what is not trained.

        Returns:
            Factor on the learning rate of each parameter of the towers, by its name in `backbone`.

        Raises:
            InputError: There are fewer blocks, or peft is not installed.
        """
        if self.lora_rank is not None:
            self._add_adapters(backbone, rank=self.lora_rank)
        rates = {}
        for name, tower in towers(backbone).items():
            head = tower.blocks + 1
            for parameter, depth in tower.depth.items():
                adapter = ADAPTER in parameter
                if not self.keep_frozen:
                    of_kind = adapter if self.lora_rank else not self.bias_only or parameter.endswith("bias")
                    trained = parameter in tower.added or (of_kind and depth >= self._first(name, tower))
                    trained = trained and (adapter or parameter in backbone.trainable)
                    backbone.clip.get_parameter(parameter).requires_grad_(trained)
                below = self.tower_rate * self.layer_decay ** (head - depth)
                rates[f"clip.{parameter}"] = below if depth < head else 1.0
        backbone.train(backbone.training)
        return rates

    def _first(self, name: str, tower: Tower) -> int:
        """The depth from which on a tower is trained."""
        blocks = self.image_blocks if name == "image" else self.text_blocks
        if blocks is not None and blocks > tower.blocks:
            raise InputError(
                f"tuning.{name}_blocks={blocks}: the {name} tower has {tower.blocks} blocks. Expected 0 (its head "
                f"alone) to {tower.blocks}, or null for all of the tower."
            )
        beyond = tower.blocks + 2
        return beyond if self.lock == name else 0 if blocks is None else beyond - 1 - blocks

    def _add_adapters(self, backbone: Backbone, *, rank: int) -> None:
        """Adds a matrix of low rank to each that the forward pass of a trained block multiplies with.

        Linear layers that are not called themselves have no use of it: the weight of attention's `out_proj` is read by
        torch's own function. Of attention, peft's layer for it could adapt both, but it rounds the frozen weights anew
        at each step, cannot be filled from a checkpoint after an evaluation, and is not compiled (peft 0.21).
        """
        if find_spec("peft") is None:
            raise InputError("tuning.lora_rank: needs the extra [lora]: pip install 'fashionclip[lora]'.")
        from peft import LoraConfig, inject_adapter_in_model

        called: set[nn.Module] = set()
        hooks = [m.register_forward_pre_hook(lambda m, _: called.add(m)) for m in backbone.clip.modules()]
        training = backbone.training
        backbone.eval()  # so that no batch norm takes these inputs for its statistics
        with torch.no_grad():
            backbone.encode_image(torch.zeros(1, 3, backbone.preprocess.size, backbone.preprocess.size))
            backbone.encode_text(backbone.tokenizer(["a"]))
        backbone.train(training)
        for hook in hooks:
            hook.remove()
        of_text = "text.transformer" if hasattr(backbone.clip, "text") else "transformer"
        for name, tower in towers(backbone).items():
            root = "visual" if name == "image" else of_text
            chosen = {
                parameter.removeprefix(f"{root}.")
                for parameter, depth in tower.depth.items()
                if 1 <= depth <= tower.blocks and depth >= self._first(name, tower)
            }
            modules = dict(backbone.clip.get_submodule(root).named_modules())
            linear = [
                n for n, m in modules.items() if isinstance(m, nn.Linear) and m in called and f"{n}.weight" in chosen
            ]
            whole = [
                f"{n}.in_proj_weight" for n, m in modules.items() if m in called and f"{n}.in_proj_weight" in chosen
            ]
            if linear or whole:
                config = LoraConfig(r=rank, lora_alpha=rank, target_modules=linear, target_parameters=whole)
                inject_adapter_in_model(config, modules[""])


def below_heads(backbone: Backbone) -> list[nn.Parameter]:
    """The parameters of both towers that are trained, but for those of the heads."""
    both = towers(backbone).values()
    below = [name for tower in both for name, depth in tower.depth.items() if depth <= tower.blocks]
    return [weight for name in below if (weight := backbone.clip.get_parameter(name)).requires_grad]


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with those that LoRA added summed up, under the names that they have without it.

    Args:
        state: Weights by name, as a `state_dict` has them, with or without such additions.

    Raises:
        ValueError: An addition does not fit what it is added to.
    """
    plain = {name.replace(".base_layer", ""): weight for name, weight in state.items() if ADAPTER not in name}
    for name, a in state.items():
        adapted, found, rest = name.partition(f"{ADAPTER}A")
        if found:
            module = adapted.replace(".base_layer", "")
            base = f"{module}.weight" if f"{module}.weight" in plain else f"{module}.in_proj_weight"
            try:
                # float64: the same sum on every machine, so that the digest of the weights is the same
                added = state[f"{adapted}{ADAPTER}B{rest}"].cpu().double() @ a.cpu().double()
                plain[base] = (plain[base].cpu() + added).to(plain[base])
            except (KeyError, RuntimeError) as error:
                raise ValueError(f"{name} does not fit what it is added to ({error})") from error
    return plain


def merge_adapters(backbone: Backbone) -> None:
    """Makes a backbone plain that LoRA was added to; its embeddings stay what they are."""
    state = merged(backbone.state_dict())
    for name, module in reversed(list(backbone.named_modules())):  # what is within another first
        if isinstance(base := getattr(module, "base_layer", None), nn.Module):
            above, _, last = name.rpartition(".")
            setattr(backbone.get_submodule(above), last, base)
    backbone.load_state_dict(state)
