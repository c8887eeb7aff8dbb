"""What watches a training run."""

from __future__ import annotations

import warnings

import lightning as L


class CollapseWarning(L.Callback):
    """Warns, once, when a validation finds all photos embedded in nearly the same place.

    Triplet losses have that way out: if every distance is 0, hard triplets cost no more than their margins. The loss
    then stands still near a constant, and nothing else says why.

    Args:
        spread: Mean of 1 - cosine over all pairs of photos, in [0, 2], below which embeddings have collapsed.
    """

    def __init__(self, *, spread: float) -> None:
        self.spread = spread
        self.warned = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        spread = trainer.callback_metrics.get("val/spread")
        if spread is None or not spread < self.spread or self.warned or not trainer.is_global_zero:
            return
        self.warned = True
        warnings.warn(
            f"the embeddings have collapsed: val/spread is {spread:.4f}, expected at least {self.spread} (mean of "
            "1 - cosine over all pairs of photos). All photos lie in nearly the same place. Lower model.lr, or choose "
            "loss.mining=semi-hard or given instead of batch-hard, or a smaller loss.function.loss.margin.",
            stacklevel=2,
        )
