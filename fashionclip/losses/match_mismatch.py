"""Losses of judgements: does this text describe this photo?"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORMS = ("bce", "focal", "margin")


class MatchMismatchLoss(nn.Module):
    """Brings photos and texts that match together, and those that do not apart, one judgement at a time.

    With c the cosine of a judgement, t = 1 of a match and -1 of a mismatch, and z = scale c + bias, both learned:

    - `bce`: -log sigmoid(t z), binary cross-entropy.
    - `focal`: (1 - p)^gamma of that, where p = sigmoid(t z) is the probability of what is right: judgements that are
      well told already count less. With gamma = 0 it is `bce`.
    - `margin`: 1 - c of a match, max(c - margin, 0) of a mismatch. Nothing is learned beside the embeddings.

    The loss is the weighted mean over judgements, 0 with a graph of none: other processes wait for its gradient.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4; `margin` is
    `torch.nn.CosineEmbeddingLoss`; scale and bias are as in Zhai et al. 2023, "Sigmoid Loss for Language Image
    Pre-Training", equation 1, and begin there at 10 and -10, since of all pairs of a batch few match.

    Args:
        form: Which of the three.
        scale: Where the learned scale begins, above 0.
        bias: Where the learned bias begins.
        gamma: Of the focal form, 0 or more.
        margin: Of the margin form, in [-1, 1]: mismatches with a lower cosine cost nothing.
        match_weight, mismatch_weight: Of a judgement by its label, above 0.
    """

    def __init__(
        self,
        *,
        form: Literal["bce", "focal", "margin"],
        scale: float,
        bias: float,
        gamma: float,
        margin: float,
        match_weight: float,
        mismatch_weight: float,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"loss.function.form: got {form!r}, expected one of {FORMS}.")
        for name, value, right in (
            ("scale", scale, scale > 0),
            ("gamma", gamma, gamma >= 0),
            ("margin", margin, -1 <= margin <= 1),
            ("match_weight", match_weight, match_weight > 0),
            ("mismatch_weight", mismatch_weight, mismatch_weight > 0),
        ):
            if not right:
                expected = {"gamma": "0 or more", "margin": "-1 to 1"}.get(name, "more than 0")
                raise ValueError(f"loss.function.{name}: got {value}, expected {expected}.")
        self.form = form
        self.gamma = gamma
        self.margin = margin
        self.match_weight = match_weight
        self.mismatch_weight = mismatch_weight
        if form != "margin":  # DDP waits for the gradient of whatever is learned
            self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
            self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, *, image: Tensor, text: Tensor, label: Tensor) -> Tensor:
        """Loss of B judgements.

        Args:
            image, text: (B, D) unit norm, any float type; computed in float32, or in float64 if they are.
            label: (B,) bool, true of a match.

        Returns:
            Scalar.
        """
        with torch.autocast(image.device.type, enabled=False):
            image, text = (side.to(torch.promote_types(side.dtype, torch.float32)) for side in (image, text))
            cosine = (image * text).sum(1)  # (B,)
            loss = self.of_cosines(cosine, label)  # (B,)
            weight = torch.where(label, self.match_weight, self.mismatch_weight).to(loss.dtype)
            return (weight * loss).sum() / weight.sum().clamp(min=torch.finfo(loss.dtype).tiny)

    def of_cosines(self, cosine: Tensor, label: Tensor) -> Tensor:
        """Loss (B,) of each judgement, without weights, from its cosine (B,) and label (B,)."""
        if self.form == "margin":
            return torch.where(label, 1 - cosine, (cosine - self.margin).relu())
        right = torch.where(label, 1.0, -1.0) * self.logit(cosine)
        loss = -F.logsigmoid(right)
        # 1 - p as a power of e: its own power has no gradient where p rounds to 1.
        return loss if self.form == "bce" else (self.gamma * F.logsigmoid(-right)).exp() * loss

    def logit(self, cosine: Tensor) -> Tensor:
        """Logarithm of the odds that judgements match, from cosines of any shape; not of the margin form."""
        return self.log_scale.to(cosine.dtype).exp() * cosine + self.bias.to(cosine.dtype)
