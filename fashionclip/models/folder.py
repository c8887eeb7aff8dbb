"""What a model from somebody's folder or hub may ask for, checked before anything of it is built or read.

open_clip follows its config wherever it points: to Python files of a tokenizer, to names on a hub, to any size.
"""

from __future__ import annotations

import json
import logging
import math
import pickle
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch

import fashionclip.models.lite0  # noqa: F401  # makes its tower known to timm, by which a config may name it
from fashionclip.errors import InputError

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"  # open_clip's own names
FACTS = "fashionclip.json"  # what an export says of itself
PARTS = ("vision_cfg", "text_cfg", "multimodal_cfg")
# Least and most of what decides how large a model is. The largest of open_clip's own have 56 layers, a width of 1,792,
# 512 pixels and 901,629 words.
BOUNDS = {
    "embed_dim": (1, 8192),
    "width": (1, 8192),
    "layers": (0, 128),
    "heads": (1, 256),
    "head_width": (1, 1024),
    "dim_head": (1, 1024),
    "mlp_ratio": (0, 32),
    "patch_size": (4, 1024),
    "image_size": (1, 1024),
    "context_length": (1, 4096),
    "vocab_size": (1, 2_000_000),
    "attn_pooler_queries": (1, 4096),
    "attn_pooler_heads": (1, 256),
    "n_queries": (1, 4096),
}
TOKENIZER_SETTINGS = ("clean", "strip_sep_token", "language", "reduction_mask")
CHANNELS = {"mean": (-10, 10), "std": (1e-3, 100)}  # of three each
WHOLE = {"size": BOUNDS["image_size"], "fill_color": (0, 255)}
CHOICES = {"interpolation": ("bicubic", "bilinear", "random"), "resize_mode": ("shortest", "longest", "squash")}
TEXT_TOWER = "config.json"  # transformers' own name, of a text tower of theirs
TEXT_TOWER_BOUNDS = {
    "hidden_size": BOUNDS["width"],
    "d_model": BOUNDS["width"],
    "d_kv": BOUNDS["width"],
    "intermediate_size": (1, 65536),
    "d_ff": (1, 65536),
    "num_hidden_layers": BOUNDS["layers"],
    "num_layers": BOUNDS["layers"],
    "num_decoder_layers": BOUNDS["layers"],
    "num_attention_heads": BOUNDS["heads"],
    "num_heads": BOUNDS["heads"],
    "max_position_embeddings": (1, 65536),
    "type_vocab_size": (1, 1024),
    "vocab_size": BOUNDS["vocab_size"],
}
# Words of its config, all else being numbers: those that could lead elsewhere are not among them.
TEXT_TOWER_WORDS = {
    "model_type": "bert|roberta|xlm-roberta|mt5|m2m_100",  # open_clip builds no others
    "architectures": r"\w+",
    "hidden_act": r"\w+",
    "feed_forward_proj": r"[\w-]+",
    "dense_act_fn": r"\w+",
    "position_embedding_type": "absolute",
    "torch_dtype": "float32|float16|bfloat16",
    "dtype": "float32|float16|bfloat16",
    "transformers_version": r"[\w.]+",
}
LARGEST_CONFIG = 1_000_000  # bytes


def check_folder(folder: Path, *, weights: int | None = None) -> None:
    """Refuses a folder that open_clip would follow elsewhere, or that describes a model far larger than its weights.

    Args:
        folder: Folder that `local-dir:` names.
        weights: Size in bytes of the weights that will be loaded; None: that of the largest file of weights there.

    Raises:
        InputError: Saying what it asks for.
    """
    file = folder / CONFIG
    if not file.is_file():
        way_on = run_instead(folder) or "Expected an export, or a folder of open_clip's."
        raise InputError(f"{folder}: no model there (no {CONFIG}). {way_on}")
    config = read_config(file)
    if not isinstance(config.get("model_cfg"), dict):
        raise InputError(f"{file}: no model_cfg in it. Expected open_clip's config of a model.")
    architecture = config["model_cfg"]
    check_architecture(architecture, where=str(file))
    check_preprocessing(config.get("preprocess_cfg", {}), where=str(file))
    for part in PARTS:
        if name := architecture.get(part, {}).get("hf_model_name"):
            if part != "text_cfg" or not (folder / TEXT_TOWER).is_file():
                raise InputError(f"{file}: {part}.hf_model_name={name} is on a hub, and no folder may lead there.")
            _check_text_tower(folder / TEXT_TOWER)
    if architecture["text_cfg"].get("hf_tokenizer_name"):
        _check_tokenizer(folder)
    size = weights if weights is not None else _largest_weights(folder)
    if size is not None and (count := _count(folder, architecture)) > size:
        raise InputError(f"{file}: describes a model of {count:,} weights, for which {size:,} bytes are too few.")


def run_instead(folder: Path) -> str:
    """What to do where a run was given in place of its export; nothing where it is none."""
    if (folder / "checkpoints").is_dir() or folder.suffix == ".ckpt":
        return f"It is a run: fashionclip export {shlex.quote(str(folder))} --to DIR, and give DIR."
    if (folder / "config.json").is_file():
        return (
            f"Of a CLIPModel of transformers: {shlex.quote(f'model.backbone.pretrained={folder}')} with its model=NAME."
        )
    return ""


def read_weights(file: Path) -> Any:
    """What torch.save has written, if it is tensors and plain values; nothing else is loaded.

    Raises:
        ValueError: It is something else, in one line.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its own words advise to switch the protection off
        raise ValueError("it holds more than weights and plain values, or is no file of torch.save") from error
    except Exception as error:  # of zip files, the disk and torch alike
        raise ValueError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error


def check_architecture(architecture: Mapping[str, Any], *, where: str) -> None:
    """Refuses a model config that runs code of others, leads elsewhere, or is out of all bounds.

    Args:
        architecture: Config of the model, open_clip's `model_cfg`.
        where: Name of its place, for messages.

    Raises:
        InputError: Naming the setting.
    """
    for part in PARTS:
        if not isinstance(architecture.get(part, {} if part == "multimodal_cfg" else None), dict):
            raise InputError(f"{where}: no {part} in its model_cfg. Expected open_clip's config of a model.")
    _check_bounds(architecture, where=where)
    timm = architecture["vision_cfg"].get("timm_model_name")
    if timm is not None and not re.fullmatch(r"[\w.]+", str(timm)):
        raise InputError(f"{where}: vision_cfg.timm_model_name={timm!r}. Expected the plain name of a model of timm's.")
    for part in PARTS:
        given = architecture.get(part, {}).get("tokenizer_kwargs") or {}
        if not isinstance(given, dict):
            raise InputError(f"{where}: {part}.tokenizer_kwargs={str(given)[:50]}. Expected names with values.")
        for name, value in given.items():
            if name not in TOKENIZER_SETTINGS or not isinstance(value, bool | str):
                raise InputError(
                    f"{where}: {part}.tokenizer_kwargs has {name}={value!r}, which is not passed on. Expected no more "
                    f"than {', '.join(TOKENIZER_SETTINGS)}."
                )


def _check_bounds(node: Mapping[str, Any], *, where: str) -> None:
    for name, value in node.items():
        if isinstance(value, dict):
            _check_bounds(value, where=where)
        elif name in BOUNDS and value is not None:
            low, high = BOUNDS[name]
            values = value if isinstance(value, list) else [value]
            if not all(_is_number(v) and low <= v <= high for v in values):
                raise InputError(f"{where}: {name}={str(value)[:50]}. Expected {low} to {high:,}.")


def check_preprocessing(given: Any, *, where: str) -> None:
    """Refuses what open_clip cannot prepare pixels by.

    Args:
        given: Config of the preprocessing, open_clip's `preprocess_cfg`.
        where: Name of its place, for messages.

    Raises:
        InputError: Naming the setting.
    """
    if not isinstance(given, dict):
        raise InputError(f"{where}: no preprocess_cfg in it. Expected open_clip's config of a model.")
    for name, value in given.items():
        if name in CHANNELS:
            low, high = CHANNELS[name]
            known = isinstance(value, list) and len(value) == 3
            known = known and all(_is_number(v) and low <= v <= high for v in value)
        elif name in WHOLE and value is not None:
            low, high = WHOLE[name]
            values = value if name == "size" and isinstance(value, list) and len(value) == 2 else [value]
            known = all(_is_number(v) and isinstance(v, int) and low <= v <= high for v in values)
        else:
            known = name not in CHOICES or value in CHOICES[name]
        if not known:
            raise InputError(f"{where}: preprocess_cfg has {name}={str(value)[:50]}, which open_clip does not know.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def local_text_tower(architecture: Mapping[str, Any], folder: Path, *, load_weights: bool) -> dict[str, Any]:
    """What `open_clip.create_model` is given for a text tower of transformers to come from a folder, not from a hub.

    Nothing where the tower is open_clip's own.

    Args:
        architecture: Config of the model, open_clip's `model_cfg`.
        folder: Folder with the tower's `config.json`, and with its weights where they are wanted.
        load_weights: Whether the tower's own weights are loaded.
    """
    if not architecture["text_cfg"].get("hf_model_name"):
        return {}
    return {"text_cfg": architecture["text_cfg"] | {"hf_model_name": str(folder), "hf_model_pretrained": load_weights}}


def _check_text_tower(file: Path) -> None:
    """Of transformers, whose config may name Python code, or kernels on a hub, under more than one key."""
    config = read_config(file)
    for name, value in config.items():
        known = TEXT_TOWER_WORDS.get(name)
        if name in TEXT_TOWER_BOUNDS:
            low, high = TEXT_TOWER_BOUNDS[name]
            fits = value is None or (isinstance(value, int) and low <= value <= high)
        elif known is not None:
            words = [] if value is None else value if isinstance(value, list) else [value]
            fits = all(isinstance(word, str) and re.fullmatch(known, word) for word in words)
        else:
            fits = value is None or isinstance(value, int | float)
        if not fits:
            raise InputError(f"{file}: {name}={str(value)[:50]}, which is not passed on to transformers.")
    if missing := [name for name in ("model_type", "vocab_size") if config.get(name) is None]:
        raise InputError(f"{file}: no {missing} in it. Expected transformers' config of a text tower.")


def _check_tokenizer(folder: Path) -> None:
    """Of transformers, whose config may name a class in a Python file beside it."""
    if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: its text tower needs a tokenizer of transformers, and none lies there.")
    for name in ("tokenizer_config.json", "config.json"):  # what else auto_map names there is of models, never built
        named = read_config(folder / name).get("auto_map", {}) if (folder / name).is_file() else {}
        if not isinstance(named, dict) or "AutoTokenizer" in named:
            raise InputError(
                f"{folder / name}: names Python code to run as its tokenizer (auto_map), which is not done. If the "
                "tokenizer is one of transformers' own, take auto_map out of the file; else choose another model."
            )


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object from a file of no more than a config's size.

    Raises:
        InputError: It is something else.
    """
    try:
        if file.stat().st_size > LARGEST_CONFIG * (50 if file.name.startswith("tokenizer") else 1):
            raise InputError(f"{file}: {file.stat().st_size:,} bytes are no config.")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({error}). Expected JSON.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: holds a {type(content).__name__}. Expected a JSON object.")
    return content


def _largest_weights(folder: Path) -> int | None:
    kinds = (".safetensors", ".bin", ".pth")
    return max((file.stat().st_size for file in folder.iterdir() if file.suffix in kinds), default=None)


def _count(folder: Path, architecture: Mapping[str, Any]) -> int:
    """Weights of the model, without room for them.

    Raises:
        InputError: It cannot be built.
    """
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # open_clip warns that it has loaded no weights
    try:
        with torch.device("meta"):
            model = open_clip.create_model(
                f"local-dir:{folder}",
                load_weights=False,
                pretrained_text=False,
                device="meta",
                **local_text_tower(architecture, folder, load_weights=False),
            )
    except Exception as error:  # of open_clip, timm or torch, of a setting missing, unknown or of a wrong type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{folder / CONFIG}: open_clip can build no model of it ({reason}). Correct it.") from error
    finally:
        logging.disable(before)
    return sum(weight.numel() for weight in model.parameters())
