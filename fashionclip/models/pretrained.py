"""Weights that others wrote, as open_clip names them: plain, of a training, compiled, or of a `CLIPModel`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fashionclip.errors import InputError
from fashionclip.models.backbone import COMPILED
from fashionclip.models.folder import CONFIG, check_preprocessing, read_config, read_weights
from fashionclip.models.tuning import merged

CLIP_MODEL = ("model.safetensors", "pytorch_model.bin")  # in a folder of transformers, beside its config.json
CONFIGS = ("config.json", "preprocessor_config.json")
STATES = ("state_dict", "model_state_dict", "model")  # under which a training keeps its model's weights
RESAMPLE = {None: "bicubic", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers, which transformers uses
OF_TRANSFORMERS = "text_model.embeddings.token_embedding.weight"
NAMES = {  # of transformers, and of open_clip
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding": "conv1",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding": "token_embedding",
    "pre_layrnorm": "ln_pre",  # their spelling
    "post_layernorm": "ln_post",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def is_clip_model(path: Path) -> bool:
    """Whether a folder is one that transformers' `CLIPModel.save_pretrained` wrote."""
    return (path / "config.json").is_file() and any((path / name).is_file() for name in CLIP_MODEL)


@dataclass(frozen=True)
class Pretrained:
    """Weights from a file or folder.

    Attributes:
        path: File of the weights, or folder of a `CLIPModel`.
        state: Weights under open_clip's names.
        stated: Known facts of activation and preprocessing, as a tag of open_clip has them.
        readable: Whether open_clip can load the path as it is.
    """

    path: Path
    state: dict[str, Tensor]
    stated: dict[str, Any]
    readable: bool

    @contextmanager
    def file(self) -> Iterator[str]:
        """A file that open_clip can load, while a model is built of it.

        Raises:
            InputError: The weights are of another model, with the names that do not fit.
        """
        with TemporaryDirectory() as folder:
            file = self.path if self.readable else Path(folder, "weights.pt")
            if not self.readable:
                torch.save(self.state, file)
            try:
                yield str(file)
            except RuntimeError as error:
                if "Error(s) in loading state_dict" not in str(error):
                    raise
                unfit = " ".join(" ".join(line.split())[:200] for line in str(error).splitlines()[1:4])
                raise InputError(
                    f"model.backbone.pretrained={self.path}: its weights are of another model. {unfit} Choose the "
                    "model.backbone.name that they were trained as."
                ) from error


def read_pretrained(path: Path) -> Pretrained:
    """Reads weights that somebody has written.

    Args:
        path: File of weights or of a training's checkpoint, of torch.save or safetensors; or folder of a `CLIPModel`.

    Raises:
        InputError: It holds no weights, or more than weights and plain values.
    """
    file = path if path.is_file() else next(path / name for name in CLIP_MODEL if (path / name).is_file())
    where = f"model.backbone.pretrained={path}"
    try:
        found = load_file(file) if file.suffix == ".safetensors" else read_weights(file)
    except (ValueError, OSError, SafetensorError) as error:
        raise InputError(
            f"{where}: could not be loaded ({error}). Expected weights and plain values, as torch.save or safetensors "
            "write them; nothing else is loaded."
        ) from error
    state = found
    if isinstance(found, dict):
        state = next((found[key] for key in STATES if isinstance(found.get(key), dict)), found)
    if not isinstance(state, dict) or not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{where}: could not be loaded (no table of named weights). Expected a model's state_dict.")
    try:
        named = merged(_plain_names(state))
    except ValueError as error:
        raise InputError(f"{where}: {error}. Expected a checkpoint that train.py wrote.") from error
    if OF_TRANSFORMERS in named:
        stated = _of_clip_model(path if path.is_dir() else None)
        try:
            named = _from_transformers(named)
        except KeyError as error:
            raise InputError(f"{where}: a CLIPModel without {error}. Expected all of its weights.") from error
    else:
        stated = _of_run(found, where=where)
    check_preprocessing(stated, where=where)
    readable = named.keys() == state.keys() and (state is found or state is found.get("state_dict"))
    return Pretrained(path, named, stated, readable=readable)


def _of_clip_model(folder: Path | None) -> dict[str, Any]:
    """What a folder says of its `CLIPModel`; of weights without one, transformers' default."""
    if folder is None:
        return {"quick_gelu": True}
    config, processor = ((read_config(f) if (f := folder / name).is_file() else {}) for name in CONFIGS)
    parts = [config.get(part) for part in ("text_config", "vision_config")]
    acts = {part.get("hidden_act", "quick_gelu") for part in parts if isinstance(part, dict)}
    said = {"mean": processor.get("image_mean"), "std": processor.get("image_std")}
    said["interpolation"] = RESAMPLE.get(processor.get("resample"))
    return {key: value for key, value in said.items() if value is not None} | {"quick_gelu": acts <= {"quick_gelu"}}


def _of_run(found: Any, *, where: str) -> dict[str, Any]:
    """What a checkpoint of fashionclip says of its model, in the config of open_clip that it holds."""
    if not isinstance(found.get("backbone"), dict):
        return {}
    try:
        config = json.loads(found["backbone"][CONFIG])
        return config["preprocess_cfg"] | {"quick_gelu": bool(config["model_cfg"].get("quick_gelu"))}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: is a checkpoint whose `backbone` is not the files of a model.") from error


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's weights without what stands before all of their names (`module.`, `_orig_mod.`, `backbone.clip.`).

    It ends where the name `logit_scale` begins, which each such model has once. Tensors without it are not the model's.
    """
    state = {name.replace(COMPILED, ""): tensor for name, tensor in state.items()}
    before = [name.removesuffix("logit_scale") for name in state if re.fullmatch(r"(.*\.)?logit_scale", name)]
    if len(before) != 1:
        return state
    return {name.removeprefix(before[0]): tensor for name, tensor in state.items() if name.startswith(before[0])}


def _from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `CLIPModel`'s weights under open_clip's names; open_clip has one layer for query, key and value."""
    found = {}
    for name, tensor in state.items():
        tower, _, rest = name.partition(".")
        if rest.endswith(("k_proj.weight", "v_proj.weight", "k_proj.bias", "v_proj.bias", "position_ids")):
            continue  # taken with the query's, or not needed
        if tower in ("text_projection", "visual_projection"):
            found["text_projection" if tower == "text_projection" else "visual.proj"] = tensor.T.contiguous()
            continue
        for theirs, ours in NAMES.items():
            rest = re.sub(rf"(?<![^.]){re.escape(theirs)}(?![^.])", ours, rest)
        if ".q_proj." in rest:
            tensor = torch.cat([state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            rest = re.sub(r"self_attn\.q_proj\.", "attn.in_proj_", rest)
        prefix = {"text_model": "", "vision_model": "visual."}.get(tower, f"{tower}." if rest else tower)
        found[f"{prefix}{rest}"] = tensor
    return found
