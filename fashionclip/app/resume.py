"""A run that was stopped or killed goes on in its own folder, exactly: `python train.py resume=RUN`.

The run's own config says how, so as with `--again` only of runs that you trust; its checkpoint is read as data alone.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig, OmegaConf, open_dict

from fashionclip.app.again import CONFIG
from fashionclip.app.checkpoint import load_checkpoint, named
from fashionclip.app.config import plain
from fashionclip.atomic import write_text
from fashionclip.errors import InputError
from fashionclip.models.folder import CONFIG as MODEL

FREE = re.compile(  # what may be given anew, since it does not change what is trained
    r"resume|dataset_fingerprint|logger\b.*|callbacks\.last\..*|data\.num_workers|trainer\."
    "(max_epochs|max_time|enable_progress_bar|log_every_n_steps|profiler)"
)


def last_checkpoint(run: Path) -> dict[str, Any]:
    """What a run's `last.ckpt` says of it: `config`, `epoch`, `global_step`, and the `architecture` of its model.

    Raises:
        InputError: There is none, or nothing can go on from it.
    """
    file = run / "checkpoints" / "last.ckpt"
    again = f" To train it anew: python train.py --again {shlex.quote(str(run))}"
    if not file.is_file():
        raise InputError(f"resume={run}: no {file}, so there is nothing to go on from.{again}")
    try:
        checkpoint = load_checkpoint(file, key="resume")
    except InputError as error:
        raise InputError(f"{error}{again}") from error
    if "LastCheckpoint" not in checkpoint.get("callbacks", {}):
        raise InputError(f"resume={run}: {file} is of an older version, and lacks what it takes to go on.{again}")
    known = {key: checkpoint[key] for key in ("config", "epoch", "global_step")}
    return known | {"architecture": json.loads(checkpoint["backbone"][MODEL])["model_cfg"]}


def check_resumed(cfg: DictConfig, last: dict[str, Any], *, fingerprint: str) -> None:
    """Refuses to go on with something else than was begun, or with what is done.

    Args:
        cfg: The composed config.
        last: Last checkpoint, as `last_checkpoint` reads it.
        fingerprint: Fingerprint of the dataset as it is now.

    Raises:
        InputError: Naming what differs, and the way on.
    """
    run, then, now = Path(cfg.resume), last["config"], named(plain(cfg))
    if then["dataset_fingerprint"] != fingerprint:
        raise InputError(
            f"resume={run}: {cfg.dataset.root} holds another dataset than the run was begun with. Prepare it as it "
            f"was, or train anew: python train.py --again {shlex.quote(str(run))}"
        )
    if cfg.trainer.get("overfit_batches") or "StochasticWeightAveraging" in str(now["callbacks"]):
        raise InputError(
            f"resume={run}: with trainer.overfit_batches or Lightning's StochasticWeightAveraging a training cannot go "
            "on exactly, since neither the order of its batches nor the average is kept. Train anew."
        )
    moved = str(Path(then["callbacks"]["checkpoint"]["dirpath"]).parent), str(run)
    before = {key: value.replace(*moved) if isinstance(value, str) else value for key, value in _leaves(then)}
    after = dict(_leaves(now))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key) and not FREE.fullmatch(key)]
    if changed:
        what = ", ".join(
            f"{key} is {after.get(key, 'left out')}, was {before.get(key, 'not there')}" for key in changed[:3]
        )
        raise InputError(
            f"resume={run}: {what}. What has been trained with one cannot go on with the other. Leave it out; or begin "
            f"a run of its own: python train.py --again {shlex.quote(str(run))} KEY=VALUE"
        )
    results, longer = run / "results.json", before["trainer.max_time"] != after["trainer.max_time"]
    old, new = before["trainer.max_epochs"], after["trainer.max_epochs"]
    if 0 < new < old:
        raise InputError(f"resume={run}: trainer.max_epochs={new}, was {old}. It can be raised, not lowered.")
    if new == old and not longer and results.is_file() and "stopped" not in json.loads(results.read_text()):
        raise InputError(
            f"resume={run}: is finished; its results are in {results}. To train it longer give a higher "
            f"trainer.max_epochs (was {old}) or another trainer.max_time."
        )


def check_architecture(run: str, last: dict[str, Any], architecture: Mapping[str, Any]) -> None:
    """Refuses to go on where the model of that name was another one then.

    Raises:
        InputError: Saying which tower differs.
    """
    if differing := [
        tower for tower in ("vision_cfg", "text_cfg") if last["architecture"][tower] != architecture[tower]
    ]:
        raise InputError(
            f"resume={run}: it was begun with an earlier version, whose model of the same name has another "
            f"{' and '.join(differing)}. Go on with that version, or train anew: python train.py --again "
            f"{shlex.quote(run)}"
        )


def go_on(cfg: DictConfig, last: dict[str, Any], loggers: Sequence[Logger]) -> list[str]:
    """Brings the run's folder to where its last checkpoint was written; returns lines that say where it goes on.

    A raised `trainer.max_epochs` is kept in the run's config.
    """
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            _cut_table(logger, step=last["global_step"])
    old, new = last["config"]["trainer"]["max_epochs"], cfg.trainer.max_epochs
    lines = [f"{cfg.resume}: goes on after step {last['global_step']}, in epoch {last['epoch'] + 1}"]
    if new != old:
        file = Path(cfg.resume) / CONFIG
        config = OmegaConf.load(file)
        config.trainer.max_epochs = new
        write_text(file, OmegaConf.to_yaml(config))
        lines.append(
            f"trainer.max_epochs is {new}, was {old}: a schedule over all steps is that of {new} epochs from here"
        )
    return lines


def continue_loggers(loggers: DictConfig, run: Path, *, step: int) -> None:
    """Has TensorBoard hide what was logged from a step on, and W&B go on with the run that it has in the folder."""
    of_wandb = sorted(run.glob("wandb/*run-*-*"))
    for node in filter(None, loggers.values()):
        with open_dict(node):
            if node["_target_"].endswith(".TensorBoardLogger"):
                node.purge_step = step
            elif node["_target_"].endswith(".WandbLogger") and of_wandb:
                node.id, node.resume = of_wandb[0].name.rpartition("-")[2], "allow"


def _cut_table(logger: CSVLogger, *, step: int) -> None:
    """Keeps the rows of `metrics.csv` that were logged before a step; Lightning itself begins an empty one."""
    file = Path(logger.log_dir) / "metrics.csv"
    kept = file.with_suffix(".kept")  # so that a kill here leaves one of the two
    if file.is_file():
        rows = [
            row
            for row in csv.DictReader(file.open(newline=""))
            if (row["step"] or "").isdecimal() and int(row["step"]) < step
        ]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["step"])
        writer.writeheader()
        writer.writerows(rows)
        write_text(kept, text.getvalue())
    table = logger.experiment  # which deletes the file
    if kept.is_file():
        with kept.open(newline="") as stream:
            table.metrics_keys = next(csv.reader(stream))
        os.replace(kept, file)


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict) or not node:
        yield key, node
        return
    for name, value in node.items():
        yield from _leaves(value, f"{key}.{name}" if key else str(name))
