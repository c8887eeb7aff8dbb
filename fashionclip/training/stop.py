"""Ctrl-C and SIGTERM end a training with an exit code that is not 0, and a line that says what is kept.

Lightning ends the program by itself at both: with exit code 1 at Ctrl-C, with 0 at SIGTERM, and without a word.
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
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint

from fashionclip.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal(L.Callback):
    """Raises `Stopped` where a signal finds the training. Listens from when it is made.

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
        self._listen()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.trainer = trainer

    # Each of them listens again, since Lightning puts a handler of its own before; and raises again what was lost:
    # Python drops an exception that a signal raises while an object is deleted, such as a loader.

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._listen()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._listen()

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._listen()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._handle(signal.SIG_IGN)  # it is ending
        started = getattr(trainer.strategy.launcher, "procs", [])
        children = list(started)
        started.clear()  # Lightning watches this list, and kills this process when one in it has been killed
        for child in children:
            child.kill()

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
        if os.getpid() != self.process:  # a loading process, which has taken the handler over
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.stopped = Stopped(self._kept(signal.Signals(number).name), code=128 + number)
        raise self.stopped

    def _kept(self, name: str) -> str:
        if self.trainer is not None and not self.trainer.is_global_zero:
            return ""
        checkpoint = self.trainer and self.trainer.checkpoint_callback
        if not isinstance(checkpoint, ModelCheckpoint) or not Path(checkpoint.best_model_path).is_file():
            return f"stopped by {name} before the first checkpoint: no weights are kept; run folder: {self.folder}"
        score = f" ({checkpoint.monitor} {checkpoint.best_model_score:.3f})" if checkpoint.monitor else ""
        return (
            f"stopped by {name}; kept: {checkpoint.best_model_path}, the best so far{score}, without results.json: "
            f"python evaluate.py {shlex.quote(f'ckpt={self.folder}')} measures it; run folder: {self.folder}"
        )


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
