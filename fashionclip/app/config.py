"""The config at the edge between Hydra and plain Python."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from fashionclip.errors import InputError


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as dicts, lists and scalars, which a checkpoint may hold; missing values stay "???"."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def check_added_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuses a key added with `+` where nothing would read it; Hydra itself refuses unknown keys without `+`.

    Args:
        cfg: The composed config.
        overrides: As on the command line.

    Raises:
        InputError: Naming the key and what its place has.
    """
    for override in overrides:
        if not override.startswith("+"):
            continue
        key = override.lstrip("+").split("=")[0]
        parts = key.split(".")
        nodes = [OmegaConf.select(cfg, ".".join(parts[:end])) for end in range(1, len(parts))]
        targets = [node["_target_"] for node in nodes if isinstance(node, DictConfig) and "_target_" in node]
        known = inspect.signature(get_method(targets[-1])).parameters if targets else {}
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        if parts[-1] not in known and not takes_any:
            place = nodes[-1] if nodes else cfg
            has = sorted(known) or sorted(map(str, place)) if isinstance(place, DictConfig) else []
            raise InputError(f"{key}: unknown key. Its place has {has}. Correct the name or leave it out.")


def check_triplets(cfg: DictConfig) -> None:
    """Refuses a loss of triplets on a dataset that does not say what its triplets are.

    Raises:
        InputError: With the losses that need none.
    """
    try:
        OmegaConf.to_container(cfg.loss, resolve=True)
    except InterpolationKeyError as error:
        raise InputError(
            f"dataset={cfg.dataset.name}: has no `triplets` (item, group, mining, distance and more), needed by this "
            "loss. Use loss=contrastive, or add them to the dataset's YAML."
        ) from error


def check_monitor(monitor: str, validated: Sequence[Mapping[str, float]]) -> None:
    """Refuses a `loss.monitor` that validation does not measure.

    Args:
        monitor: Its name.
        validated: What `Trainer.validate` returned; empty where nothing was validated.

    Raises:
        InputError: With what is measured.
    """
    measured = [name for metrics in validated for name in metrics]
    if monitor not in measured:
        raise InputError(
            f"loss.monitor={monitor}: not measured in validation. Expected one of {', '.join(sorted(measured))}."
            if measured
            else f"loss.monitor={monitor}: nothing was validated, so no best checkpoint can be chosen. Leave "
            "trainer.limit_val_batches above 0."
        )
