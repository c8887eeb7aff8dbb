"""Losses of the library pytorch-metric-learning (extra [pml]), among a batch's photos."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fashionclip.errors import InputError


class MetricLearningLoss(nn.Module):
    """A loss of embeddings and labels, where photos of one item share a label.

    Every process computes it of the images of all, so that pairs, miners and proxies are those of the joint batch.

    Source: Musgrave et al. 2020, "PyTorch Metric Learning".

    Args:
        make: Class of the library's loss, or a partial of it; number of classes and size of embeddings are filled in
            where it asks for them.
        miner: Miner of the library, which chooses the pairs or triplets that count; None: all.
        items: Codes of the items to train on, in any order and number.
        embedding_size: Length of an embedding.

    Raises:
        InputError: The loss cannot be made, or takes something else than embeddings and labels.
    """

    items: Tensor

    def __init__(
        self,
        *,
        make: Callable[..., nn.Module],
        miner: nn.Module | None = None,
        items: Tensor,
        embedding_size: int,
    ) -> None:
        super().__init__()
        self.register_buffer("items", items.unique(), persistent=False)  # (C,) ascending: a label is a place in it
        self.miner = miner
        of: Any = getattr(make, "func", make)
        called = getattr(of, "__name__", type(of).__name__)
        called += f" with {type(miner).__name__} as miner" if miner is not None else ""
        sizes = {"num_classes": len(self.items), "embedding_size": embedding_size, "descriptors_dim": embedding_size}
        try:
            # of a class, what its bases ask for as well, to which it may hand on any argument
            asked = {name for base in inspect.getmro(of) for name in inspect.signature(base).parameters}
            self.of_items = "num_classes" in asked  # it learns weights for each
            self.loss = make(
                **{name: size for name, size in sizes.items() if name in asked} | getattr(make, "keywords", {})
            )
            tried = copy.deepcopy(self)  # some losses remember what they have seen
            value = tried(image=torch.eye(embedding_size).repeat(4, 1)[:4], item_id=self.items[[0, 0, -1, -1]], seed=0)
            if value.ndim:
                raise TypeError(f"its value has the shape {tuple(value.shape)}")
        except Exception as error:  # whatever the library, or another one, raises
            raise InputError(
                f"loss.function: {called} does not give a loss of embeddings and labels ({error}). Expected one of "
                "pytorch_metric_learning.losses that needs nothing else, and its settings as +loss.function.KEY=VALUE."
            ) from error

    def forward(self, *, image: Tensor, item_id: Tensor, seed: int, **others: Any) -> Tensor:
        """Loss of a batch of I images, those of all processes.

        Args:
            image: Embeddings (I, D) of unit norm and any float type; computed in float32.
            item_id: Codes (I,), in training each among `items`.
            seed: Seed of miners and losses that draw, the same on all processes.
            others: Further facts of the images, which take no part.

        Returns:
            Scalar, the same on all processes; NaN of other items where the loss learns weights for each.
        """
        devices = [image.device] if image.is_cuda else []
        with torch.random.fork_rng(devices), torch.autocast(image.device.type, enabled=False):
            torch.manual_seed(seed)
            if self.of_items and not torch.isin(item_id, self.items).all():
                return image.new_tensor(math.nan)
            label = torch.searchsorted(self.items, item_id) if self.of_items or self.training else item_id
            image = image.float()
            chosen = None if self.miner is None else self.miner(image, label)
            # DDP waits for the gradient of whatever is learned, also where no pair was chosen
            return self.loss(image, label, chosen) + 0 * sum(p.sum() for p in self.parameters())
