"""Distilled fine-tuning: what stays near its own embeddings of before training forgets less of what it knew."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fashionclip import distributed
from fashionclip.batch import Batch
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.features import Photos, write_features
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
            self.image = data.features_path(_Images(backbone), data.rows.path, data.eval_transform)
        if data is not None and data.relation.uses_text and data.text_features is None:
            self.text = data.features_path(_Texts(backbone), data.rows.text, data.tokenize(["a"]))

    def __deepcopy__(self, memo: dict[int, object]) -> Teacher:
        """Itself: copies of a module, such as averages of its weights, do not copy model, data and trainer again."""
        return self

    def prepare(self, device: torch.device) -> None:
        """Writes the embeddings that never change, where they do not stand already."""
        if self.data is None:
            return
        data, write = self.data, partial(write_features, device=device, batch_size=self.data.eval_batch_size)
        if self.image is not None:
            photos = Photos(data.rows, transform=data.eval_transform, decode_size=data.decode_size)
            write(_Images(self.backbone), photos, self.image, num_workers=data.num_workers)
        if self.text is not None:
            write(_Texts(self.backbone), data.rows.text, self.text, tokenize=data.tokenize, num_workers=0)

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


class _Images(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.encode_image(images)


class _Texts(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, tokens: Tensor) -> Tensor:
        return self.backbone.encode_text(tokens)
