"""LP-FT: the heads are trained alone at first, then all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from fashionclip.models.backbone import Backbone


class HeadsFirst(L.Callback):
    """Holds back what is below the heads for a share of the steps that are planned.

    Args:
        backbone: Backbone that is trained.
        below: Parameters that are trained in the end, but not at first.
        share: Share of the steps, in [0, 1).
    """

    def __init__(self, backbone: Backbone, *, below: Sequence[nn.Parameter], share: float) -> None:
        self.backbone, self.below, self.share = backbone, below, share
        self.alone: bool | None = None  # whether the heads are, at this step

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.until = self.share * trainer.estimated_stepping_batches

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        alone = trainer.global_step < self.until
        if alone == self.alone:
            return
        self.alone = alone
        for parameter in self.below:
            parameter.requires_grad_(not alone)
        self.backbone.train()
        if isinstance(trainer.strategy, DDPStrategy):  # it waits for the gradients that it saw when it was set up
            trainer.strategy.model = pl_module
            trainer.strategy.configure_ddp()
        if not alone and trainer.is_global_zero:
            print(f"step {trainer.global_step}: all is trained now, not the heads alone")
