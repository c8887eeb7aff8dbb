"""From a run to an export: the model, the facts about it, and the photos and texts that it is checked with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashionclip.app.checkpoint import backbone_of, is_of, judge_of, load_checkpoint
from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset
from fashionclip.models.backbone import Backbone
from fashionclip.retrieval.export.export import write_export
from fashionclip.retrieval.export.samples import Samples, drawn_samples, samples_of
from fashionclip.retrieval.export.training_record import RECORD, Record, read_record, weights_digest

COUNTS = ("queries", "texts", "skus", "count", "strict_ceiling@1", "strict_ceiling@10", "spread")


def export_run(
    run: Path, folder: Path, *, data: Path | None = None, onnx: bool = False, transformers: bool = False
) -> dict[str, Any]:
    """Exports a run's best model, or a checkpoint file's.

    Args:
        run: Folder of the run, or a `.ckpt` file.
        folder: Folder to write.
        data: Root of the prepared dataset to check with; None: where the run found it.
        onnx: Whether to write both towers for onnxruntime as well.
        transformers: Whether to write a CLIPModel of transformers as well.

    Returns:
        The facts as written.

    Raises:
        InputError: The checkpoint cannot be read, `data` holds no prepared dataset, or `write_export` refuses.
    """
    checkpoint = load_checkpoint(run)
    backbone = backbone_of(checkpoint).eval()
    config = checkpoint["config"]
    root = Path(config["dataset"]["root"]) if data is None else data
    dataset: PreparedDataset | None = None
    samples: Samples
    try:
        dataset = read_dataset(root)
        samples = samples_of(dataset, decode_size=2 * backbone.preprocess.size)
    except InputError as error:
        if data is not None:
            raise
        print(
            f"dataset: {str(error).splitlines()[0]}\nThe export is checked on drawn garments. --data names a dataset."
        )
        samples = drawn_samples()
    own = dataset is not None and ("dataset_fingerprint" not in config or is_of(checkpoint, dataset))
    if dataset is not None and not own:
        print(f"{dataset.root}: another dataset than the run was trained on; its photos serve for the check alone.")
    record = _record(run, backbone)
    try:
        facts = {
            "label": config["model"]["label"],
            "judge": {name: value.item() for name, value in judge_of(checkpoint).items()} or None,
            "base": _base(
                config["model"]["backbone"], tower=backbone.architecture["vision_cfg"].get("timm_model_name")
            ),
            "data": {
                "name": config["dataset"]["name"],
                "fingerprint": config.get("dataset_fingerprint"),
                "counts": dataset.info["counts"] if dataset and own else None,
            },
            "tuning": _tuning(checkpoint),
            **_measured(run),
        }
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{run}: its config is not as train.py writes it ({error!r}). It is not exported.") from error
    return write_export(
        folder, backbone, facts=facts, samples=samples, record=record, onnx=onnx, transformers=transformers
    )


def _record(run: Path, backbone: Backbone) -> Record | None:
    """The embeddings that the run itself made with these weights; None where they are not known."""
    file = _folder(run) / RECORD
    try:
        record = read_record(file, decode_size=2 * backbone.preprocess.size)
        if record.weights == weights_digest(backbone):
            return record
        reason = f"{file}: belongs to other weights than those of {run}."
    except InputError as error:
        reason = str(error)
    print(f"{reason}\nThe export is checked against the checkpoint alone, not against what the training run embedded.")
    return None


def _folder(run: Path) -> Path:
    return run if run.is_dir() else run.parent.parent


def _base(settings: Mapping[str, Any], tower: str | None) -> dict[str, Any]:
    """The weights that training began with; of local paths the last part, since an export may be published."""
    scheme, found, name = settings["name"].rpartition(":")
    if scheme == "local-dir":
        name = Path(name).name
    pretrained = settings["pretrained"]
    if pretrained and (Path(pretrained).suffix or "/" in pretrained):
        pretrained = Path(pretrained).name
    image_weights = f"timm/{tower}" if settings.get("pretrained_image") else None
    if settings.get("image_weights"):
        image_weights = settings["image_weights"]["name"].split(".")[-2]  # the module of the function
    return {"name": f"{scheme}{found}{name}", "pretrained": pretrained, "image_weights": image_weights}


def _tuning(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    config = checkpoint["config"]
    loss, optimizer = config["loss"]["function"], config["optimizer"]
    return {
        "loss": _short(loss),
        "relation": _short(config["loss"]["relation"]),
        "frozen": config["model"]["backbone"].get("freeze", []),
        "epoch": checkpoint["epoch"] + 1,
        "max_epochs": config["trainer"]["max_epochs"],
        "steps": checkpoint["global_step"],
        "optimizer": optimizer["name"].rpartition(".")[2],
        "lr": optimizer["lr"],
        "weight_decay": optimizer["weight_decay"],
        "batch_size": config["data"]["batch_size"],
        "devices": config["trainer"]["devices"],
        "precision": config["trainer"]["precision"],
        "augmentation": {name: value for name, value in config["augmentation"].items() if value},
        "seed": config["seed"],
    }


def _short(node: Mapping[str, Any]) -> str:
    """A node of a config, written as a call: `name(key=value)`."""
    settings = ", ".join(f"{k}={_short(v) if isinstance(v, dict) else v}" for k, v in node.items() if k != "name")
    return f"{node['name'].rpartition('.')[2]}({settings})" if "name" in node else f"{{{settings}}}"


def _measured(run: Path) -> dict[str, Any]:
    """`measured_on`, a split, and its `metrics` before and after training, of a run's best checkpoint; else none.

    Each has the 95 % interval of its value after training, where the run knows one, and its number of queries. Slices
    are left out.
    """
    file = _folder(run) / "results.json"
    if not file.is_file() or not (run.is_dir() or run.name == "best.ckpt"):
        return {"metrics": {}}
    results = json.loads(file.read_text(encoding="utf-8"))
    split = next(iter(results["after"]), "test").partition("/")[0]
    before, after = ({k.removeprefix(f"{split}/"): v for k, v in results[s].items()} for s in ("before", "after"))
    intervals = results.get("intervals", {}).get("after", {})
    metrics: dict[str, dict[str, Any]] = {}
    parts = {name.removesuffix("/queries") for name in after if name.endswith("/queries") and name.count("/") > 2}
    for name, value in after.items():
        direction, _, metric = name.rpartition("/")
        if metric in COUNTS or direction in parts or not math.isfinite(value):
            continue
        was = before.get(name, math.nan)
        known: dict[str, Any] = {"before": was if math.isfinite(was) else None, "after": value}
        if f"{split}/{name}" in intervals:
            known["interval"] = intervals[f"{split}/{name}"]
        if f"{direction}/queries" in after:
            known["queries"] = int(after[f"{direction}/queries"])
        metrics[name] = known
    return {"measured_on": split, "metrics": metrics}
