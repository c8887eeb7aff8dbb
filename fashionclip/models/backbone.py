"""An open_clip model as fashionclip uses it: unit-norm embeddings of photos and texts, and how to prepare both."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import PatchDropout, text_global_pool
from timm.layers import PatchDropout as TimmPatchDropout
from torch import Tensor, nn

from fashionclip.errors import InputError
from fashionclip.images import Preprocess
from fashionclip.models.folder import CONFIG

COMPILED = "_orig_mod."  # what torch.compile puts before the names of what it has compiled
GROUP = 64  # texts encoded at a time on a CPU
# Photos encoded at a time on a CPU, where nothing is trained. Their activations stay in the cache: Lite0 encodes 55
# photos/s on 2 cores, and 15 photos/s with 64 at a time.
PHOTOS = 16
MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5
SIGMOID_SCALE = 10.0  # on the cosine, where the sigmoid form begins


class Tokenizer:
    """Texts to token ids, cut at the longest text of the call where that changes nothing.

    In a causal text tower no position sees a later one, and towers of transformers mask the padding, so what follows
    the end-of-text token is wasted work: product names have about 9 tokens of 77. Elsewhere (SigLIP) the padding
    counts, and is kept.

    Args:
        tokenize: open_clip's tokenizer.
        padding: Id of the tokens behind a text, where they change nothing; None where they do.
    """

    def __init__(self, tokenize: Callable[[list[str]], Tensor], *, padding: int | None) -> None:
        self.tokenize = tokenize
        self.padding = padding

    def __call__(self, texts: list[str]) -> Tensor:
        """(T, L) token ids of T texts; longer texts are truncated to the context length, as open_clip does."""
        tokens = self.tokenize(texts)
        if self.padding is not None:
            tokens = tokens[:, : int(_lengths(tokens, self.padding).max())]  # (T, L)
        return tokens


class Backbone(nn.Module):
    """Two towers, their learned logit scale, and the preprocessing and tokenizer that belong to them.

    Args:
        clip: Model of open_clip, a `CLIP` or `CustomTextCLIP`.
        preprocess: Size, mean and so on of the pixels that the image tower wants.
        tokenize: Tokenizer that open_clip has for the model.
        architecture: Config of the model, as open_clip's own files have it.
        frozen: Names of modules of `clip` that are not trained, such as "visual.trunk".

    Attributes:
        trainable: Names of the parameters of `clip` that could be trained, frozen or not.
    """

    mean: Tensor
    std: Tensor
    clip: Any  # open_clip is not typed

    def __init__(
        self,
        clip: nn.Module,
        *,
        preprocess: Preprocess,
        tokenize: Callable[[list[str]], Tensor],
        architecture: Mapping[str, Any],
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.clip = clip
        self.preprocess = preprocess
        self.architecture = dict(architecture)
        self.layout = _layout(self.clip.visual)
        self.clip.visual.to(memory_format=self.layout)
        self.tokenizer = Tokenizer(tokenize, padding=_padding(self._text))
        self.register_buffer("mean", torch.tensor(preprocess.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std)[:, None, None], persistent=False)
        names = dict(clip.named_modules())
        if unknown := [name for name in frozen if name not in names]:
            tops = sorted({name for name in names if name and name.count(".") < 2})
            raise InputError(f"model.backbone.freeze: no module {unknown}; has {tops} and what is below them.")
        if hasattr(clip, "text_decoder"):  # CoCa's, which writes captions and has no part in any loss here
            clip.text_decoder.requires_grad_(False)
        self.trainable = frozenset(name for name, weight in clip.named_parameters() if weight.requires_grad)
        for name in frozen:
            names[name].requires_grad_(False)
        self.train(self.training)

    @property
    def _text(self) -> Any:
        return self.clip.text if hasattr(self.clip, "text") else self.clip

    def train(self, mode: bool = True) -> Backbone:
        """As usual, but frozen modules stay in evaluation mode, so that batch norms keep their statistics."""
        super().train(mode)
        for module in self.clip.modules():
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()
        return self

    @property
    def logit_scale(self) -> nn.Parameter:
        """Natural logarithm of the factor on the cosine."""
        return self.clip.logit_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """What the sigmoid form adds to the scaled cosine; None where the model has none."""
        return self.clip.logit_bias

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 pixels, or (B, F) features from `frozen_image_part`, to (B, D) unit-norm embeddings."""
        if images.ndim == 2:
            embedding = behind_trunk(self.clip.visual)(images) if self._frozen_trunk() else images
        else:
            embedding = self.run(self.clip.visual, images)
        return F.normalize(embedding, dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(B, L) token ids, L up to the context length, or (B, F) features from `frozen_text_part`, to (B, D).

        The embeddings are of unit norm.
        """
        if tokens.is_floating_point():
            return F.normalize(tokens if not isinstance(self._text, HFTextEncoder) else self._text.proj(tokens), dim=-1)
        if self.tokenizer.padding is None:
            return F.normalize(self.clip.encode_text(tokens), dim=-1)
        if tokens.device.type != "cpu" or len(tokens) <= GROUP:
            return self._encode_cut(tokens)
        # Groups of like length, each cut at its own longest: on 256 product names 1.6 times as fast as all at once.
        lengths = _lengths(tokens, self.tokenizer.padding)
        order = lengths.argsort()
        groups = [self._encode_cut(tokens[group, : int(lengths[group].max())]) for group in order.split(GROUP)]
        return torch.cat(groups)[order.argsort()]

    def _encode_cut(self, tokens: Tensor) -> Tensor:
        """Runs a text tower whose padding says nothing as open_clip does, for any length up to the context length."""
        if isinstance(self._text, HFTextEncoder):
            return F.normalize(self._text(tokens), dim=-1)
        text, length = self._text, tokens.shape[1]
        dtype = text.transformer.get_cast_dtype()
        x = text.token_embedding(tokens).to(dtype) + text.positional_embedding[:length].to(dtype)  # (B, L, W)
        x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
        x = text.ln_final(x)
        pool = getattr(text, "pool_type", None) or text.text_pool_type
        eos = text.eos_id if hasattr(text, "eos_id") else getattr(text, "text_eos_id", None)
        x = text_global_pool(x, tokens, pool, eos_token_id=eos)  # (B, W)
        if text.text_projection is not None:
            linear = isinstance(text.text_projection, nn.Linear)
            x = text.text_projection(x) if linear else x @ text.text_projection
        return F.normalize(x, dim=-1)

    def run(self, part: Callable[[Tensor], Any], images: Tensor) -> Tensor:
        """The output of the image tower or a part of it, of (B, 3, S, S) uint8 pixels."""
        if images.device.type == "cpu" and len(images) > PHOTOS and not torch.is_grad_enabled():
            return torch.cat([self.run(part, some) for some in images.split(PHOTOS)])
        features = part(self.normalize(images).contiguous(memory_format=self.layout))
        return features[0] if isinstance(features, tuple) else features  # CoCa's tower gives its tokens as well

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 pixels to the float range that the image tower was trained with."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std

    def frozen_image_part(self) -> nn.Module | None:
        """The part of the image tower whose output never changes in training, from uint8 pixels to (B, F) features.

        It need run only once a photo. None where the tower is trained from its first layer.
        """
        visual = self.clip.visual
        if self._frozen_trunk():
            return _FrozenTrunk(self, visual.trunk)
        return _Frozen(self, visual) if not any(p.requires_grad for p in visual.parameters()) else None

    def frozen_text_part(self) -> nn.Module | None:
        """The part of the text tower whose output never changes in training, from (B, L) token ids to (B, F) features.

        It need run only once a text. None where the tower is trained from its first layer.
        """
        text = self._text
        if isinstance(text, HFTextEncoder) and not any(p.requires_grad for p in text.transformer.parameters()):
            return _FrozenText(self)
        return None

    def _frozen_trunk(self) -> bool:
        """timm towers are a trunk and a small trained head."""
        visual = self.clip.visual
        if not hasattr(visual, "trunk") or not hasattr(visual, "head"):
            return False
        head = {id(weight): weight.requires_grad for weight in behind_trunk(visual).parameters()}
        return any(head.values()) and not any(w.requires_grad for w in visual.trunk.parameters() if id(w) not in head)

    def freeze_text(self) -> None:
        """Leaves the text tower, logit scale and bias untrained, for a loss among photos."""
        image = {id(parameter) for parameter in self.clip.visual.parameters()}
        for parameter in self.clip.parameters():
            if id(parameter) not in image:
                parameter.requires_grad_(False)

    @torch.no_grad()
    def set_temperature(self, temperature: float) -> None:
        """Starts the logit scale at 1 / temperature."""
        self.logit_scale.fill_(math.log(1 / temperature))

    def add_logit_bias(self, value: float = -10.0) -> None:
        """Gives a model without one a logit bias, for the sigmoid form, and with it the scale to begin with.

        Under the scale of 100 that CLIP's weights come with, a bias of -10 begins with a loss of 1,277 in place of 7.

        Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", section 3.2.
        """
        if self.clip.logit_bias is None:
            self.clip.logit_bias = nn.Parameter(torch.full_like(self.logit_scale, value))
            self.set_temperature(1 / SIGMOID_SCALE)

    def files(self) -> dict[str, bytes]:
        """What makes the model beside its weights, as the files that open_clip reads from a folder.

        Returns:
            By name: architecture and preprocessing, and the tokenizer's files where it is not open_clip's own.
        """
        bias = {} if self.logit_bias is None else {"init_logit_bias": self.logit_bias.item()}
        config = {"model_cfg": self.architecture | bias, "preprocess_cfg": asdict(self.preprocess)}
        with TemporaryDirectory() as folder:
            if isinstance(self._text, HFTextEncoder):
                self._text.config.save_pretrained(folder)
            if (save := getattr(self.tokenizer.tokenize, "save_pretrained", None)) is not None:
                save(folder)
            files = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
        return {CONFIG: f"{json.dumps(config, indent=2)}\n".encode(), **files}

    def compile_towers(self) -> None:
        """Lets torch.compile rewrite both towers when they first run; weights keep their names."""
        self.clip.visual.compile()
        getattr(self._text, "transformer", self._text).compile()

    def checkpoint_towers(self) -> None:
        """Keeps what blocks compute only at their borders; the backward pass computes the rest again.

        Gradients stay the same, but batch norms count each batch twice in their statistics.

        Raises:
            InputError: The image tower cannot do it.
        """
        visual, text = self.clip.visual, self._text.transformer
        try:
            if hasattr(visual, "trunk"):
                visual.trunk.set_grad_checkpointing(True)
            else:
                visual.transformer.grad_checkpointing = True
        except (AttributeError, AssertionError) as error:
            raise InputError(
                "model.grad_checkpointing=true: this image tower has no blocks for it. Leave it out."
            ) from error
        if isinstance(self._text, HFTextEncoder):
            enable = getattr(text, "activation_checkpointing_enable", text.gradient_checkpointing_enable)
            text.config.use_cache = False  # of what was decoded before, which it would warn of
            enable({"use_reentrant": False})  # else blocks above frozen ones get no gradient
        else:
            text.grad_checkpointing = True

    def drop_patches(self, share: float) -> None:
        """Leaves out a share of each photo's patches in training, drawn anew each time.

        Raises:
            InputError: The image tower has no patches that can be left out.

        Source: Li et al. 2023, "Scaling Language-Image Pre-training via Masking".
        """
        visual = self.clip.visual
        trunk: Any = getattr(visual, "trunk", None)
        if hasattr(visual, "patch_dropout"):
            visual.patch_dropout = PatchDropout(share)
        elif isinstance(getattr(trunk, "patch_drop", None), nn.Identity):
            trunk.patch_drop = TimmPatchDropout(share, num_prefix_tokens=trunk.num_prefix_tokens)
        else:
            raise InputError(
                f"model.patch_dropout={share}: this image tower has no patches to leave out. Expected 0.0."
            )
        self.train(self.training)

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keeps a trained logit scale within [0, log 100]; to be called after each optimizer step."""
        if self.logit_scale.requires_grad:
            self.logit_scale.clamp_(0, MAX_LOGIT_SCALE)


class _FrozenText(nn.Module):
    """The frozen transformer of a text tower, and its pooling.

    Args:
        backbone: Backbone whose text tower is of transformers.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.part, self.pooler = backbone._text.transformer, backbone._text.pooler
        self.padding = backbone._text.config.pad_token_id

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens != self.padding).long()
        return self.pooler(self.part(input_ids=tokens, attention_mask=mask), mask)


class _Frozen(nn.Module):
    def __init__(self, backbone: Backbone, part: nn.Module) -> None:
        super().__init__()
        self.run = backbone.run
        self.part = part

    def forward(self, images: Tensor) -> Tensor:
        return self.run(self.part, images)


class _FrozenTrunk(_Frozen):
    def forward(self, images: Tensor) -> Tensor:
        trunk: Any = self.part
        return self.run(lambda pixels: trunk.forward_head(trunk.forward_features(pixels), pre_logits=True), images)


def behind_trunk(visual: Any) -> nn.Module:
    """What is behind the features of a timm tower: what timm has in the place of its classifier, open_clip's head."""
    return nn.Sequential(visual.trunk.get_classifier(), visual.head)


def _layout(visual: nn.Module) -> torch.memory_format:
    """Channels last: on 2 CPU cores EfficientNet-Lite0 trains on 14 photos/s instead of 9 at batch 60.

    But not with a strided 1 x 1 convolution over fewer than 16 channels, such as in MobileCLIP's stem: in that layout
    its backward pass on a CPU writes past its memory and ends the process (torch 2.14.1, oneDNN).
    """
    crashes = any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and max(m.stride) > 1 and m.in_channels < 16
        for m in visual.modules()
    )
    return torch.contiguous_format if crashes else torch.channels_last


def _lengths(tokens: Tensor, padding: int) -> Tensor:
    """(T,) how many of the (T, L) token ids come before the padding, whose id may be among them: "!" in "!/"."""
    return ((tokens != padding) * torch.arange(1, tokens.shape[1] + 1, device=tokens.device)).amax(dim=1)


def _padding(text: nn.Module) -> int | None:
    """The id of tokens behind a text that change nothing; None where they do.

    They change nothing in a tower of transformers, which masks them, and in open_clip's own where it is causal and
    pooled at the end-of-text token.
    """
    if isinstance(text, HFTextEncoder):
        return text.config.pad_token_id
    causal = getattr(text, "attn_mask", None) is not None and hasattr(text, "token_embedding")
    pool = getattr(text, "pool_type", None) or getattr(text, "text_pool_type", None)
    return 0 if causal and pool in ("argmax", "eos") and getattr(text, "cls_emb", None) is None else None
