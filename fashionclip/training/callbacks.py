"""What watches a training run."""

from __future__ import annotations

import warnings

import lightning as L

from fashionclip.losses.mining import MinedTripletLoss

MINED = (  # of a loss of triplets
    "Lower model.lr, or choose loss.mining=semi-hard or random instead of batch-hard, or a smaller loss.margin."
)
UNMINED = "Lower model.lr, or raise data.batch_size: the more there is to tell apart, the less it pays to collapse."


class CollapseWarning(L.Callback):
    """Warns, once, when a validation finds all photos embedded in nearly the same place.

    Triplet losses have that way out: if every distance is 0, hard triplets cost no more than their margins. The loss
    then stands still near a constant, and nothing else says why. The remedy named is one that the loss at hand has.

    Args:
        spread: Mean of 1 - cosine over all pairs of photos, in [0, 2], below which embeddings have collapsed.
    """

    def __init__(self, *, spread: float) -> None:
        self.spread = spread
        self.warned = False

    def state_dict(self) -> dict[str, bool]:
        return {"warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, bool]) -> None:
        self.warned = state_dict["warned"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        spread = trainer.callback_metrics.get("val/spread")
        if spread is None or not spread < self.spread or self.warned or not trainer.is_global_zero:
            return
        self.warned = True
        mined = any(isinstance(part, MinedTripletLoss) for part in pl_module.modules())
        advice = MINED if mined else UNMINED
        warnings.warn(
            f"the embeddings have collapsed: val/spread is {spread:.4f}, expected at least {self.spread} (mean of "
            f"1 - cosine over all pairs of photos). All photos lie in nearly the same place. {advice}",
            stacklevel=2,
        )
