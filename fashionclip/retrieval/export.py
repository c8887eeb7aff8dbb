"""A trained backbone as a folder that open_clip, other tools and our own search load."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from fashionclip.models.backbone import Backbone

CONFIG = "open_clip_config.json"  # open_clip's own names
WEIGHTS = "open_clip_model.safetensors"
FACTS = "fashionclip.json"


def write_export(folder: Path, backbone: Backbone, *, facts: Mapping[str, Any]) -> None:
    """Writes the folder in one step; one that stands there is replaced.

    Args:
        folder: Where to.
        backbone: With its trained weights.
        facts: What else is known of it, as JSON: `label`, and `judge` (threshold, scale and bias of verdicts) or None.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    preprocess = backbone.preprocess
    architecture = backbone.architecture | (
        {} if backbone.logit_bias is None else {"init_logit_bias": backbone.logit_bias.item()}
    )
    config = {
        "model_cfg": architecture,
        "preprocess_cfg": {
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "interpolation": preprocess.interpolation,
            "resize_mode": preprocess.resize_mode,
            "fill_color": preprocess.fill_color,
        },
    }
    (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in backbone.clip.state_dict().items()}, partial / WEIGHTS)
    (partial / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
