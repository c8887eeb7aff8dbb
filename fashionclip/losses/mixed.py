"""A weighted sum of losses on one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class MixedLoss(nn.Module):
    """Sum over its parts of weight x loss.

    Args:
        parts: Losses by name.
        weights: Of the same names, above 0.

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
        self.scaled = any(getattr(part, "scaled", False) for part in parts.values())
        self.biased = any(getattr(part, "biased", False) for part in parts.values())

    def forward(self, *, parts: Mapping[str, Mapping[str, Tensor]], **scale: Tensor | None) -> Tensor:
        """Scalar loss.

        Args:
            parts: What each part's relation selects.
            scale: `logit_scale` and `logit_bias`, for parts that take them.
        """
        total: Any = 0.0
        for name, loss in self.parts.items():
            own = scale if getattr(loss, "scaled", False) else {}
            total = total + self.weights[name] * loss(**parts[name], **own)
        return total
