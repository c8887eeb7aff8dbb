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

from fashionclip.app.metrics import metrics_of
from fashionclip.app.run_folder import mode_of
from fashionclip.atomic import whole_file
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.errors import InputError
from fashionclip.models.folder import read_weights
from fashionclip.training.module import RetrievalModule

PREFIX = "backbone."


def check_wise_ft(cfg: DictConfig) -> None:
    """Refuses shares that are none, what has no weights between, and a dataset that would not be measured.

    Raises:
        InputError: `wise_ft.alphas` is no list of numbers from 0 to 1, or the training adds adapters (LoRA); or
            `wise_ft.retention` is no folder, given without shares, or would be measured by its judgements.
    """
    alphas, known = (OmegaConf.select(cfg, f"wise_ft.{key}") for key in ("alphas", "retention"))
    if not (known is None or isinstance(known, str)):
        raise InputError(f"wise_ft.retention={known}: expected the folder of a prepared dataset, or null.")
    if alphas is None and known is not None:
        raise InputError(
            f"wise_ft.retention={known}: needs wise_ft.alphas, at whose shares it is measured, such as "
            "wise_ft.alphas=[0,0.25,0.5,0.75,1]. Set them, or leave it out."
        )
    if alphas is None:
        return
    if known is not None and cfg.loss.monitor.startswith("val/judgement/"):
        raise InputError(
            f"wise_ft.retention={known}: of another dataset no judgements are measured, but loss.monitor="
            f"{cfg.loss.monitor}. Set loss.monitor=val/text_to_image/recall@10 or val/loss, or leave retention out."
        )
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
    retention: RetrievalDataModule | None = None,
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
        retention: Data of what the model knew before, of which val is measured as well.

    Returns:
        Table of `alpha`, the monitored metric, `retention` (NaN where it is not measured) and whether it is `chosen`;
        and all metrics of val at the chosen share.
    """
    loggers, trainer.loggers = trainer.loggers, []
    own = module.metrics
    known = None if retention is None else metrics_of(retention, functions=own.functions)
    kept = read_weights(checkpoint)
    trained = kept.get("trained", kept["state_dict"])  # of a run that goes on, the weights may lie between already
    before = {f"{PREFIX}{name}": value for name, value in before.items()}
    sign = 1 if mode_of(monitor) == "max" else -1
    rows, best, chosen, state = [], -math.inf, {}, {}
    for alpha in sorted(alphas):
        module.load_state_dict(mixed(before, trained, alpha=alpha))
        (measured,) = trainer.validate(module, data, verbose=False)
        rows.append({"alpha": float(alpha), monitor: measured[monitor], "retention": math.nan})
        if retention is not None and known is not None:
            judged, module.metrics, module.judged = module.judged, known, None
            (also,) = trainer.validate(module, retention, verbose=False)
            module.metrics, module.judged = own, judged
            rows[-1]["retention"] = also.get(monitor, math.nan)
            if monitor not in also and alpha == min(alphas) and trainer.is_global_zero:
                print(f"wise_ft.retention: {monitor} is not measured on val of {retention.rows.root}, which lacks it")
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
        retention = "" if math.isnan(row["retention"]) else f"   retention {row['retention']:.3f}"
        mark = "   chosen" if row["chosen"] else ""
        lines.append(f"  {row['alpha']:.2f}   {row[monitor]:.3f}{retention}{mark}")
    return "\n".join(lines)
