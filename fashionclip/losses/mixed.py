"""A weighted sum of losses on one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fashionclip.losses.protocol import LogitLoss


class MixedLoss(nn.Module):
    """Sum over its parts of weight x loss.

    Args:
        parts: Losses by name.
        weights: Weights above 0, by the same names.

    Raises:
        ValueError: The names differ, or a weight is 0 or less.
    """

    def __init__(self, *, parts: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if set(parts) != set(weights) or min(weights.values()) <= 0:
            raise ValueError(
                f"loss.weights: got {dict(weights)}, expected a weight above 0 for each of {sorted(parts)}."
            )
        self.parts = nn.ModuleDict(dict(parts))
        self.weights = dict(weights)
        if of_logits := [part for part in parts.values() if isinstance(part, LogitLoss)]:
            self.biased = any(part.biased for part in of_logits)  # which makes the sum a LogitLoss, too

    def forward(self, *, parts: Mapping[str, Mapping[str, Any]], **logits: Tensor | None) -> Tensor:
        """Scalar loss.

        Args:
            parts: Arguments of each part's loss, as its relation selects them.
            logits: Values of `logit_scale` and `logit_bias`, for parts that take them.
        """
        total: Any = 0.0
        for name, loss in self.parts.items():
            own = logits if isinstance(loss, LogitLoss) else {}
            total = total + self.weights[name] * loss(**parts[name], **own)
        return total
