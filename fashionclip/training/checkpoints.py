"""How a training writes its checkpoints, and what of them it needs to go on exactly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from fashionclip import distributed
from fashionclip.atomic import whole_file
from fashionclip.errors import InputError, Stopped


class WholeCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place and renames it, so that a kill or a full disk leaves the one before.

    Lightning writes to the folder of temporary files and moves: on another file system that is a copy, which can tear.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:  # with which torch covers what ended a write: a full disk, or a signal
                if isinstance(error.__context__, (OSError, KeyboardInterrupt, Stopped)):
                    raise error.__context__ from None
                raise


class LastCheckpoint(L.Callback):
    """Writes `last.ckpt`, from which `train.py resume=RUN` goes on as if nothing had been.

    It is written between two steps, when all that belongs to the first one is done (validation, schedules, callbacks):
    before the first step of an epoch, before others every so often, and at the end.

    Args:
        dirpath: Folder of the checkpoint.
        minutes: Number of minutes after which the next step writes one; null: never.
        steps: Number of steps after which one is written; null: no matter how many.
    """

    def __init__(self, *, dirpath: str, minutes: float | None = 10, steps: int | None = None) -> None:
        self.path = Path(dirpath) / "last.ckpt"
        self.minutes, self.steps = minutes, steps
        self.finished = False
        self.resumed: dict[str, Any] = {}  # what is left to restore when the loops run
        self.written = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.resumed:
            # Lightning counts a step twice where a validation lies before it
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self._restore(trainer, pl_module.device)
        if not between_steps(trainer, batch_idx):
            return
        late = self.minutes is not None and time.monotonic() - self.written >= 60 * self.minutes
        if (
            batch_idx == 0
            or (self.steps is not None and trainer.global_step % self.steps == 0)
            or bool(distributed.summed(torch.tensor(float(late), device=pl_module.device)))  # clocks differ
        ):
            self.write(trainer)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.resumed and trainer.state.fn == TrainerFn.FITTING:
            self._restore(trainer, pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.finished = True
        self.write(trainer)

    def write(self, trainer: L.Trainer) -> None:
        """Writes the checkpoint, unless there is nothing to go on from yet."""
        if trainer.fast_dev_run or not trainer.global_step:  # type: ignore[attr-defined]
            return
        for logger in trainer.loggers:
            logger.save()  # so that no row of before it is lost
        with _at_rest(trainer):
            trainer.save_checkpoint(self.path)
        self.written = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        states: list[Any] = [None] * distributed.world_size()
        if len(states) > 1:
            dist.all_gather_object(states, _random_states())
        else:
            states = [_random_states()]
        return {"finished": self.finished, "random": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.resumed = state_dict

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint["callbacks"]
        for callback in trainer.checkpoint_callbacks:  # which forget what they know where the folder was moved
            if isinstance(callback, ModelCheckpoint) and callback.state_key in states:
                state = states[callback.state_key]
                states[callback.state_key] = _moved(state, state["dirpath"], str(callback.dirpath))
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if (processes := len(states[self.state_key]["random"])) != distributed.world_size():
            raise InputError(
                f"{self.path}: written by {processes} processes that trained together, and now there are "
                f"{distributed.world_size()}. Set trainer.devices (and trainer.num_nodes) as they were."
            )
        then, now = checkpoint["config"]["trainer"], getattr(pl_module, "config", {})["trainer"]
        longer = any(then[key] != now[key] for key in ("max_epochs", "max_time"))
        trainer.should_stop = states[self.state_key]["finished"] and not longer

    def _restore(self, trainer: L.Trainer, device: torch.device) -> None:
        states = self.resumed["random"][distributed.rank()]
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], device)
        trainer.fit_loop._restarting = False  # else Lightning leaves out the schedule's step at this epoch's end
        self.resumed = {}


def between_steps(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether a batch begins a step, and not only adds its gradients to it."""
    return batch_idx % trainer.accumulate_grad_batches == 0


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(below, old, new) for key, below in value.items()}
    return new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value


@contextmanager
def _at_rest(trainer: L.Trainer) -> Iterator[None]:
    """Lightning's counts without the batch of training or validation that it has begun to count."""
    loop = trainer.fit_loop.epoch_loop
    progress = loop.val_loop.batch_progress if trainer.validating else loop.batch_progress
    counted = progress.state_dict()
    for count in (progress.total, progress.current):
        if trainer.validating:  # as Lightning has it in the first step: the validation begins anew
            count.load_state_dict({"ready": 1, "started": 1, "processed": 0, "completed": 0})
        else:
            count.ready = count.completed
    progress.is_last_batch = False
    try:
        yield
    finally:
        progress.load_state_dict(counted)


def _random_states() -> dict[str, Tensor]:
    """States of torch's generators in this process; nothing else is drawn from in training."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else states
