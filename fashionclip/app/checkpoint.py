"""What a run leaves to go on from: its checkpoint, and what is rebuilt of it.

A checkpoint may come from a stranger. It is read as weights and plain values, and nothing that it names is called but
the relations listed here.
"""

from __future__ import annotations

import inspect
import shlex
import zipfile
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.utils import instantiate

from fashionclip.app.arguments import check_types
from fashionclip.data.relations import Relation
from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset
from fashionclip.models.backbone import COMPILED, Backbone
from fashionclip.models.folder import CONFIG, check_folder, read_weights
from fashionclip.models.load import load_backbone

BACKBONE = "fashionclip.models.load.load_backbone"
RELATIONS = (
    "fashionclip.data.relations.PairRelation",
    "fashionclip.data.relations.TripletRelation",
    "fashionclip.data.judgements.JudgementRelation",
    "fashionclip.data.mixed.MixedRelation",
    "fashionclip.data.content_distance.AttributeDistance",
    "fashionclip.data.content_distance.EditDistance",
)
NEEDED = ("model.backbone", "loss.relation", "dataset.root", "seed")  # of a checkpoint's config


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A run's checkpoint, from its file, or the best one of its folder.

    Raises:
        InputError: There is none, or it is not one of fashionclip's.
    """
    file = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    last = file.with_name("last.ckpt")
    way_on = f" The run's last epoch is in {last}." if file != last and last.is_file() else ""
    if not file.is_file():
        if (path / CONFIG).is_file():
            raise InputError(
                f"ckpt={path}: is an export. Expected a run folder or a .ckpt file. To evaluate an export: "
                f"model=tiny model.label=NAME {shlex.quote(f'model.backbone.name=local-dir:{path}')}"
            )
        raise InputError(f"ckpt={path}: no {file}. Expected a run folder or a .ckpt file.{way_on}")
    if not zipfile.is_zipfile(file):
        size = file.stat().st_size
        what = f"torn, or no checkpoint at all ({size:,} bytes)" if size else "empty (0 bytes)"
        raise InputError(f"ckpt={file}: is {what}. Expected a checkpoint that train.py wrote.{way_on}")
    try:
        checkpoint = read_weights(file)
    except ValueError as error:
        raise InputError(
            f"ckpt={file}: cannot be read ({error}). Expected a checkpoint that train.py wrote: weights and "
            f"plain values; nothing else is loaded.{way_on}"
        ) from error
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= set(checkpoint):
        raise InputError(
            f"ckpt={file}: no checkpoint of fashionclip, which holds its config. For plain weights use "
            "model=NAME model.backbone.pretrained=FILE."
        )
    if missing := [key for key in NEEDED if not _has(checkpoint["config"], key)]:
        raise InputError(f"ckpt={file}: its config lacks {missing}. Expected a checkpoint that train.py wrote.")
    checkpoint["state_dict"] = {k.replace(COMPILED, ""): v for k, v in checkpoint["state_dict"].items()}
    return checkpoint


def backbone_of(checkpoint: dict[str, Any]) -> Backbone:
    """Rebuilds the backbone from what the checkpoint keeps of it and fills it with the checkpoint's weights.

    No hub is asked, and no folder or weights file of before the training: a checkpoint holds architecture,
    preprocessing and tokenizer. An older one has its config alone, from which all three are looked up.

    Raises:
        InputError: The checkpoint names anything else to call, or its weights do not fit what it describes.
    """
    node = checkpoint["config"]["model"]["backbone"]
    if not isinstance(node, dict):
        raise InputError(f"checkpoint: its config has {str(node)[:100]!r} at model.backbone. Expected a node.")
    node = {name: value for name, value in node.items() if name != "image_weights"}  # the checkpoint brings its own
    _check_plain(node, allowed=(BACKBONE, "fashionclip.models.backbone.load_backbone"), where="model.backbone")
    known = set(inspect.signature(load_backbone).parameters) - {"load_weights"}
    settings = {name: value for name, value in node.items() if name in known}
    check_types({"_target_": BACKBONE, **settings}, key="model.backbone")
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    with TemporaryDirectory() as folder:
        if "backbone" in checkpoint:
            files = checkpoint["backbone"]
            if not isinstance(files, dict) or not all(isinstance(content, bytes) for content in files.values()):
                raise InputError("checkpoint: its `backbone` is not the files of a model. It is not loaded.")
            for name, content in files.items():
                if Path(name).name != name:
                    raise InputError(f"checkpoint: names a file {name!r}, which would lie elsewhere. It is not loaded.")
                Path(folder, name).write_bytes(content)
            check_folder(Path(folder), weights=sum(tensor.nbytes for tensor in state.values()))
            settings = {name: settings[name] for name in ("image_size", "freeze") if name in settings}
            settings["name"] = f"local-dir:{folder}"
        backbone = load_backbone(**settings, load_weights=False)
    if "clip.logit_bias" in state:
        backbone.add_logit_bias()
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"checkpoint: its weights do not fit its own model ({str(error).splitlines()[0]}).") from error
    return backbone


def relation_of(checkpoint: dict[str, Any]) -> Relation:
    """The relation that a run was trained on.

    Raises:
        InputError: It is none of fashionclip's.
    """
    node = checkpoint["config"]["loss"]["relation"]
    _check_plain(node, allowed=RELATIONS, where="loss.relation")
    return instantiate(node)


def dataset_of(checkpoint: dict[str, Any]) -> PreparedDataset:
    """The prepared dataset that a run was trained on, where it found it.

    Raises:
        InputError: There is none any more, or another one.
    """
    dataset = read_dataset(checkpoint["config"]["dataset"]["root"])
    if not is_of(checkpoint, dataset):
        raise InputError(
            f"{dataset.root}: holds another dataset than this run was trained on; its test split may have photos of "
            "that training. Prepare it as it was then. Or name a dataset to evaluate on it as it is: "
            f"dataset={dataset.info['config'].get('name', 'NAME')} {shlex.quote(f'dataset.root={dataset.root}')}"
        )
    return dataset


def is_of(checkpoint: dict[str, Any], dataset: PreparedDataset) -> bool:
    """Whether a run was trained on this dataset, by its fingerprint; of older runs by its place."""
    fingerprint = checkpoint["config"].get("dataset_fingerprint")
    if fingerprint is None:
        return Path(checkpoint["config"]["dataset"]["root"]).resolve() == dataset.root.resolve()
    return fingerprint == dataset.info.get("fingerprint")


def judge_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Threshold, scale and bias that a training chose on val."""
    prefix = "judged."
    return {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}


def _check_plain(node: Any, *, allowed: Collection[str], where: str) -> None:
    """Refuses what Hydra would do more with than call one of the allowed targets by plain keyword arguments."""
    if isinstance(node, dict):
        for name, value in node.items():
            place = f"{where}.{name}"
            if name == "_target_":
                if value not in allowed:
                    way_on = ", or list it in RELATIONS of app/checkpoint.py" if allowed is RELATIONS else ""
                    raise InputError(
                        f"checkpoint: its config names {value!r} to be called at {place}, which is not done. Expected "
                        f"one of {sorted(allowed)}{way_on}."
                    )
            elif not isinstance(name, str) or (name.startswith("_") and name != "_partial_"):
                raise InputError(f"checkpoint: its config has {place}, which is not followed.")
            else:
                _check_plain(value, allowed=allowed, where=place)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            _check_plain(value, allowed=allowed, where=f"{where}[{number}]")
    elif not (node is None or isinstance(node, bool | int | float | str)) or "${" in str(node):
        raise InputError(f"checkpoint: its config has {str(node)[:100]!r} at {where}. Expected a plain value.")


def _has(config: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True
