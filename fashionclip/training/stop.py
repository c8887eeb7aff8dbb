"""Ctrl-C, SIGTERM and SIGUSR1 end a training with an exit code that is not 0, and a line that says how to go on.

Lightning ends the program by itself: with exit code 1 at Ctrl-C, with 0 at SIGTERM, and without a word.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint

from fashionclip import distributed
from fashionclip.errors import Stopped
from fashionclip.training.checkpoints import LastCheckpoint, between_steps

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # the last: of SLURM, before it takes the machine away
INTERRUPTED = 128 + signal.SIGINT


class StopOnSignal(L.Callback):
    """Raises `Stopped` where a signal finds the training. Listens from when it is made.

    Steps are not torn: the step at hand is done first, and `last.ckpt` written, on all processes alike. A second signal
    ends at once.

    Where Lightning started the other processes of a training, the first one ends them, whatever ends itself: then they
    have nothing to say, and on a GPU they would wait for the first one for ever.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = os.getpid()
        self.trainer: L.Trainer | None = None
        self.stopped: Stopped | None = None
        self.stepping = False  # so that a signal has to wait
        self.asked: int | None = None  # by which signal, while it waits
        self._listen()

    @property
    def at_once(self) -> bool:
        """Whether a signal has ended it without waiting for the step at hand."""
        return self.stopped is not None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.trainer = trainer

    # Each of them listens again, since Lightning puts a handler of its own before; and raises again what was lost:
    # Python drops an exception that a signal raises while an object is deleted, such as a loader.

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._listen()
        self.stepping = True
        if between_steps(trainer, batch_idx):
            self._end_if_asked(trainer, pl_module.device)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._listen()
        if self.stepping:
            self._end_if_asked(trainer, pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stepping = False

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._listen()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.stepping = False
        if isinstance(exception, Stopped) and exception.code == INTERRUPTED and self.asked is not None:
            return  # all processes go on to the results
        self._handle(signal.SIG_IGN)  # it is ending
        started = getattr(trainer.strategy.launcher, "procs", [])
        children = list(started)
        started.clear()  # Lightning watches this list, and kills this process when one in it has been killed
        for child in children:
            child.kill()

    def _end_if_asked(self, trainer: L.Trainer, device: torch.device) -> None:
        """Ends the training on all processes if one of them was asked to.

        Raises:
            Stopped: With what is kept.
        """
        asked = distributed.summed(torch.tensor([self.asked == number for number in SIGNALS], device=device).int())
        if not asked.any():
            return
        self.asked = SIGNALS[int(asked.argmax())]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.write(trainer)
        raise Stopped(self._kept(), code=128 + self.asked)

    def _listen(self) -> None:
        if self.stopped is not None:
            raise self.stopped
        started_by_lightning = int(os.environ.get("LOCAL_RANK", 0)) > 0 and not dist.is_torchelastic_launched()
        self._handle(signal.SIG_IGN if started_by_lightning else self._stop)

    def _handle(self, handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in SIGNALS:
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a loading process that has just begun, and does not ignore it yet
            return
        wait = self.stepping and self.asked is None
        self.asked = number
        if wait:
            return
        self.stopped = Stopped(self._kept(), code=128 + number)
        raise self.stopped

    def _kept(self) -> str:
        """What a signal has left, and how to go on; nothing where another process says it."""
        if self.trainer is not None and not self.trainer.is_global_zero:
            return ""
        said, checkpoint = f"stopped by {signal.Signals(self.asked or 0).name}", None
        if (self.folder / "checkpoints" / "last.ckpt").is_file():
            said += f"; python train.py {shlex.quote(f'resume={self.folder}')} goes on"
        if self.trainer is not None:
            checkpoint = self.trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and Path(checkpoint.best_model_path).is_file():
            score = f" ({checkpoint.monitor} {checkpoint.best_model_score:.3f})" if checkpoint.monitor else ""
            said += f"; kept: {checkpoint.best_model_path}, the best so far{score}"
        elif "goes on" not in said:
            said += " before the first checkpoint: no weights are kept"
        return f"{said}; run folder: {self.folder}"


@contextmanager
def signals_restored() -> Iterator[None]:
    """Puts the handlers of `SIGNALS` back in the end."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
