"""The folder of a run: its own, whatever else begins in the same second, or was there before.

Importing this registers the resolvers `fresh` and `mode_of` of configs/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from fashionclip.atomic import locked, write_text
from fashionclip.errors import InputError

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # variables that are 0 or missing in a first process
LEFT = ("checkpoints/*.ckpt", "results.json")


def fresh_folder(wanted: str) -> str:
    """Makes the folder, or one with a number behind its name where it is there already; returns its name.

    Only the first of several processes that run together does so; the others write nothing there.
    """
    if not _is_first_process():
        return wanted
    for number in count(1):
        name = wanted if number == 1 else f"{wanted}_{number}"
        try:
            Path(name).mkdir(parents=True)
            break
        except FileExistsError:
            continue
    return name


def quoted(value: str) -> str:
    """A value in quotes, as Hydra reads it."""
    return "'" + re.sub(r"([\\'])", r"\\\1", value) + "'"


def mode_of(monitor: str) -> str:
    """Whether the highest value of a metric is the best ("max"), or its lowest ("min"), as of a loss."""
    return "min" if monitor.endswith("loss") else "max"


OmegaConf.register_new_resolver("mode_of", mode_of, replace=True)
OmegaConf.register_new_resolver("fresh", fresh_folder, use_cache=True, replace=True)  # one folder a config


@contextmanager
def own_run_folder(*, resumed: bool = False) -> Iterator[None]:
    """Keeps Hydra's run folder to one run at a time, and to one that leaves weights or results.

    Args:
        resumed: Whether it is the folder of the run that goes on.

    Raises:
        InputError: Another run is at work there, or has left something that would be lost.
    """
    if not _is_first_process():
        yield
        return
    folder = Path(HydraConfig.get().runtime.output_dir)
    busy = f"{folder}: another run is at work in this folder. Choose another hydra.run.dir (or hydra.sweep.dir)."
    with locked(folder / ".lock", name=folder, refuse=busy):
        if not resumed and (
            left := [path.relative_to(folder).as_posix() for pattern in LEFT for path in folder.glob(pattern)]
        ):
            raise InputError(
                f"{folder}: holds {', '.join(sorted(left))} of an earlier run, which would be lost. Choose another "
                "hydra.run.dir (or hydra.sweep.dir), or move the folder away."
            )
        yield


class RunFolderCheck(Callback):
    """Ends the program with a line where the run folder cannot be made or written; Hydra itself ends in a traceback."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        check_folder(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        check_folder(config, "hydra.sweep.dir")


def check_folder(config: DictConfig, key: str) -> None:
    """Makes the folder that a key of the config names, and writes a byte into it.

    Raises:
        SystemExit: It cannot be made or written. (Hydra lets no other exception of a callback pass.)
    """
    try:
        folder = Path(OmegaConf.select(config, key))  # which makes it, where the key is `fresh`
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except (OSError, InterpolationResolutionError) as error:
        raise SystemExit(
            f"error: {key}: cannot be written ({str(error).splitlines()[0]}). Make room there or give another {key}."
        ) from None


def write_run_config(file: Path, cfg: DictConfig) -> None:
    """Writes the config from which the run can be made again, into a folder of its own: `train.py --again`.

    What refers to other values of the config still does, so that one of them can be given anew; what was looked up
    outside of it, such as a variable, is written as it was then. Hydra's part says where runs go.
    """
    hydra: Any = OmegaConf.to_container(HydraConfig.instance().cfg.hydra, resolve=False)  # type: ignore[union-attr]
    if not str(hydra["run"]["dir"]).startswith("${"):  # given: then beside it, with a number behind its name
        hydra["run"]["dir"] = f"${{fresh:{quoted(hydra['run']['dir'])}}}"
    kept = {name: hydra[name] for name in ("run", "sweep", "callbacks")} | {"job": {"chdir": hydra["job"]["chdir"]}}
    raw, resolved = (OmegaConf.to_container(cfg, resolve=resolve) for resolve in (False, True))
    write_text(file, OmegaConf.to_yaml(OmegaConf.create({**_looked_up(raw, resolved), "hydra": kept})))


def _looked_up(raw: Any, resolved: Any) -> Any:
    if isinstance(raw, dict):
        return {key: _looked_up(raw[key], resolved[key]) for key in raw}
    if isinstance(raw, list):
        return [_looked_up(*both) for both in zip(raw, resolved, strict=True)]
    outside = isinstance(raw, str) and set(re.findall(r"\$\{([\w.]+):", raw)) - {"hydra", "mode_of", "oc.select"}
    return resolved if outside else raw


def _is_first_process() -> bool:
    return not any(int(os.environ.get(name, 0)) for name in RANKS)
