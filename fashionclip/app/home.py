"""`~` is the user's home folder wherever a path is given; shells see to that only at the beginning of a word."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf


def expand_words(words: Sequence[str]) -> list[str]:
    """Expands it in overrides of a command line, such as `dataset.source=~/photos`, which Hydra could not read."""
    parted = (word.partition("=~/") for word in words)
    return [f"{key}={os.path.expanduser('~/')}{rest}" if equals else key for key, equals, rest in parted]


def expand_config(cfg: DictConfig | ListConfig) -> None:
    """Expands it in the texts of a config, of whatever depth."""
    keys: Any = list(cfg) if isinstance(cfg, DictConfig) else range(len(cfg))
    for key in keys:
        if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key):
            continue
        value = cfg[key]
        if isinstance(value, DictConfig | ListConfig):
            expand_config(value)
        elif isinstance(value, str) and value.startswith("~/"):
            cfg[key] = os.path.expanduser(value)


def expand_options(options: argparse.Namespace) -> None:
    """Expands it in the paths of a command line."""
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, Path(os.path.expanduser(value)))
