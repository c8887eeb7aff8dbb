"""Running the frozen part of an image tower once a photo, instead of once a photo and epoch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fashionclip.data.rows import Rows
from fashionclip.data.transforms import Transform
from fashionclip.images import load_image


class _Photos(Dataset):
    def __init__(self, rows: Rows, start: int, transform: Transform, decode_size: int) -> None:
        self.rows, self.start, self.transform, self.decode_size = rows, start, transform, decode_size

    def __len__(self) -> int:
        return len(self.rows) - self.start

    def __getitem__(self, position: int) -> torch.Tensor:
        photo = self.rows.root / self.rows.path[self.start + position]
        return self.transform(load_image(photo, at_least=self.decode_size))


@torch.inference_mode()
def write_features(
    encoder: nn.Module,
    rows: Rows,
    path: Path,
    *,
    transform: Transform,
    decode_size: int,
    device: torch.device,
    batch_size: int,
    num_workers: int,
) -> None:
    """Writes the (rows, F) float32 features of every photo to `path` (.npy); does nothing where it stands already.

    A stopped run goes on at the batch it had reached, in `<path>.partial` and `<path>.done`.

    Args:
        encoder: (B, 3, S, S) uint8 pixels to (B, F); brought to `device` and back to where it was.
        rows: The prepared dataset.
        path: Its name must tell encoder, preprocessing and dataset apart.
        transform: Photo to (3, S, S) uint8.
        decode_size: Side in pixels below which a JPEG need not be decoded.
        device: Where to compute.
        batch_size: Photos at a time.
        num_workers: Decoding processes.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, done_file = path.with_suffix(".partial"), path.with_suffix(".done")
    done = json.loads(done_file.read_text() or "0") if done_file.exists() and partial.exists() else 0
    features = np.lib.format.open_memmap(partial, mode="r+") if done else None
    loader = DataLoader(_Photos(rows, done, transform, decode_size), batch_size=batch_size, num_workers=num_workers)
    was_training, home = encoder.training, next(encoder.parameters()).device
    encoder.to(device).eval()
    with tqdm(total=len(rows), initial=done, desc="features of the frozen image tower", unit="photo") as bar:
        for images in loader:
            output = encoder(images.to(device)).float().cpu().numpy()
            if features is None:
                features = np.lib.format.open_memmap(
                    partial, mode="w+", dtype=np.float32, shape=(len(rows), output.shape[1])
                )
            features[done : done + len(output)] = output
            features.flush()
            done += len(output)
            done_file.write_text(json.dumps(done))
            bar.update(len(output))
    encoder.to(home).train(was_training)
    os.replace(partial, path)
    done_file.unlink()
