"""A trial of Optuna's ends early where earlier ones did better by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

if TYPE_CHECKING:
    from optuna import Trial


class PruneTrial(L.Callback):
    """Reports each validation to a trial, and stops the training where the trial's pruner says so.

    What was trained until then is tested and kept as of any run.

    Args:
        trial: Trial that the training is; gets the attribute `pruned` where it is stopped.
        monitor: Validation metric to report.
    """

    def __init__(self, *, trial: Trial, monitor: str) -> None:
        self.trial, self.monitor = trial, monitor
        self.validations = 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self.validations += 1
        pruned = trainer.is_global_zero and self._falls_behind(trainer.callback_metrics[self.monitor].item())
        if trainer.strategy.broadcast(pruned):
            trainer.should_stop = True

    def _falls_behind(self, value: float) -> bool:
        self.trial.report(value, step=self.validations)
        if not self.trial.should_prune():
            return False
        self.trial.set_user_attr("pruned", True)
        print(f"stopped early: most earlier trials did better by validation {self.validations}")
        return True
