"""Which weights are trained at which rate and decay, and how the learning rate moves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from fashionclip.errors import InputError
from fashionclip.models.backbone import Backbone
from fashionclip.models.tuning import towers

PROJECTIONS = ("proj", "text_projection")  # matrices that open_clip keeps outside of linear layers


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix or kernel, which decays, and not what stands for itself.

    The latter are norms, biases, scales (also of (C, 1, 1)), positions, class tokens, and the latents of pooling.
    """
    last = name.rpartition(".")[2]
    return parameter.ndim > 1 and (last.endswith("weight") or last in PROJECTIONS) and "position" not in name


def parameter_groups(
    model: nn.Module, *, weight_decay: float, rates: Mapping[str, float] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Trained parameters in two groups for each learning rate: those that decay, then those that do not.

    Args:
        model: Model whose parameters are frozen or not.
        weight_decay: Weight decay of matrices and kernels.
        rates: Factor on the learning rate by the name of a parameter; 1 where there is none. It is the group's `rate`.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [
        {
            "params": [p for name, p in trained if decays(name, p) == decaying and rates.get(name, 1.0) == rate],
            "weight_decay": weight_decay if decaying else 0.0,
            "rate": rate,
        }
        for rate in sorted({rates.get(name, 1.0) for name, _ in trained})
        for decaying in (True, False)
    ]


def scale_rates(optimizer: Optimizer) -> Optimizer:
    """The optimizer with the learning rate of each group multiplied by its `rate`."""
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("rate")
    return optimizer


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


def plateau(
    optimizer: Optimizer, *, factor: float = 0.1, patience: int = 2, mode: Literal["max", "min"] = "max"
) -> ReduceLROnPlateau:
    """Learning rate that is multiplied by `factor` after `patience` validations without a better monitored metric.

    Raises:
        InputError: `patience` is below 1.
    """
    if patience < 1:
        raise InputError(f"scheduler.patience: got {patience}, expected 1 or more validations.")
    # torch's own patience is how many of them are still borne.
    return ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience - 1)


def trained_table(
    model: nn.Module, backbone: Backbone, *, lr: float, weight_decay: float, rates: Mapping[str, float]
) -> str:
    """What is trained: a line for each part of a tower that has its own learning rate.

    Args:
        model: Model that is trained, of which the backbone is a part.
        backbone: Backbone with the towers.
        lr: Learning rate where its factor is 1, at its highest.
        weight_decay: Weight decay of matrices and kernels.
        rates: Factor on the learning rate by the name of a parameter of `model`; 1 where there is none.

    Returns:
        Lines of less than 80 columns.
    """
    place = {}  # of a tower's parameters: which part, and which block
    for title, tower in towers(backbone).items():
        for name, depth in tower.depth.items():
            part = "stem" if depth == 0 else "head" if depth > tower.blocks else "blocks"
            place[id(backbone.clip.get_parameter(name))] = (title, depth, f"{title} {part}")
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    parts: dict[tuple[str, float], list[tuple[int, int, bool]]] = {}
    for name, weight in sorted(trained, key=lambda one: place.get(id(one[1]), ("without a tower",))[:2]):
        _, depth, part = place.get(id(weight), ("", 0, name.removeprefix("backbone.").removeprefix("clip.")))
        parts.setdefault((part, rates.get(name, 1.0)), []).append((depth, weight.numel(), decays(name, weight)))
    lines = [f"  {'trained':<20}{'parameters':>14}{'rate':>12}{'decay':>10}"]
    for (part, rate), weights in parts.items():
        depths, sizes, decaying = zip(*weights, strict=True)
        blocks = f" {depths[0]}-{depths[-1]}" if part.endswith("blocks") else ""
        decay = weight_decay if any(decaying) else 0
        lines.append(f"  {part + blocks:<20}{sum(sizes):>14,}{lr * rate:>12.3g}{decay:>10.3g}")
    return "\n".join(lines)


def trained_share(parameters: Iterable[nn.Parameter]) -> str:
    """For the log: how many weights are trained, of how many."""
    sizes = [(p.numel(), p.requires_grad) for p in parameters]
    return f"{sum(n for n, grad in sizes if grad) / 1e6:.1f} of {sum(n for n, _ in sizes) / 1e6:.1f} million weights"
