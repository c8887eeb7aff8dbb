"""How `train`, `prepare` and `evaluate` start Hydra, as scripts of a clone and as commands of `fashionclip`."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from fashionclip.app import run_folder  # noqa: F401  # whose resolvers configs use
from fashionclip.app.home import expand_words

CONFIGS = Path(__file__).parents[1] / "configs"
OWN_CONFIGS = Path("configs")
Result = TypeVar("Result")


class OwnConfigs(SearchPathPlugin):
    """YAMLs of a folder `configs` where the command is run stand beside fashionclip's own, and before them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if OWN_CONFIGS.is_dir() and not OWN_CONFIGS.samefile(CONFIGS):
            main = SearchPathQuery(provider="main")
            search_path.prepend(provider="own configs", path=f"file://{OWN_CONFIGS.resolve()}", anchor=main)


def add_own_configs() -> None:
    """Lets the folder where the command is run hold configs, and the classes that they name."""
    Plugins.instance().register(OwnConfigs)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a folder `datasets` there is not Hugging Face's


def hydra_command(task: Callable[[DictConfig], Result]) -> Callable[[Sequence[str]], None]:
    """Makes a task, whose module is named as its config, a function of the words of a command line."""

    @wraps(task)
    def command(words: Sequence[str]) -> None:
        line = list(sys.argv)

        @wraps(task)
        def run(cfg: DictConfig) -> Result:
            sys.argv[:] = line  # by which Lightning starts the other processes of a run
            multiprocessing.set_start_method(None, force=True)  # joblib's serves only its own
            leave_out_ratios(cfg, HydraConfig.get().overrides.task)
            return task(cfg)

        add_own_configs()
        sys.argv[1:] = expand_words(words)
        name = task.__module__.rpartition(".")[2]
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)(run)()

    return command


def leave_out_ratios(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Takes `dataset.ratios={train: 0.9, test: 0.1}` as no val, where Hydra keeps the default of what is left out."""
    whole = [override for override in overrides if override.startswith("dataset.ratios={")]
    if whole and isinstance(OmegaConf.select(cfg, "dataset.ratios"), DictConfig):
        values: list[Any] = [OverridesParser.create().parse_override(one).value() for one in whole]
        given = {name for value in values for name in value}
        given |= {one.removeprefix("dataset.ratios.").partition("=")[0] for one in overrides}
        cfg.dataset.ratios.update({name: 0.0 for name in cfg.dataset.ratios if name not in given})
