"""The config at the edge between Hydra and plain Python: what can be said of it before anything is built."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError

from fashionclip.app.arguments import arguments_of, check_types
from fashionclip.app.home import expand_config
from fashionclip.app.run_folder import mode_of
from fashionclip.errors import InputError

OPEN = ("callbacks", "logger", "metrics")  # groups to which a node of any name may be added
NEEDED = ("dataset", "loss", "model", "data", "optimizer", "trainer", "seed")  # of a training
READ = {  # where it is there, as in the config of a run of before there was the key
    "data.val_queries",
    "identity",
    "loss.batch_size",
    "loss.cache_chunk",
    "loss.distill.weight",
    "model.grad_checkpointing",
    "model.patch_dropout",
    "resume",
    "retention",
    "tf32",
    "wise_ft.alphas",
}
GIVEN = {  # arguments that are not config's to set, by the place whose target takes them
    "trainer": {"logger", "callbacks", "default_root_dir", "num_sanity_val_steps", "enable_model_summary"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "total_steps"},
}


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as dicts, lists and scalars, which a checkpoint may hold; missing values stay "???"."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def fill_groups(cfg: DictConfig, groups: Iterable[str] = (*OPEN, "augmentation")) -> None:
    """Makes a group that was left out (`~logger`) an empty one."""
    with open_dict(cfg):
        for group in groups:
            cfg[group] = cfg.get(group) or {}


def check_config(cfg: DictConfig) -> None:
    """What every command does first: refuses keys that nothing reads and values out of range, and expands `~`.

    Raises:
        InputError: Naming the key or the value.
    """
    check_added_keys(cfg, HydraConfig.get().overrides.task)
    expand_config(cfg)
    check_values(cfg)


def check_added_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuses a key added with `+` where nothing would read it; Hydra itself refuses unknown keys without `+`.

    Args:
        cfg: The composed config.
        overrides: Overrides of the command line.

    Raises:
        InputError: Naming the key and what its place takes.
    """
    for override in overrides:
        key = override.lstrip("+").split("=")[0]
        *above, last = key.split(".")
        if not override.startswith("+") or last.startswith("_") or above in ([group] for group in OPEN):
            continue
        places = [".".join(above[:end]) for end in range(1, len(above) + 1)]
        built = [place for place in places if "_target_" in (OmegaConf.select(cfg, place) or {})]
        if not built:
            if key in READ or (override.startswith("++") and key in RANGES):  # which replaces what is there
                continue
            there = OmegaConf.select(cfg, places[-1]) if places else cfg
            others = [name for name in there if name != last] if isinstance(there, DictConfig) else []
            raise InputError(
                f"{key}: nothing reads a key that is added there. Its place holds {_listed(others)}, set without '+'. "
                "Correct the name."
            )
        if built[-1] != places[-1]:
            continue  # below an argument, which whoever takes it checks
        known = arguments_of(OmegaConf.select(cfg, built[-1])["_target_"], key=built[-1])
        takeable = set(known) - GIVEN.get(built[-1], set())
        if last not in takeable and "**" not in known:
            raise InputError(
                f"{key}: unknown key. Its place takes {_listed(takeable)}. Correct the name or leave it out."
            )


def check_loss_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuses a key of loss or identity that changes nothing, such as the monitor of a part of a mixed loss.

    A key of which something refers to more than one value, such as all of a part, changes something.

    Args:
        cfg: The composed config.
        overrides: Overrides of the command line.

    Raises:
        InputError: Naming the key.
    """

    def read(cfg: DictConfig) -> dict[str, Any]:
        loss: Any = OmegaConf.to_container(cfg.loss, resolve=True)
        names = "relation function adapter monitor temperature batch_size cache_chunk distill hard_negatives"
        return {name: loss.get(name) for name in names.split()}

    as_it_is = read(cfg)
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if key == "identity" or key.startswith(("loss.", "identity.")):
            other = cfg.copy()
            OmegaConf.update(other, key, "another value")
            try:
                changes = read(other) != as_it_is
            except InterpolationResolutionError:
                changes = True
            if not changes:
                raise InputError(f"{override}: nothing reads {key} in this loss. Leave it out.")


def check_monitor(monitor: str, validated: Sequence[Mapping[str, float]]) -> None:
    """Refuses a `loss.monitor` that validation does not measure.

    Args:
        monitor: Name of the metric.
        validated: Metrics as `Trainer.validate` returns them; empty where nothing was validated.

    Raises:
        InputError: Naming what is measured.
    """
    measured = [name for metrics in validated for name in metrics]
    if monitor not in measured:
        raise InputError(
            f"loss.monitor={monitor}: not measured in validation. Expected one of {', '.join(sorted(measured))}."
            if measured
            else f"loss.monitor={monitor}: nothing was validated, so no best checkpoint can be chosen. Leave "
            "trainer.limit_val_batches above 0."
        )


NUMBERS = {  # what each must be, in the words of the message, by which it is checked
    "a whole number >= 0 and <= 4294967295": "seed",
    "a whole number >= 1": (
        "check_photos data.batch_size data.eval_batch_size loss.relation.per_group identity.per_group "
        "trainer.accumulate_grad_batches dataset.max_side dataset.min_side dataset.items dataset.shots "
        "dataset.demo_items dataset.min_length dataset.max_length dataset.positives dataset.semipositives "
        "dataset.triplets_per_anchor dataset.matches dataset.mismatches dataset.max_bytes"
    ),
    "a whole number >= 0 or null": (
        "data.num_workers trainer.log_every_n_steps dataset.workers tuning.image_blocks tuning.text_blocks"
    ),
    "a number > 0": (
        "optimizer.lr optimizer.eps loss.match_weight loss.mismatch_weight dataset.timeout tuning.tower_rate"
    ),
    "a number >= 0": "optimizer.weight_decay dataset.margin",
    "a number >= 0 and < 1": (
        "scheduler.warmup dataset.dev_split tuning.heads_first callbacks.averaging.start model.patch_dropout"
    ),
    "a number >= 0 and <= 1": "scheduler.final augmentation.flip dataset.replaced_share",
    "a number > 0 and < 1": "scheduler.factor",
    "a whole number >= 0": (
        "scheduler.patience loss.drawn callbacks.early_stopping.patience dataset.seed dataset.retries "
        "dataset.captions_per_photo dataset.logo_sets_per_photo"
    ),
    "a number > 0 or null": "loss.temperature loss.scale loss.distill.weight",
    "a number >= -1 or null": "loss.margin",
    "a number > 0 and <= 1 or null": "loss.semipos_share",
    "a whole number >= 2": "loss.hard_negatives.per_group",
    "a number >= 0 or null": "loss.gamma loss.hard_negatives.margin trainer.gradient_clip_val callbacks.last.minutes",
    "a whole number >= 1 or null": (
        "loss.per_anchor loss.per_label loss.relation.per_item identity.per_item model.backbone.image_size "
        "trainer.check_val_every_n_epoch dataset.limit dataset.max_captions tuning.lora_rank callbacks.last.steps "
        "loss.cache_chunk loss.hard_negatives.every data.val_queries"
    ),
    "a number >= 0 and < 1 or null": "callbacks.averaging.decay",
    "a number >= 0 and <= 180": "augmentation.rotation",
    "a number > 0 and <= 1": "dataset.max_edited_share tuning.layer_decay",
}
RANGES = {key: words for words, keys in NUMBERS.items() for key in keys.split()}
SIGNS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


def _is_number(value: Any, words: str) -> bool:
    """Whether a value is what words such as "a whole number >= 1 or null" say."""
    if value is None:
        return words.endswith("or null")
    if isinstance(value, bool) or not isinstance(value, int if "whole" in words else int | float):
        return False
    bounds = re.findall(r"([<>]=?) (\S+)", words)
    return math.isfinite(value) and all(SIGNS[sign](value, float(bound)) for sign, bound in bounds)


def typed_key(cfg: DictConfig, key: str) -> str:
    """The key that a value comes from where the one at `key` only refers to others: loss.function.form to loss.form."""
    *above, last = key.split(".")
    parent = OmegaConf.select(cfg, ".".join(above)) if above else cfg
    node = parent._get_node(last) if isinstance(parent, DictConfig) else None
    referred = re.fullmatch(r"\$\{(\.*)([\w.]+)\}", str(getattr(node, "_value", lambda: "")()))
    if referred is None:
        return key
    dots, name = referred.groups()
    start = above[: len(above) - len(dots) + 1] if dots else []
    return typed_key(cfg, ".".join([*start, name]))


def check_values(cfg: DictConfig) -> None:
    """Refuses values of a wrong type or out of range, where Lightning, torch or a preparation would end in a traceback.

    What is built from the config says in its annotations which types it takes, so only ranges are listed here.

    Raises:
        InputError: Naming the key, what it got and what is expected.
    """
    for group in NEEDED if "callbacks" in cfg else ():
        if cfg.get(group) is None:
            raise InputError(f"{group}: left out, and nothing can be trained without it. Leave it in.")
    for group in (*NEEDED[:-1], *OPEN, "augmentation", "scheduler", "tuning"):
        if isinstance(cfg.get(group), str):
            raise InputError(
                f"{group}={cfg[group]}: the config of a run has values, of which single ones can be given anew, and no "
                f"choices of {group}. To choose, leave out --again."
            )
    try:
        if "loss" in cfg and not str(cfg.loss.get("monitor")).startswith("val/"):
            raise InputError(
                f"loss.monitor={cfg.loss.get('monitor')}: expected a metric of validation, such as "
                "val/text_to_image/recall@10, by which the best checkpoint is chosen. Give it in the loss's YAML."
            )
        values = plain(cfg)
    except InterpolationKeyError as error:
        remedy = (
            "A loss among photos reads there which photos belong together, and the dataset's YAML does not say it. Use "
            "loss=contrastive, or one of configs/identity whose columns the dataset has: +identity=kaggle-products."
            if "'identity" in str(error)
            else "Do not leave out what others refer to."
        )
        key = f"{error.full_key}: " if error.full_key else ""
        raise InputError(f"{key}{str(error).splitlines()[0]}. {remedy}") from error
    of_loss = {key.removeprefix("loss."): words for key, words in RANGES.items() if key.startswith("loss.")}
    parts = [f"loss.parts.{part}" for part in OmegaConf.select(cfg, "loss.parts") or ()]  # of a mixed loss
    of_parts = {f"{part}.{key}": words for part in parts for key, words in of_loss.items()}
    for key, words in (RANGES | of_parts).items():
        value = OmegaConf.select(cfg, key, default=...)
        if isinstance(value, ListConfig) and key.startswith("optimizer."):
            continue  # such as Adafactor's eps: the optimizer's own types say whether it takes one
        if value is not ... and not _is_number(value, words):
            raise InputError(f"{typed_key(cfg, key)}={'null' if value is None else value}: expected {words}.")
    for group in OPEN:
        for name, node in (cfg.get(group) or {}).items():
            if node is not None and not (isinstance(node, DictConfig) and "_target_" in node):
                raise InputError(
                    f"{group}.{name}={node}: expected a node with _target_, or ~{group}.{name} to leave it out."
                )
    check_types(values, typed=partial(typed_key, cfg))
    if "augmentation" in cfg:
        transform = {"_target_": "fashionclip.data.transforms.train_transform", **values["augmentation"]}
        check_types(transform, key="augmentation")
    if "callbacks" in cfg:
        _check_training(cfg)


def _check_training(cfg: DictConfig) -> None:
    """What keys mean together: how long to train, and by what the best checkpoint is chosen."""
    augmentation = plain(cfg.augmentation)
    if cfg.data.cache_features and any(augmentation.values()):
        raise InputError(
            f"data.cache_features=true: photos are embedded once, so augmentation={augmentation} could not act. "
            "Use augmentation=none or data.cache_features=false."
        )
    for name, node in cfg.callbacks.items():
        if node and node["_target_"].endswith("LearningRateFinder"):
            raise InputError(
                f"callbacks.{name}: Lightning's search for a rate cannot set that of optimizer. Compare some rates "
                "instead: python train.py -m model.lr=1e-5,1e-4,1e-3"
            )
        if node and node["_target_"].endswith("StochasticWeightAveraging"):
            raise InputError(
                f"callbacks.{name}: Lightning neither validates nor keeps the average that it makes. Use callbacks=ema "
                "callbacks.averaging.decay=null callbacks.averaging.start=0.75, which averages the last quarter's."
            )
    checkpoint = cfg.callbacks.get("checkpoint")
    if checkpoint is None:
        raise InputError("callbacks.checkpoint: left out, so no best checkpoint would be kept to test. Leave it in.")
    if not any(cfg.logger.values()) and cfg.callbacks.get("learning_rate"):
        raise InputError(
            "logger: none is left, and callbacks.learning_rate writes to them. Add ~callbacks.learning_rate."
        )
    mode = mode_of(cfg.loss.monitor)
    if checkpoint.get("monitor", cfg.loss.monitor) != cfg.loss.monitor or checkpoint.get("mode", mode) != mode:
        raise InputError(
            f"callbacks.checkpoint: monitor={checkpoint.get('monitor')}, mode={checkpoint.get('mode')}; expected "
            f"loss.monitor={cfg.loss.monitor} and {mode}, by which schedules and sweeps choose too. Set loss.monitor."
        )
    epochs, steps = cfg.trainer.max_epochs, cfg.trainer.get("max_steps", -1)
    if epochs == 0 or steps == 0:
        raise InputError(
            "trainer.max_epochs=0: nothing would be trained. For the model as it is: python evaluate.py "
            f"model={cfg.model.label} dataset={cfg.dataset.name}"
        )
    if epochs is None or (epochs < 0 and not (epochs == -1 and steps > 0)):
        raise InputError(
            f"trainer.max_epochs={epochs}: expected 1 or more, since a schedule plans over all steps; or -1 with "
            "+trainer.max_steps=N. With trainer.max_time training ends at whichever comes first."
        )
    every = cfg.trainer.get("check_val_every_n_epoch", 1)
    if every is None and type(cfg.trainer.get("val_check_interval")) is not int:
        raise InputError(
            "trainer.check_val_every_n_epoch=null: nothing else says when to validate. Add "
            "+trainer.val_check_interval=N, a whole number of steps."
        )
    if every is not None and 0 < epochs < every and not cfg.trainer.get("fast_dev_run"):
        raise InputError(
            f"trainer.check_val_every_n_epoch={every}: more than trainer.max_epochs={epochs}, so no epoch is "
            "validated and no best checkpoint chosen. Lower it."
        )


def check_devices(trainer: DictConfig) -> None:
    """Refuses accelerators that this machine lacks.

    Raises:
        InputError: Naming what the machine has.
    """
    import torch

    cuda, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    has = {"gpu": cuda > 0 or mps, "cuda": cuda > 0, "mps": mps}
    if not has.get(trainer.accelerator, True):
        found = f"{cuda} CUDA GPUs" if cuda else "an Apple GPU" if mps else "no GPU"
        raise InputError(
            f"trainer.accelerator={trainer.accelerator}: torch {torch.__version__} finds {found} on this machine. "
            "Use trainer=cpu, or trainer.accelerator=auto."
        )


def _listed(names: Iterable[Any]) -> str:
    return f"[{', '.join(sorted(map(str, names)))}]"
