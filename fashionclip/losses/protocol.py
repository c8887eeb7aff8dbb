"""What training asks of a loss beside its value."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class LogitLoss(Protocol):
    """A loss of logits: `forward` takes the backbone's `logit_scale` and `logit_bias` beside what its relation selects.

    Any other loss is given what its relation selects alone, and neither scale nor bias is trained.

    Attributes:
        biased: Whether a bias is learned; if not, `logit_bias` takes no part.
    """

    biased: bool
