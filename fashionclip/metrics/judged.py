"""Collects the scores of an evaluation pass's judgements over all processes and hands them to the measures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from fashionclip.metrics.gathered import first_of_each, joined
from fashionclip.metrics.judgement import (
    Reliability,
    accuracy,
    auroc,
    average_precision,
    best_threshold,
    calibration_error,
    f1,
    fit_probability,
    reliability,
)

MATCH = "match"


class JudgementMetrics(Metric):
    """Measures of verdicts, of all and against each kind of mismatch; a judgement that comes twice counts once.

    The threshold of the verdict, and scale and bias of the probability of a match (sigmoid of scale x cosine + bias),
    are chosen on one pass, with `choosing`, and used on the others. They travel in the checkpoint.

    Args:
        kind: (J,) kind of each judgement of the dataset, as a position in `kinds`.
        kinds: Names; that of matches is "match".

    Attributes:
        choosing: Whether the next `compute` chooses them anew.
        threshold, scale, bias: Scalars.
        calibration: Of the last `compute`, on the CPU.
    """

    full_state_update = False
    cosine: list[Tensor]
    label: list[Tensor]
    judgement_id: list[Tensor]
    threshold: Tensor
    scale: Tensor
    bias: Tensor
    calibration: Reliability

    def __init__(self, *, kind: Tensor, kinds: Sequence[str]) -> None:
        super().__init__()
        self.kind, self.kinds = kind, tuple(kinds)
        self.choosing = False
        for name, value in (("threshold", 0.5), ("scale", 1.0), ("bias", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        for state in ("cosine", "label", "judgement_id"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, image: Tensor, text: Tensor, label: Tensor, judgement_id: Tensor) -> None:
        """Adds the (N, D) unit-norm embeddings of photos and texts, labels (N,), and rows (N,) of the judgements."""
        self.cosine.append((image.detach().float() * text.detach().float()).sum(1))
        self.label.append(label)
        self.judgement_id.append(judgement_id)

    @torch.no_grad()
    def compute(self) -> dict[str, Tensor]:
        """`judgement/<measure>` of all, and `judgement/<measure>/<kind>` of matches against one kind of mismatch."""
        judgement_id, first = first_of_each(joined(self.judgement_id))
        score, label = joined(self.cosine)[first], joined(self.label)[first]  # (N,)
        if self.choosing:
            self.threshold.copy_(best_threshold(score, label))
            scale, bias = fit_probability(score, label)
            self.scale.copy_(scale)
            self.bias.copy_(bias)
        probability = (self.scale * score + self.bias).sigmoid()
        self.calibration = reliability(probability.cpu(), label.cpu())
        values = self._of(score, label, "")
        values["judgement/calibration_error"] = calibration_error(probability, label)
        values["judgement/threshold"] = self.threshold.clone()
        values["judgement/count"] = torch.tensor(float(len(score)))
        kind = self.kind.to(score.device)[judgement_id]
        for place, name in enumerate(self.kinds):
            if name != MATCH and (kind == place).any():
                among = label | (kind == place)
                values |= self._of(score[among], label[among], f"/{name}")
        return values

    def _of(self, score: Tensor, label: Tensor, kind: str) -> dict[str, Tensor]:
        return {
            f"judgement/accuracy{kind}": accuracy(score, label, threshold=self.threshold),
            f"judgement/f1{kind}": f1(score, label, threshold=self.threshold),
            f"judgement/auroc{kind}": auroc(score, label),
            f"judgement/average_precision{kind}": average_precision(score, label),
        }
