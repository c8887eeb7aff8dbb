"""Collects the scores of judgements in an evaluation pass, over all processes, and measures them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from fashionclip.metrics.gathered import first_of_each, gather_uneven, joined
from fashionclip.metrics.intervals import Groups, Interval, interval
from fashionclip.metrics.judgement_functions import (
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

EVERY = "match"  # kind of matches that are compared with mismatches of every kind
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "accuracy": accuracy,
    "f1": f1,
    "auroc": auroc,
    "average_precision": average_precision,
}
OFFENDERS = 8  # judgements of either label to look at


@dataclass(frozen=True)
class Offenders:
    """The judgements of a pass that are most wrong, one a photo: up to 8 mismatches, the most probable matches first,
    and as many matches, the least probable first.

    Attributes:
        judgement_id: (E,) rows of the dataset's judgements.
        label: (E,) bool, true for a match.
        probability: (E,) probabilities of a match.
        verdict: (E,) bool, true where the verdict is a match.
    """

    judgement_id: Tensor
    label: Tensor
    probability: Tensor
    verdict: Tensor


class JudgementMetrics(Metric):
    """Measures of verdicts, over all judgements and for each kind of mismatch; one that comes twice counts once.

    Threshold of the verdict, and scale and bias of the probability, sigmoid(scale x cosine + bias), are chosen in a
    pass with `choosing` and used in the others. A checkpoint keeps them.

    Args:
        kind: (J,) kind of each judgement of the dataset, as a position in `kinds`: for a mismatch what is wrong with
            it, for a match the kind of mismatches that it is compared with.
        kinds: Names of the kinds; matches of the kind "match" are compared with mismatches of every kind.
        photo: (J,) code of the photo of each judgement.
        text_only: (J,) scores of a match by a model that sees the texts alone; None: unknown.
        group: (J,) code of judgements that are not independent of each other; None: `photo`.
        functions: Functions of scores (N,) and labels (N,), by name; those with a `threshold` are given it.

    Attributes:
        choosing: Whether the next `compute` chooses threshold, scale and bias anew.
        threshold: Lowest cosine that is called a match, a scalar.
        scale: Scale of the probability, a scalar.
        bias: Bias of the probability, a scalar.
        calibration: Reliability of the last `compute`, on the CPU.
        offenders: Most wrong judgements of the last `compute`, on the CPU.
        scored: Rows (N,) of the judgements of the last `compute`, their cosines and labels.
    """

    full_state_update = False
    cosine: list[Tensor]
    label: list[Tensor]
    judgement_id: list[Tensor]
    threshold: Tensor
    scale: Tensor
    bias: Tensor
    calibration: Reliability
    offenders: Offenders
    scored: tuple[Tensor, Tensor, Tensor]

    def __init__(
        self,
        *,
        kind: Tensor,
        kinds: Sequence[str],
        photo: Tensor,
        text_only: Tensor | None = None,
        group: Tensor | None = None,
        functions: Mapping[str, Callable[..., Tensor]] = FUNCTIONS,
    ) -> None:
        super().__init__(dist_sync_fn=gather_uneven)
        self.kind, self.kinds = kind, tuple(kinds)
        self.photo, self.text_only = photo, text_only
        self.group = photo if group is None else group
        self.functions = {name: (one, "threshold" in signature(one).parameters) for name, one in functions.items()}
        self.choosing = False
        for name, value in (("threshold", 0.5), ("scale", 1.0), ("bias", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        for state in ("cosine", "label", "judgement_id"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, image: Tensor, text: Tensor, label: Tensor, judgement_id: Tensor) -> None:
        """Adds (N, D) unit-norm embeddings of photos and of texts, (N,) labels, and (N,) rows of the judgements."""
        self.cosine.append((image.detach().float() * text.detach().float()).sum(1))
        self.label.append(label)
        self.judgement_id.append(judgement_id)

    @torch.no_grad()
    def compute(self) -> dict[str, Tensor]:
        """`judgement/<measure>` of all, and `judgement/<measure>/<kind>` of one kind of mismatch and its matches.

        `text_only_auroc` is the AUROC of a model that does not look at the photos.
        """
        judgement_id, first = first_of_each(joined(self.judgement_id, dtype=torch.long))
        score = joined(self.cosine, dtype=torch.float32)[first]  # (N,)
        label = joined(self.label, dtype=torch.bool)[first]  # (N,)
        if self.choosing:
            self.threshold.copy_(best_threshold(score, label))
            scale, bias = fit_probability(score, label)
            self.scale.copy_(scale)
            self.bias.copy_(bias)
        odds = self.scale * score + self.bias
        probability = odds.sigmoid()
        order = torch.where(label, odds, -odds).argsort(stable=True)  # the odds, since probabilities round to 0 and 1
        worst_of_photo = first_of_each(self.photo.to(score.device)[judgement_id[order]])[1].sort().values
        order = order[worst_of_photo]
        worst = torch.cat([order[~label[order]][:OFFENDERS], order[label[order]][:OFFENDERS]])
        shown = (judgement_id[worst], label[worst], probability[worst], score[worst] >= self.threshold)
        self.offenders = Offenders(*(value.cpu() for value in shown))
        self.calibration = reliability(probability.cpu(), label.cpu())
        self.scored = judgement_id, score, label
        values = self._measures(judgement_id, score, label)
        values["judgement/threshold"] = self.threshold.clone()
        values["judgement/count"] = torch.tensor(float(len(score)))
        return values

    def intervals(self, *, draws: int = 100, seed: int = 0) -> dict[str, Interval]:
        """The 95 % interval of each measure of the last `compute`, for its threshold, by its name.

        Args:
            draws: Number of draws of groups of judgements.
            seed: Seed of the draws.
        """
        judgement_id, score, label = self.scored
        if not len(score):
            return {}
        groups = Groups(self.group.to(score.device)[judgement_id])
        place = torch.from_numpy(groups.place)
        drawn: dict[str, list[float]] = {}
        for weights in groups.weights(draws=draws, seed=seed):
            for times in torch.from_numpy(weights):
                chosen = torch.arange(len(score)).repeat_interleave(times[place]).to(score.device)
                for name, value in self._measures(judgement_id[chosen], score[chosen], label[chosen]).items():
                    drawn.setdefault(name, []).append(value.item())
        found = {}
        for name, value in self._measures(judgement_id, score, label).items():
            if value.isfinite():
                figures = np.array(drawn[name])
                share = bool(np.nanmin(figures) >= 0 and np.nanmax(figures) <= 1)
                found[name] = interval(value.item(), figures, groups=groups.worth, share=share)
        return found

    def _measures(self, judgement_id: Tensor, score: Tensor, label: Tensor) -> dict[str, Tensor]:
        blind = None if self.text_only is None else self.text_only.to(score.device)[judgement_id]
        of_all = self._of(score, label, blind, among=torch.ones_like(label))
        values = {f"judgement/{measure}": value for measure, value in of_all.items()}
        values["judgement/calibration_error"] = calibration_error((self.scale * score + self.bias).sigmoid(), label)
        kind = self.kind.to(score.device)[judgement_id]
        of_every = label & (kind == (self.kinds.index(EVERY) if EVERY in self.kinds else -1))
        by_kind = {
            name: self._of(score, label, blind, among=of_every | (kind == place))
            for place, name in enumerate(self.kinds)
            if (~label & (kind == place)).any()
        }
        for measure in of_all:  # so that the kinds of one measure stand together
            values |= {f"judgement/{measure}/{name}": found[measure] for name, found in by_kind.items()}
        return values

    def _of(self, score: Tensor, label: Tensor, blind: Tensor | None, *, among: Tensor) -> dict[str, Tensor]:
        some = label[among]
        values = {
            name: function(score[among], some, **({"threshold": self.threshold} if by_verdict else {}))
            for name, (function, by_verdict) in self.functions.items()
        }
        return values if blind is None else values | {"text_only_auroc": auroc(blind[among], some)}
