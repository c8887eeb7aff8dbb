"""An export as a `CLIPModel` of transformers, with its tokenizer and image processor."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from fashionclip.errors import InputError
from fashionclip.models.backbone import Backbone

START, END = "<|startoftext|>", "<|endoftext|>"
# Settings that a CLIPModel has; all others must have open_clip's defaults. Dropout is for training.
VISION = ("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "patch_dropout")
TEXT = ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio")
RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


def check_transformers(backbone: Backbone) -> None:
    """Checks that transformers is installed and a CLIPModel can hold the model.

    Raises:
        InputError: One of the two is not so; the message names what a CLIPModel cannot hold.
    """
    if find_spec("transformers") is None:
        raise InputError("--transformers: needs transformers. Run: pip install 'fashionclip[hub]'")
    architecture, reasons = backbone.architecture, []
    for part, config, known in (("vision_cfg", CLIPVisionCfg, VISION), ("text_cfg", CLIPTextCfg, TEXT)):
        default = {field.name: field.default for field in fields(config)}
        given = architecture[part].items()
        reasons += [f"{part}.{k}={v}" for k, v in given if k not in known and v != default.get(k)]
    if isinstance(architecture["vision_cfg"].get("layers"), Sequence):
        reasons.append("a ResNet")
    if "multimodal_cfg" in architecture:
        reasons.append("a text decoder")
    if backbone.preprocess.resize_mode == "longest" or backbone.preprocess.interpolation not in RESAMPLE:
        reasons.append(f"resizing by {backbone.preprocess.resize_mode}, {backbone.preprocess.interpolation}")
    if not isinstance(backbone.tokenizer.tokenize, SimpleTokenizer):
        reasons.append(f"the tokenizer {type(backbone.tokenizer.tokenize).__name__}")
    if reasons:
        raise InputError(
            f"--transformers: a CLIPModel of transformers has no {', '.join(reasons)}. Expected open_clip's plain ViT "
            "and text tower, such as model=vit-b-32. Leave it out; --onnx holds any model."
        )


def write_transformers(folder: Path, backbone: Backbone) -> None:
    """Writes a folder for `CLIPModel.from_pretrained` and `AutoProcessor.from_pretrained`.

    A CLIPModel has no place for the logit bias of the sigmoid form; embeddings do not depend on it.
    """
    folder.mkdir(exist_ok=True)
    state = {name: tensor.contiguous().clone() for name, tensor in _weights(backbone.clip.state_dict()).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes for the owner alone
    length = asdict(CLIPTextCfg(**backbone.architecture["text_cfg"]))["context_length"]
    names = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    files: dict[str, Any] = {
        "config.json": _config(backbone.architecture),
        "preprocessor_config.json": _preprocessor(backbone),
        "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **names},
        "special_tokens_map.json": names,
        "vocab.json": _vocabulary(),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=None if name == "vocab.json" else 2), encoding="utf-8")
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as stream:
        merges = stream.read().split("\n")[1 : 49152 - 256 - 2 + 1]  # as open_clip's tokenizer does
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


@torch.inference_mode()
def embed_with_transformers(folder: Path, *, inputs: Mapping[str, Tensor], size: int) -> dict[str, np.ndarray]:
    """(N, D) unit-norm embeddings of "image" pixels and "text" tokens by transformers, `size` at a time."""
    from transformers import CLIPModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = CLIPModel.from_pretrained(folder).eval()
    pixels, tokens = inputs["image"], inputs["text"]
    image = [model(pixel_values=some, input_ids=tokens[:1]).image_embeds for some in pixels.split(size)]
    text = [model(pixel_values=pixels[:1], input_ids=some).text_embeds for some in tokens.split(size)]
    return {"image": torch.cat(image).numpy(), "text": torch.cat(text).numpy()}


def process_with_transformers(
    folder: Path, *, photos: Sequence[Image.Image], texts: Sequence[str]
) -> dict[str, Tensor]:
    """The "image" pixels and "text" tokens that transformers' own image processor and tokenizer make."""
    from transformers import AutoTokenizer, CLIPImageProcessor

    tokenizer, processor = AutoTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
    tokens = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    return {"image": processor(images=list(photos), return_tensors="pt")["pixel_values"], "text": tokens}


def _config(architecture: Mapping[str, Any]) -> dict[str, Any]:
    vision = CLIPVisionCfg(**architecture["vision_cfg"])
    text = CLIPTextCfg(**architecture["text_cfg"])
    shared = {
        "hidden_act": "quick_gelu" if architecture.get("quick_gelu") else "gelu",
        "projection_dim": architecture["embed_dim"],
    }
    assert isinstance(vision.layers, int)
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": architecture["embed_dim"],
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text.vocab_size,
            "hidden_size": text.width,
            "intermediate_size": int(text.width * text.mlp_ratio),
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context_length,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
            "pad_token_id": 49407,
            **shared,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": int(vision.width * vision.mlp_ratio),
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.width // vision.head_width,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            **shared,
        },
    }


def _preprocessor(backbone: Backbone) -> dict[str, Any]:
    preprocess = backbone.preprocess
    side = {"height": preprocess.size, "width": preprocess.size}
    crop = preprocess.resize_mode == "shortest"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": preprocess.size} if crop else side,
        "resample": RESAMPLE[preprocess.interpolation],
        "do_center_crop": crop,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }


def _vocabulary() -> dict[str, int]:
    tokenizer = SimpleTokenizer()
    ends = {tokenizer.sot_token_id: START, tokenizer.eot_token_id: END}
    return {ends.get(number, token): number for token, number in tokenizer.encoder.items()}


def _weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's tensors under transformers' names."""
    text = {k.removeprefix("text."): v for k, v in state.items() if not k.startswith("visual.")}
    vision = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    projection = text["text_projection.weight"] if "text_projection.weight" in text else text["text_projection"].T
    found = {
        "logit_scale": state["logit_scale"],
        "text_projection.weight": projection,
        "visual_projection.weight": vision["proj"].T,
        "text_model.embeddings.token_embedding.weight": text["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": text["positional_embedding"],
        "vision_model.embeddings.class_embedding": vision["class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": vision["conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": vision["positional_embedding"],
    }
    for end in ("weight", "bias"):
        found[f"text_model.final_layer_norm.{end}"] = text[f"ln_final.{end}"]
        found[f"vision_model.pre_layrnorm.{end}"] = vision[f"ln_pre.{end}"]  # their spelling
        found[f"vision_model.post_layernorm.{end}"] = vision[f"ln_post.{end}"]
    for model, tower in (("text_model", text), ("vision_model", vision)):
        for name, tensor in tower.items():
            if name.startswith("transformer.resblocks."):
                found |= _of_block(model, name.removeprefix("transformer.resblocks."), tensor)
    return found


def _of_block(model: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor of a transformer block; open_clip keeps query, key and value in one."""
    layer, _, rest = name.partition(".")
    part, _, end = rest.rpartition(".")
    to = f"{model}.encoder.layers.{layer}"
    if part == "attn":
        end = end.removeprefix("in_proj_")
        return {f"{to}.self_attn.{k}_proj.{end}": t for k, t in zip("qkv", tensor.chunk(3), strict=True)}
    names = {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    return {f"{to}.{names[part]}.{end}": tensor}
