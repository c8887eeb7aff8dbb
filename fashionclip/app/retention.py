"""What a model still knows of another dataset than the one it is trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from fashionclip.app.metrics import embedded_split, metrics_of
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.evaluation.tasks import run_tasks
from fashionclip.evaluation.zero_shot import ZeroShot
from fashionclip.training.callbacks import CollapseWarning
from fashionclip.training.epochs import EpochLines
from fashionclip.training.module import RetrievalModule


class Retention:
    """Measures a model on val of a dataset that it is not trained on.

    Args:
        data: Data of that dataset.
        functions: Functions by the names of their metrics, as in `configs/metrics`.
        monitor: Metric on val that is measured beside zero-shot accuracy.
    """

    def __init__(
        self, data: RetrievalDataModule, *, functions: Mapping[str, Callable[..., Tensor]], monitor: str
    ) -> None:
        self.data, self.functions, self.monitor = data, functions, monitor

    @property
    def root(self) -> Path:
        """Folder of the dataset."""
        return self.data.rows.root

    def measure(self, trainer: L.Trainer, module: RetrievalModule) -> dict[str, float]:
        """`zero_shot`, the share of photos whose category prompts name right, and the monitored metric; nan where the
        dataset has no categories, or lacks what the metric needs.

        Nothing is logged or said, and training draws the same random numbers as without it.
        """
        loggers, own, judged = trainer.loggers, module.metrics, module.judged
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        trainer.loggers, module.judged = [], None
        of_training = EpochLines, CollapseWarning  # what they say would be taken for the training's own val
        trainer.callbacks = [  # type: ignore[attr-defined]
            one for one in callbacks if not isinstance(one, of_training)
        ]
        module.metrics = metrics_of(self.data, functions=self.functions)
        with torch.random.fork_rng(devices=[]):  # a data loader draws a seed for its workers
            (measured,) = trainer.validate(module, self.data, verbose=False)
        found, _ = run_tasks({"zero_shot": (ZeroShot("category"), {})}, embedded_split(module, self.data))
        trainer.loggers, module.metrics, module.judged = loggers, own, judged
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
        accuracy = found.figures.get("zero_shot/accuracy")
        return {
            "zero_shot": math.nan if accuracy is None else accuracy.item(),
            self.monitor: measured.get(self.monitor, math.nan),
        }


def told_retention(root: Path, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """What was measured before and after training, as a line."""
    known = [f"{name} {value:.3f} -> {after[name]:.3f}" for name, value in before.items() if not math.isnan(value)]
    return f"retention, val of {root}: {', '.join(known) or 'it has no categories, and not the monitored metric'}"
