"""Averages of the weights over the steps of a training, in place of the last ones."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor


class Averaging(WeightAveraging):
    """Validates and keeps an average of the weights; what trains stays the weights themselves.

    Checkpoints hold the average as their weights, and those that train, to go on from, beside it.

    Args:
        decay: Share of the average that each step leaves, in [0, 1). It is less at first, (1 + n) / (10 + n) after
            n steps, so that a short training is no average with its beginning. None: all steps count alike.
        start: Share of the steps, in [0, 1), until whose end the average is the weights themselves.

    Source: Polyak & Juditsky 1992; with `decay=None` and a late start, Izmailov et al. 2018, "Averaging Weights Leads
        to Wider Optima and Better Generalization" (SWA).
    """

    def __init__(self, *, decay: float | None = 0.999, start: float = 0.0) -> None:
        self.decay, self.start = decay, start
        super().__init__(multi_avg_fn=self.average)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the module is not there yet
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.before = int(self.start * trainer.estimated_stepping_batches)

    @torch.no_grad()
    def average(self, averages: list[Tensor], weights: list[Tensor], steps: Tensor | int) -> None:
        """Moves the averages of a number of steps, in place, towards the weights of the next one."""
        n = int(steps) - self.before
        left = 0.0 if n < 1 else n / (n + 1) if self.decay is None else min(self.decay, (1 + n) / (10 + n))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                moved = average.lerp(weight, 1 - left)
                average.copy_(torch.where(average == weight, weight, moved))  # -inf of masks would become NaN
            else:  # such as the number of batches that a batch norm has seen
                average.copy_(weight)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # else Lightning's would validate the average of a fit that is over
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves the average in place, since what the module chooses at the end of a validation belongs to it."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # else Lightning's would test the weights that trained
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
