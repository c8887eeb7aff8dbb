"""Distilled fine-tuning: what stays near its own embeddings of before training forgets less of what it knew."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fashionclip import distributed
from fashionclip.batch import Batch
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.models.backbone import Backbone


class Teacher:
    """A backbone as it was before training. It is no part of a checkpoint.

    What no augmentation changes is embedded once, before training, into files beside those of frozen towers.

    Source: Yang et al. 2024, "CLIP-KD: An Empirical Study of CLIP Model Distillation", section 3.3 (feature
    distillation), with the model itself as the teacher, as in Xue & Xu 2026, "ZooClaw-FashionSigLIP2".

    Args:
        backbone: Backbone as it is before anything of it is trained, added or compiled.
        weight: Factor on the distance, added to the loss.
        data: Data of the training, of which what never changes is embedded once; None: each batch is embedded anew.
        augmented: Whether training sees photos otherwise than evaluation does.
    """

    def __init__(
        self, backbone: Backbone, *, weight: float, data: RetrievalDataModule | None = None, augmented: bool = False
    ) -> None:
        self.backbone = backbone.eval()
        self.weight = weight
        self.data = data
        self.image: Path | None = None
        self.text: Path | None = None
        if data is not None and not augmented and data.features is None:
            self.image = data.photo_features_path(_Encoder(backbone, "encode_image"))
        if data is not None and data.relation.uses_text and data.text_features is None:
            self.text = data.text_features_path(_Encoder(backbone, "encode_text"))

    def __deepcopy__(self, memo: dict[int, object]) -> Teacher:
        """Itself: copies of a module, such as averages of its weights, do not copy model, data and trainer again."""
        return self

    def prepare(self, device: torch.device) -> None:
        """Writes the embeddings that never change, where they do not stand already."""
        if self.data is not None and self.image is not None:
            self.data.write_photo_features(_Encoder(self.backbone, "encode_image"), self.image, device=device)
        if self.data is not None and self.text is not None:
            self.data.write_text_features(_Encoder(self.backbone, "encode_text"), self.text, device=device)

    def distance(self, batch: Batch, image: Tensor, text: Tensor) -> Tensor:
        """The weighted mean of 1 - cosine between embeddings and the teacher's, of photos and of texts, added.

        Args:
            batch: This process's share of a batch.
            image, text: Its (I, D) and (T, D) embeddings of unit norm; there may be no texts.

        Returns:
            Scalar in [0, 4] times the weight; its mean over processes is that of the batch that they share.
        """
        known_image, known_text = self._embed(batch)
        gap = _gap(image, known_image, total=batch.joint_images)
        return self.weight * (gap + _gap(text, known_text, total=batch.joint_texts))

    @torch.no_grad()
    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        teacher = self.backbone.to(batch.images.device)
        image = teacher.encode_image(batch.images) if self.image is None else _rows_of(self.image, batch.image_row)
        if not batch.joint_texts:
            return image, image[:0]
        text = teacher.encode_text(batch.texts) if self.text is None else _rows_of(self.text, batch.text_id)
        return image, text


def _rows_of(file: Path, rows: Tensor) -> Tensor:
    return torch.from_numpy(np.load(file, mmap_mode="r")[rows.cpu().numpy()]).to(rows.device)


def _gap(student: Tensor, teacher: Tensor, *, total: int) -> Tensor:
    """Sum of 1 - cosine over this process's share of `total`, so weighted that its mean over processes is the mean."""
    own = distributed.share(total)
    count = own.stop - own.start  # where it is empty, one row stands in, so that every weight takes part
    gap = 1 - (student[: max(count, 1)].float() * teacher[: max(count, 1)].float()).sum(dim=1)
    return gap.sum() * (count > 0) * distributed.world_size() / max(total, 1)


class _Encoder(nn.Module):
    """One of a backbone's two encoders, as a module.

    Args:
        backbone: Backbone.
        encode: Name of its method, encode_image or encode_text.
    """

    def __init__(self, backbone: Backbone, encode: Literal["encode_image", "encode_text"]) -> None:
        super().__init__()
        self.backbone, self.encode = backbone, encode

    def forward(self, inputs: Tensor) -> Tensor:
        return getattr(self.backbone, self.encode)(inputs)
