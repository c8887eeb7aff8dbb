"""Runs the tasks of an evaluation, which YAMLs in `configs/evaluation/` declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from fashionclip.evaluation.embedded_split import EmbeddedSplit, TaskLeftOut
from fashionclip.metrics.samples import Found, Functions, Sample, figures_of


class Task(Protocol):
    """Something to measure on the embedded photos of a split."""

    def __call__(self, split: EmbeddedSplit, functions: Functions, name: str) -> Found:
        """Samples, and figures of no query, whose names begin with `name`.

        Args:
            split: Photos with their embeddings and attributes.
            functions: Functions of `Ranks` with one value a query, by name.
            name: Name of the task, which is that of its direction.

        Raises:
            TaskLeftOut: The dataset lacks what the task needs.
        """


def run_tasks(tasks: Mapping[str, tuple[Task, Functions]], split: EmbeddedSplit) -> tuple[Found, dict[str, str]]:
    """Runs each task.

    Args:
        tasks: Tasks with their metrics, by name.
        split: Photos with their embeddings and attributes.

    Returns:
        What was found; and why tasks were left out, by their names, or something of them, such as a query.
    """
    samples: list[Sample] = []
    figures: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for name, (task, functions) in tasks.items():
        try:
            found = task(split, functions, name)
        except TaskLeftOut as error:
            left_out[name] = str(error)
            continue
        samples += found.samples
        figures |= found.figures
        left_out |= {f"{name}: {what}": why for what, why in found.left_out.items()}
    return Found(samples, figures_of(samples) | figures), left_out
