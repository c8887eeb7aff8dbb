"""Weights between those of before training and those of after it: often as good on what was trained for, and better on
what the model knew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
import pandas as pd
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from fashionclip.app.retention import Retention
from fashionclip.app.run_folder import mode_of
from fashionclip.atomic import whole_file
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.errors import InputError
from fashionclip.models.folder import read_weights
from fashionclip.training.module import RetrievalModule

PREFIX = "backbone."
STILL = ("zero_shot", "retention")  # columns of what the model knew before


def check_wise_ft(cfg: DictConfig) -> None:
    """Refuses shares that are none, what has no weights between, and a dataset that is none.

    Raises:
        InputError: `wise_ft.alphas` is no list of numbers from 0 to 1, or the training adds adapters (LoRA); or
            `retention` is no folder.
    """
    alphas, known = (OmegaConf.select(cfg, key) for key in ("wise_ft.alphas", "retention"))
    if not (known is None or isinstance(known, str)):
        raise InputError(f"retention={known}: expected the folder of a prepared dataset, or null.")
    if alphas is None:
        return
    numbers = alphas if isinstance(alphas, ListConfig) else [None]
    if not numbers or not all(isinstance(a, int | float) and not isinstance(a, bool) and 0 <= a <= 1 for a in numbers):
        raise InputError(
            f"wise_ft.alphas={alphas}: expected numbers from 0 (weights of before training) to 1 (those of after it), "
            "such as [0, 0.25, 0.5, 0.75, 1], or null."
        )
    if OmegaConf.select(cfg, "tuning.lora_rank") is not None:
        raise InputError(
            "wise_ft.alphas: between a model and one with adapters (tuning.lora_rank) there are no weights. Use "
            "another tuning, or wise_ft.alphas=null."
        )


def mixed(before: Mapping[str, Tensor], after: Mapping[str, Tensor], *, alpha: float) -> dict[str, Tensor]:
    """Each weight at a share of the way from before training to after it.

    What is no number with a point, or was added by training, is that of after it.

    Args:
        before: Weights of before training, by name.
        after: Weights of after training.
        alpha: Share, in [0, 1].

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", equation 1.
    """
    return {
        name: torch.lerp(before[name].to(value), value, alpha)
        if name in before and value.is_floating_point()
        else value
        for name, value in after.items()
    }


def choose_weights(
    trainer: L.Trainer,
    module: RetrievalModule,
    data: RetrievalDataModule,
    *,
    before: Mapping[str, Tensor],
    checkpoint: Path,
    alphas: Sequence[float],
    monitor: str,
    retention: Retention | None = None,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Measures val at each share of the way, and puts the best weights into the checkpoint.

    Args:
        trainer: Trainer that has fitted the module. Nothing of this is logged.
        module: Module of the training.
        data: Data of the training.
        before: Weights of the backbone before training.
        checkpoint: Best checkpoint of the training, whose weights are replaced, and kept beside as `trained`.
        alphas: Shares, in [0, 1].
        monitor: Metric on val by which the best is chosen; of equal ones the nearest to before training.
        retention: Measures of what the model knew before.

    Returns:
        Table of `alpha`, the monitored metric, `zero_shot` and `retention`, zero-shot accuracy and the monitored metric
        of what it knew before (NaN where they are not measured), and whether it is `chosen`; and all metrics of val at
        the chosen share.
    """
    loggers, trainer.loggers = trainer.loggers, []
    kept = read_weights(checkpoint)
    trained = kept.get("trained", kept["state_dict"])  # of a run that goes on, the weights may lie between already
    before = {f"{PREFIX}{name}": value for name, value in before.items()}
    sign = 1 if mode_of(monitor) == "max" else -1
    rows, best, chosen, state = [], -math.inf, {}, {}
    for alpha in sorted(set(alphas)):
        module.load_state_dict(mixed(before, trained, alpha=alpha))
        (measured,) = trainer.validate(module, data, verbose=False)
        known = {} if retention is None else retention.measure(trainer, module)
        still = {"zero_shot": known.get("zero_shot", math.nan), "retention": known.get(monitor, math.nan)}
        rows.append({"alpha": float(alpha), monitor: measured[monitor], **still})
        if sign * measured[monitor] > best:
            best, chosen = sign * measured[monitor], dict(measured)
            # what a validation chooses, such as the threshold of judgements, goes with the weights
            state = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
    if trainer.is_global_zero:
        with whole_file(checkpoint) as stream:
            torch.save(kept | {"state_dict": state, "trained": trained}, stream)
    trainer.strategy.barrier()
    trainer.loggers = loggers
    curve = pd.DataFrame(rows)
    return curve.assign(chosen=curve.index == (sign * curve[monitor]).idxmax()), chosen


def told(curve: pd.DataFrame, *, monitor: str) -> str:
    """The table of `choose_weights` as text."""
    lines = [f"weights between before training (0) and after it (1): {monitor}"]
    for _, row in curve.iterrows():
        known = "".join(f"   {name} {row[name]:.3f}" for name in STILL if not math.isnan(row[name]))
        lines.append(f"  {row['alpha']:.2f}   {row[monitor]:.3f}{known}{'   chosen' if row['chosen'] else ''}")
    return "\n".join(lines)
