"""A batch: unique images, unique texts, and a table of relations among them.

Processes that train together share one batch: each loads and embeds its share of the photos and texts
(`distributed.share`), and the relation is among those of all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass
class Pairs:
    """N image-text pairs that belong together; indices point into the batch's images and texts.

    Attributes:
        image_index: (N,) position among the batch's images.
        text_index: (N,) position among the batch's texts.
        item_id: (N,) code of the product shown, the same in every batch and process.
        text_id: (N,) code of the text but for case, spaces and punctuation, the same in every batch and process.
        right_text_id: (N, F) codes of all texts that are right for the photo, that one among them, -1 of none; None
            where each product has one text.
    """

    image_index: Tensor
    text_index: Tensor
    item_id: Tensor
    text_id: Tensor
    right_text_id: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image_index)

    def select(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """The loss's arguments from the embeddings of the batch's images (I, D) and texts (T, D)."""
        right = {} if self.right_text_id is None else {"right_text_id": self.right_text_id}
        return {
            "image": image[self.image_index],  # (N, D)
            "text": text[self.text_index],  # (N, D)
            "item_id": self.item_id,
            "text_id": self.text_id,
            **right,
        }


@dataclass
class Identities:
    """Who a batch's I images show. What follows of it, such as which triplets count, is for a loss to say.

    Attributes:
        item_id: (I,) code of what an image shows; images that share it but not `view_id` are each other's positives.
        group_id: (I,) code; images that share it and not `item_id` are semi-positives, all others negatives.
        view_id: (I,) code.
        hard_id: (I,) code that negatives share with their anchor where one does.
        content_distance: (I, I) in [0, 1] between the contents of images of one group, 1 elsewhere and where not known.
        seed: Seed of what is drawn among them, the same on all processes.
    """

    item_id: Tensor
    group_id: Tensor
    view_id: Tensor
    hard_id: Tensor
    content_distance: Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.item_id)

    def select(self, image: Tensor, text: Tensor) -> dict[str, Any]:
        """The loss's arguments from the embeddings of the batch's images (I, D); texts take no part."""
        return {"image": image} | {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass
class Judgements:
    """N judgements whether a text describes a photo; indices point into the batch's images and texts.

    Attributes:
        image_index: (N,) position among the batch's images.
        text_index: (N,) position among the batch's texts.
        label: (N,) bool, true of a match.
        judgement_id: (N,) row of the dataset's judgements; -1 of one that was drawn for this batch.
    """

    image_index: Tensor
    text_index: Tensor
    label: Tensor
    judgement_id: Tensor

    def __len__(self) -> int:
        return len(self.image_index)

    def select(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """The loss's arguments from the embeddings of the batch's images (I, D) and texts (T, D)."""
        return {"image": image[self.image_index], "text": text[self.text_index], "label": self.label}


@dataclass
class Mixed:
    """Several relations among the same images and texts, by name."""

    parts: dict[str, Pairs | Identities | Judgements]

    def __len__(self) -> int:
        return max(map(len, self.parts.values()))

    def select(self, image: Tensor, text: Tensor) -> dict[str, dict[str, dict[str, Any]]]:
        """The loss's arguments: those of each part's loss."""
        return {"parts": {name: part.select(image, text) for name, part in self.parts.items()}}


RelationTensors = Pairs | Identities | Judgements | Mixed


@dataclass
class Batch:
    """What a training or evaluation step gets; every image and text in it is encoded once.

    Attributes:
        images: (I, 3, H, W) uint8 pixels, or (I, F) features of a frozen image tower; in training a process's share.
        image_row: (I,) row of each image in the manifest.
        texts: (T, L) token ids, likewise a share; none where the relation is among images only.
        text_id: (T,) code of each text.
        relation: Which images and texts of all processes belong together; None where only embeddings are wanted.
        joint_images, joint_texts: Numbers of images and texts of all processes.
    """

    images: Tensor
    image_row: Tensor
    texts: Tensor
    text_id: Tensor
    relation: RelationTensors | None
    joint_images: int
    joint_texts: int
