"""Contrastive loss between photos and texts."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashionclip import distributed


class ContrastiveLoss(nn.Module):
    """Pulls what belongs together, pushes all else in the batch.

    With s = exp(logit_scale) and z_ij = s x_i . y_j:

    - `softmax`: mean of the cross-entropies photo -> text and text -> photo over the rows of z (InfoNCE). A photo with
      several right texts in the batch has them as equal targets, as in L_out of Khosla et al.
    - `sigmoid`: -1/N sum_ij log sigmoid(t_ij (z_ij + b)), t_ij = 1 where i and j belong together, else -1.

    Source: Radford et al. 2021, "Learning Transferable Visual Models", figure 3; Khosla et al. 2020, "Supervised
    Contrastive Learning", equation 2; Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", equation 1.

    Args:
        form: Name of one of the two forms.
        multi_positive: Whether pairs of the same product, or with the same text, count as belonging together. If not,
            only a photo's own text does, and products that share a name are pushed apart.
    """

    def __init__(self, *, form: Literal["softmax", "sigmoid"] = "softmax", multi_positive: bool = True) -> None:
        super().__init__()
        if form not in ("softmax", "sigmoid"):
            raise ValueError(f"loss.form: got {form!r}, expected 'softmax' or 'sigmoid'.")
        self.form = form
        self.biased = form == "sigmoid"
        self.multi_positive = multi_positive

    def forward(
        self,
        *,
        image: Tensor,
        text: Tensor,
        item_id: Tensor,
        text_id: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        right_text_id: Tensor | None = None,
    ) -> Tensor:
        """Loss of N pairs, those of all processes. Each process computes B of the N rows of z, its `distributed.share`.

        Args:
            image, text: Embeddings (N, D) of unit norm and any float type; computed in float32.
            item_id, text_id: Codes (N,), equal where the product or the text is.
            logit_scale: Natural logarithm of the scale, a scalar.
            logit_bias: Bias of the sigmoid form, a scalar.
            right_text_id: Codes (N, F) of all texts that are right for a photo, such as its category beside its name,
                -1 of none; None: `text_id` alone.

        Returns:
            Scalar; its mean over processes is the loss, 0 with a graph of no pairs.
        """
        own = distributed.share(len(image))
        weight = distributed.world_size() / max(len(image), 1)
        with torch.autocast(image.device.type, enabled=False):
            image, text = image.float(), text.float()
            drawn = text_id[:, None]  # (N, 1)
            right = drawn if right_text_id is None else right_text_id  # (N, F)
            together = self._together(own, item_id, right, drawn)  # (B, N), photos and texts
            scale = logit_scale.float().exp()
            image_logits = scale * image[own] @ text.T  # (B, N)
            if self.form == "sigmoid":
                bias = 0.0 if logit_bias is None else logit_bias.float()
                sign = together * 2.0 - 1.0
                return -weight * F.logsigmoid(sign * (image_logits + bias)).sum()
            text_logits = scale * text[own] @ image.T  # (B, N)
            of_images = F.cross_entropy(image_logits, _shares(together), reduction="sum")
            together = self._together(own, item_id, drawn, right)  # (B, N), texts and photos
            of_texts = F.cross_entropy(text_logits, _shares(together), reduction="sum")
            return weight * (of_images + of_texts) / 2

    def _together(self, own: slice, item_id: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """(B, N) what belongs together: the same product, or one of its (N, F) codes is one of the other's (N, G)."""
        if self.multi_positive:
            agree = one[own, None, :, None] == other[None, :, None, :]  # (B, N, F, G)
            return (item_id[own, None] == item_id[None]) | agree.flatten(2).any(2)
        row = torch.arange(len(item_id), device=item_id.device)
        return row[own, None] == row[None]


def _shares(together: Tensor) -> Tensor:
    return together / together.sum(1, keepdim=True)
