"""What a training run says of itself while it runs: a line a validation, and which one was the best."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor


class EpochLines(L.Callback):
    """Prints a line after each validation, keeps what the best one measured, and says at the end which it was.

    Args:
        monitor: Validation metric that says which is the best, such as "val/text_to_image/recall@10".
        mode: Whether its highest value is the best ("max") or its lowest ("min").

    Attributes:
        best: Metrics of the training's best validation, by name; empty before the first one.
        best_epoch: Number of the epoch, from 1, that it followed.
    """

    def __init__(self, *, monitor: str, mode: str = "max") -> None:
        self.monitor, self.sign = monitor, 1 if mode == "max" else -1
        self.best: dict[str, float] = {}
        self.best_epoch = 0
        self.losses: list[Tensor] = []  # since the last validation

    def state_dict(self) -> dict[str, Any]:
        losses = [loss.item() for loss in self.losses]
        return {"best": self.best, "best_epoch": self.best_epoch, "losses": losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.losses = [torch.tensor(loss) for loss in state_dict["losses"]]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(trainer.callback_metrics["train/loss"])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self.monitor not in measured:
            return
        line = f"{self.monitor} {measured[self.monitor]:.3f}"
        if trainer.state.fn != TrainerFn.FITTING:
            if not self.best:
                self._say(trainer, f"before training   {line}")
            return
        epoch = trainer.current_epoch + 1
        if not self.best or _worth(self.sign * measured[self.monitor]) > _worth(self.sign * self.best[self.monitor]):
            self.best, self.best_epoch = measured, epoch
            line += "   best so far"
        loss = torch.stack(self.losses).mean().item() if self.losses else math.nan
        self.losses.clear()
        of = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""  # -1 where trainer.max_steps ends it
        self._say(trainer, f"epoch {epoch}{of}   loss {loss:.3f}   {line}")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.best:
            return
        self._say(trainer, f"best: {self.monitor} {self.best[self.monitor]:.3f}, after epoch {self.best_epoch}")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
                reason = callback.stopping_reason_message.replace(" Signaling Trainer to stop.", "")
                self._say(trainer, f"stopped early: {reason}")
            if isinstance(callback, Timer) and (callback.time_remaining() or 1) <= 0:
                self._say(trainer, "stopped early: trainer.max_time is over")

    def _say(self, trainer: L.Trainer, line: str) -> None:
        if trainer.is_global_zero:
            print(line)


def _worth(value: float) -> float:
    return -math.inf if math.isnan(value) else value
