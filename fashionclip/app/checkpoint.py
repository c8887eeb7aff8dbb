"""What a run leaves to go on from: its checkpoint, the backbone in it, and what it chose for verdicts."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.utils import instantiate

from fashionclip.errors import InputError
from fashionclip.models.backbone import Backbone, load_backbone


def judge_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Threshold, scale and bias that a training chose on val."""
    prefix = "judged."
    return {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A run's checkpoint, from its file, or the best one of its folder.

    Raises:
        InputError: There is none, or it is not one of fashionclip's.
    """
    file = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"ckpt={path}: no {file}. Expected a run folder or a .ckpt file.")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and OS errors alike
        raise InputError(
            f"ckpt={file}: cannot be read ({error}). Expected a checkpoint that train.py wrote."
        ) from error
    if not isinstance(checkpoint, dict) or "config" not in checkpoint or "state_dict" not in checkpoint:
        raise InputError(
            f"ckpt={file}: no checkpoint of fashionclip, which holds its config. For plain weights use "
            "model=NAME model.backbone.pretrained=FILE."
        )
    return checkpoint


def backbone_of(checkpoint: dict[str, Any]) -> Backbone:
    """Rebuilds the backbone from what the checkpoint keeps of it and fills it with the checkpoint's weights.

    No hub is asked, and no folder or weights file of before the training: a checkpoint holds architecture,
    preprocessing and tokenizer. An older one has its config alone, from which all three are looked up.
    """
    settings = checkpoint["config"]["model"]["backbone"]
    with TemporaryDirectory() as folder:
        if "backbone" in checkpoint:
            for name, content in checkpoint["backbone"].items():
                Path(folder, name).write_bytes(content)
            kept = {key: settings[key] for key in ("image_size", "freeze") if key in settings}
            backbone = load_backbone(name=f"local-dir:{folder}", **kept, load_weights=False)
        else:
            backbone = instantiate(settings, load_weights=False)
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    if "clip.logit_bias" in state:
        backbone.add_logit_bias()
    backbone.load_state_dict(state)
    return backbone
