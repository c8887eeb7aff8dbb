"""Contrastive loss between photos and texts, over the batch of all processes."""

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
        form: Which of the two.
        multi_positive: Pairs of the same product, or with the same text, count as belonging together. Otherwise only
            a photo's own text does, and products that share a name are pushed apart.
    """

    scaled = True  # forward takes the backbone's logit_scale and logit_bias; where `biased`, a bias is learned

    def __init__(self, *, form: Literal["softmax", "sigmoid"] = "softmax", multi_positive: bool = True) -> None:
        super().__init__()
        if form not in ("softmax", "sigmoid"):
            raise ValueError(f"loss.function.form: got {form!r}, expected 'softmax' or 'sigmoid'.")
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
    ) -> Tensor:
        """Loss of this process's B pairs against the N = B x processes pairs of all.

        Args:
            image, text: (B, D) unit norm, any float type; computed in float32.
            item_id, text_id: (B,) codes, equal where the product or the text is.
            logit_scale: Scalar, natural logarithm of the scale.
            logit_bias: Scalar, for the sigmoid form only.

        Returns:
            Scalar; averaged over processes it is the loss of the joint batch.
        """
        with torch.autocast(image.device.type, enabled=False):
            image, text = image.float(), text.float()
            all_image, all_text = distributed.gather(image), distributed.gather(text)  # (N, D)
            together = self._together(item_id, text_id)  # (B, N)
            scale = logit_scale.float().exp()
            image_logits = scale * image @ all_text.T  # (B, N)
            if self.form == "sigmoid":
                bias = 0.0 if logit_bias is None else logit_bias.float()
                sign = together * 2.0 - 1.0
                return -F.logsigmoid(sign * (image_logits + bias)).sum(1).mean()
            text_logits = scale * text @ all_image.T  # (B, N)
            target = together / together.sum(1, keepdim=True)
            return (F.cross_entropy(image_logits, target) + F.cross_entropy(text_logits, target)) / 2

    def _together(self, item_id: Tensor, text_id: Tensor) -> Tensor:
        if self.multi_positive:
            same_item = item_id[:, None] == distributed.gather(item_id)[None]
            same_text = text_id[:, None] == distributed.gather(text_id)[None]
            return same_item | same_text
        size = len(item_id)
        row = torch.arange(size, device=item_id.device)
        own = row + distributed.rank() * size
        return own[:, None] == torch.arange(size * distributed.world_size(), device=item_id.device)[None]
