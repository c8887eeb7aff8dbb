"""Losses of judgements: does this text describe this photo?"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What each form reads beside the weights, and where that begins unless it is given.
READ: dict[str, dict[str, float]] = {
    "bce": {"scale": 10.0, "bias": -4.0},
    "focal": {"scale": 10.0, "bias": -4.0, "gamma": 2.0},
    "margin": {"margin": 0.2},
}


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
        form: Name of the formula.
        scale: Start of the learned scale, above 0; for `bce` and `focal`, default 10.
        bias: Start of the learned bias; for `bce` and `focal`, default -4.
        gamma: Exponent, 0 or more; for `focal`, default 2.
        margin: Cosine in [-1, 1] below which mismatches cost nothing; for `margin`, default 0.2.
        match_weight, mismatch_weight: Weight of a judgement by its label, above 0.

    Raises:
        ValueError: A value is out of range, or given for a form that does not read it.
    """

    def __init__(
        self,
        *,
        form: Literal["bce", "focal", "margin"],
        scale: float | None = None,
        bias: float | None = None,
        gamma: float | None = None,
        margin: float | None = None,
        match_weight: float = 1.0,
        mismatch_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if form not in READ:
            raise ValueError(f"loss.form: got {form!r}, expected one of {tuple(READ)}.")
        given = {"scale": scale, "bias": bias, "gamma": gamma, "margin": margin}
        values = READ[form] | {name: value for name, value in given.items() if value is not None}
        for name in values.keys() - READ[form].keys():
            raise ValueError(f"loss.{name}: got {values[name]}, which form={form!r} does not read. Leave it out.")
        for name, value, right, expected in (
            ("scale", scale, values.get("scale", 1) > 0, "more than 0"),
            ("gamma", gamma, values.get("gamma", 0) >= 0, "0 or more"),
            ("margin", margin, -1 <= values.get("margin", 0) <= 1, "-1 to 1"),
            ("match_weight", match_weight, match_weight > 0, "more than 0"),
            ("mismatch_weight", mismatch_weight, mismatch_weight > 0, "more than 0"),
        ):
            if not right:
                raise ValueError(f"loss.{name}: got {value}, expected {expected}.")
        self.form = form
        self.gamma, self.margin = values.get("gamma", 0.0), values.get("margin", 0.0)
        self.match_weight = match_weight
        self.mismatch_weight = mismatch_weight
        if form != "margin":  # DDP waits for the gradient of whatever is learned
            self.log_scale = nn.Parameter(torch.tensor(math.log(values["scale"])))
            self.bias = nn.Parameter(torch.tensor(float(values["bias"])))

    def forward(self, *, image: Tensor, text: Tensor, label: Tensor) -> Tensor:
        """Loss of B judgements.

        Args:
            image, text: Embeddings (B, D) of unit norm; computed in float32, or in float64 if that is their type.
            label: Labels (B,) as bool, true of a match.

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
