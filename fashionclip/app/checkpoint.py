"""What a run leaves to go on from: its checkpoint, and what is rebuilt of it.

A checkpoint may come from a stranger, so it holds data: weights, the files of a model that open_clip reads from a
folder, and the config with registered names in place of import paths. Nothing is built but what is registered.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fashionclip.data.registered import DISTANCES, RELATIONS
from fashionclip.data.relations import Relation
from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset
from fashionclip.models.backbone import COMPILED, Backbone
from fashionclip.models.folder import CONFIG, check_folder, read_weights
from fashionclip.models.load import load_backbone
from fashionclip.models.tuning import merged

NAMES = {f"{cls.__module__}.{cls.__qualname__}": name for name, cls in (RELATIONS | DISTANCES).items()} | {
    # in checkpoints of before the modules were moved and renamed
    "fashionclip.data.relations.TripletRelation": "identities",
    "fashionclip.data.content.AttributeDistance": "attributes",
    "fashionclip.data.content.EditDistance": "edits",
}
NEEDED = {"model.backbone": dict, "loss.relation": dict, "dataset.root": str, "seed": int}  # of a checkpoint's config


def named(node: Any) -> Any:
    """A plain config with the names of classes in place of their import paths, as a checkpoint holds it.

    A node's `_target_` becomes its `name`, unless it has one: the registered name, or the import path of what is not
    registered, which is only told (as the optimizer's) or refused, never imported. So an older checkpoint is read, too.
    """
    if isinstance(node, list):
        return [named(value) for value in node]
    if not isinstance(node, dict):
        return node
    values = {key: named(value) for key, value in node.items() if key not in ("_target_", "_partial_")}
    target = node.get("_target_")
    if target == "fashionclip.data.relations.TripletRelation":
        values.pop("per_anchor", None)  # the loss says now how many triplets are drawn
    return {"name": NAMES.get(target, target)} | values if isinstance(target, str) else values


def load_checkpoint(path: Path, *, key: str = "ckpt") -> dict[str, Any]:
    """A run's checkpoint, from its file, or the best one of its folder.

    Args:
        path: File, or folder of a run.
        key: Key of the config that names it.

    Raises:
        InputError: There is none, or it is not one of fashionclip's.
    """
    file = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    last = file.with_name("last.ckpt")
    way_on = f" The run's last epoch is in {last}." if file != last and last.is_file() else ""
    if not file.is_file():
        if (path / CONFIG).is_file():
            raise InputError(
                f"{key}={path}: is an export. Expected a run folder or a .ckpt file. To evaluate an export: python "
                f"evaluate.py {shlex.quote(f'ckpt={path}')} dataset=NAME"
            )
        raise InputError(f"{key}={path}: no {file}. Expected a run folder or a .ckpt file.{way_on}")
    if not zipfile.is_zipfile(file):
        size = file.stat().st_size
        what = f"torn, or no checkpoint at all ({size:,} bytes)" if size else "empty (0 bytes)"
        raise InputError(f"{key}={file}: is {what}. Expected a checkpoint that train.py wrote.{way_on}")
    try:
        checkpoint = read_weights(file)
    except ValueError as error:
        raise InputError(
            f"{key}={file}: cannot be read ({error}). Expected a checkpoint that train.py wrote: weights and "
            f"plain values; nothing else is loaded.{way_on}"
        ) from error
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= set(checkpoint):
        raise InputError(
            f"{key}={file}: no checkpoint of fashionclip, which holds its config. For plain weights use "
            "model=NAME model.backbone.pretrained=FILE."
        )
    try:
        config = checkpoint["config"] = named(checkpoint["config"])
    except RecursionError as error:
        raise InputError(f"{key}={file}: its config has no end. It is not read.") from error
    if missing := [key for key, kind in NEEDED.items() if not isinstance(_value(config, key), kind)]:
        raise InputError(f"{key}={file}: its config lacks {missing}. Expected a checkpoint that train.py wrote.")
    if not _may_be_a_path(root := config["dataset"]["root"]):
        raise InputError(f"{key}={file}: its dataset.root={root[:100]!r} can be no path. It is not read.")
    state = checkpoint["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(k, str) and torch.is_tensor(v) for k, v in state.items()):
        raise InputError(
            f"{key}={file}: its weights are no tensors with names. Expected a checkpoint that train.py wrote."
        )
    try:
        checkpoint["state_dict"] = merged({k.replace(COMPILED, ""): v for k, v in state.items()})
    except ValueError as error:
        raise InputError(f"ckpt={file}: {error}. Expected a checkpoint that train.py wrote.") from error
    return checkpoint


def backbone_of(checkpoint: dict[str, Any]) -> Backbone:
    """Rebuilds the backbone from the files that the checkpoint keeps of it and fills it with the checkpoint's weights.

    No hub is asked, and no folder or weights file of before the training.

    Raises:
        InputError: The files describe no model, or lead elsewhere, or the weights do not fit.
    """
    files = checkpoint.get("backbone")
    if not isinstance(files, dict) or not all(isinstance(content, bytes) for content in files.values()):
        raise InputError(
            "checkpoint: its `backbone` is not the files of a model, or it was written before there were any. It is "
            "not read any more: train again."
        )
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            if not re.fullmatch(r"\w[\w.-]{,99}", str(name), re.ASCII):
                raise InputError(
                    f"checkpoint: names a file {str(name)[:100]!r}, which would lie elsewhere or is no model's file. "
                    "It is not loaded."
                )
            Path(folder, str(name)).write_bytes(content)
        check_folder(Path(folder), weights=sum(tensor.nbytes for tensor in state.values()))
        # open_clip builds a tower of timm at timm's own size, whatever the file says, if it is not given it again.
        image_size = json.loads(files[CONFIG])["model_cfg"]["vision_cfg"].get("image_size")
        square = image_size if isinstance(image_size, int) else None
        backbone = load_backbone(name=f"local-dir:{folder}", image_size=square, load_weights=False)
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
        InputError: It is none of fashionclip's, or not with these values.
    """
    node = checkpoint["config"]["loss"]["relation"]
    return _built({"name": "no name"} | node, among=RELATIONS, place="loss.relation")


def _built(node: Any, *, among: Mapping[str, Any], place: str) -> Any:
    """What is registered under a node's name, given the node's other values; what has no name stays as it is."""
    if isinstance(node, list):
        return [_built(value, among=among, place=f"{place}[{number}]") for number, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    below = RELATIONS | DISTANCES
    named = isinstance(node.get("name"), str)  # a weight, where a text's field is of that name
    values = {
        key: _built(value, among=below, place=f"{place}.{key}")
        for key, value in node.items()
        if key != "name" or not named
    }
    if not named:
        return values
    name = str(node["name"])
    if name not in among:
        raise InputError(
            f"checkpoint: its config has {name[:100]!r} at {place}, which is none of fashionclip's and is not built. "
            f"Expected one of {sorted(among)}. A run with a relation of your own can be exported (fashionclip export), "
            "and the export evaluated (evaluate.py model=tiny model.backbone.name=local-dir:EXPORT); or register the "
            "relation in fashionclip/data/registered.py."
        )
    try:
        return among[name](**values)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"checkpoint: its config has {name} at {place}, which cannot be built ({error}).") from error


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
    """Threshold, scale and bias that a training chose on val; nothing of a run without judgements.

    Raises:
        InputError: They are not three numbers.
    """
    state = checkpoint["state_dict"]
    found = {key.removeprefix("judged."): value for key, value in state.items() if key.startswith("judged.")}
    numbers = all(value.ndim == 0 and value.is_floating_point() for value in found.values())
    if found and not (numbers and found.keys() == {"threshold", "scale", "bias"}):
        raise InputError(
            f"checkpoint: holds judged.{', judged.'.join(found)[:200]}, of which the threshold, scale and bias of "
            "judgements cannot be read. Expected a checkpoint that train.py wrote."
        )
    return found


def _may_be_a_path(text: str) -> bool:
    try:
        parts = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        return False
    return all(b"\0" not in part and len(part) <= 255 for part in parts)


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config
