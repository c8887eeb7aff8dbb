"""Rows to batches: decodes each distinct photo and tokenizes each distinct text of a batch once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fashionclip import distributed
from fashionclip.batch import Batch
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import BatchPlanner
from fashionclip.data.transforms import Transform
from fashionclip.images import load_image
from fashionclip.manifest import stable_hash

_NO_TOKENS = torch.empty(0, 1, dtype=torch.long)

Tokenize = Callable[[list[str]], Tensor]


class RetrievalDataset(Dataset):
    """One split. The data loader hands it all positions of a batch at once and gets the finished `Batch`.

    Processes that share a batch are handed the same positions. Each relates all of them, with the same draws, and loads
    its share of the photos and texts; where that is empty, the first one, which the others do not see.

    Args:
        rows: All rows of the prepared dataset.
        chosen: Numbers (N,) of the rows of this split.
        relation: Planner of what a batch holds and relates.
        transform: Function from a photo to (3, S, S) uint8.
        tokenize: Function from T texts to (T, L) token ids.
        decode_size: Side in pixels below which a JPEG need not be decoded.
        features: `.npy` file of (rows, F) features, used in place of the photos.
        text_features: `.npy` file of (T, F) features, used in place of the T distinct texts.
        seed: Seed of what a relation draws, together with the positions.
        process, processes: Rank among the processes that share a batch, and their number.
    """

    def __init__(
        self,
        rows: ManifestTensors,
        chosen: Tensor,
        *,
        relation: BatchPlanner,
        transform: Transform,
        tokenize: Tokenize,
        decode_size: int,
        features: Path | None = None,
        text_features: Path | None = None,
        seed: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.rows = rows
        self.chosen = chosen
        self.relation = relation
        self.transform = transform
        self.tokenize = tokenize
        self.decode_size = decode_size
        self.features = features
        self.text_features = text_features
        self.seed = seed
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        seed = stable_hash(f"{self.seed}/{list(positions)}")
        draws = torch.Generator().manual_seed(seed)
        related = self.relation.plan(self.rows, self.chosen[torch.as_tensor(positions)], draws=draws)
        image_row, text_id = self._share(related.image_row), self._share(related.text_id)
        return Batch(
            images=self.load(image_row, seed=seed),
            image_row=image_row,
            texts=self.load_texts(text_id) if len(text_id) else _NO_TOKENS,
            text_id=text_id,
            relation=related.relation,
            joint_images=len(related.image_row),
            joint_texts=len(related.text_id),
        )

    def _share(self, joint: Tensor) -> Tensor:
        own = joint[distributed.share(len(joint), process=self.process, processes=self.processes)]
        return own if len(own) else joint[:1]

    def load(self, image_row: Tensor, *, seed: int) -> Tensor:
        """The (I, 3, S, S) pixels, or (I, F) features, of some rows.

        Augmentation draws from the seed and this process's rank, so that whichever loading process is given the batch,
        in a training that goes on as well, changes its photos alike.
        """
        if self.features is not None:
            return torch.from_numpy(np.load(self.features, mmap_mode="r")[image_row.numpy()])
        photos = (self.rows.root / self.rows.path[i] for i in image_row.tolist())
        with torch.random.fork_rng(devices=[]):  # draws of training go on as if there had been none here
            torch.default_generator.manual_seed(seed ^ self.process)
            return torch.stack([self.transform(load_image(photo, at_least=self.decode_size)) for photo in photos])

    def load_texts(self, text_id: Tensor) -> Tensor:
        """The (T, L) token ids, or (T, F) features, of some texts."""
        if self.text_features is not None:
            return torch.from_numpy(np.load(self.text_features, mmap_mode="r")[text_id.numpy()])
        return self.tokenize([self.rows.text[i] for i in text_id.tolist()])
