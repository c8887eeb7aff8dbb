"""Which weights decay, and how the learning rate moves."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from fashionclip.errors import InputError

PROJECTIONS = ("proj", "text_projection")  # matrices that open_clip keeps outside of linear layers


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, object]]:
    """Trained parameters in two groups: matrices and kernels decay, and what stands for itself does not.

    The latter are norms, biases, scales (also of (C, 1, 1)), positions, class tokens, and the latents of pooling.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]

    def decays(name: str, parameter: nn.Parameter) -> bool:
        last = name.rpartition(".")[2]
        return parameter.ndim > 1 and (last.endswith("weight") or last in PROJECTIONS) and "position" not in name

    return [
        {"params": [p for name, p in trained if decays(name, p)], "weight_decay": weight_decay},
        {"params": [p for name, p in trained if not decays(name, p)], "weight_decay": 0.0},
    ]


def warmup_cosine(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.1, final: float = 0.0) -> LambdaLR:
    """Learning rate that rises linearly over the first `warmup` share of the steps, then falls as a half cosine.

    Args:
        optimizer: Optimizer whose learning rates are the peaks.
        total_steps: Number of optimizer steps of the whole training.
        warmup: Share of the steps in which the rate rises, in [0, 1).
        final: Factor of the peak that is left at the end, in [0, 1].

    Source: Loshchilov & Hutter 2017, "SGDR", equation 5, with a warm-up.
    """
    rising = round(total_steps * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        progress = min(1.0, (step - rising) / max(1, total_steps - rising))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def plateau(optimizer: Optimizer, *, factor: float = 0.1, patience: int = 2) -> ReduceLROnPlateau:
    """Learning rate that is multiplied by `factor` after `patience` validations without a higher monitored metric.

    Raises:
        InputError: `patience` is below 1.
    """
    if patience < 1:
        raise InputError(f"scheduler.patience: got {patience}, expected 1 or more validations.")
    # torch's own patience is how many of them are still borne.
    return ReduceLROnPlateau(optimizer, mode="max", factor=factor, patience=patience - 1)


def trained_share(parameters: Iterable[nn.Parameter]) -> str:
    """For the log: how many weights are trained, of how many."""
    sizes = [(p.numel(), p.requires_grad) for p in parameters]
    return f"{sum(n for n, grad in sizes if grad) / 1e6:.1f} of {sum(n for n, _ in sizes) / 1e6:.1f} million weights"
