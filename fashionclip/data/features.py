"""Running the frozen part of an image tower once a photo, instead of once a photo and epoch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fashionclip.atomic import locked, naming
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.transforms import Transform
from fashionclip.images import load_image


class _Photos(Dataset):
    def __init__(self, rows: ManifestTensors, start: int, transform: Transform, decode_size: int) -> None:
        self.rows, self.start, self.transform, self.decode_size = rows, start, transform, decode_size

    def __len__(self) -> int:
        return len(self.rows) - self.start

    def __getitem__(self, position: int) -> torch.Tensor:
        photo = self.rows.root / self.rows.path[self.start + position]
        return self.transform(load_image(photo, at_least=self.decode_size))


@torch.inference_mode()
def write_features(
    encoder: nn.Module,
    rows: ManifestTensors,
    path: Path,
    *,
    transform: Transform,
    decode_size: int,
    device: torch.device,
    batch_size: int,
    num_workers: int,
) -> None:
    """Writes the (rows, F) float32 features of every photo to `path` (.npy); does nothing where it stands already.

    A stopped run goes on behind the last photo in `<path>.unfinished`. One process does it; another waits and finds it
    done. The generators of random numbers are left as they were, so that training draws the same with and without it.

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
    unfinished = path.with_suffix(".unfinished")
    with locked(path.with_suffix(".lock"), name=path):
        if path.exists():
            return
        done, end = _written(unfinished)
        loader = DataLoader(
            _Photos(rows, done, transform, decode_size),
            batch_size=batch_size,
            num_workers=num_workers,
            generator=torch.Generator(),  # it draws a seed for its processes: not from the global one
        )
        was_training, home = encoder.training, next(encoder.parameters()).device
        encoder.to(device).eval()
        # Written, not mapped into memory: a mapped file that finds no room kills the process without a word.
        with (
            naming(path),
            unfinished.open("r+b" if done else "wb") as stream,
            tqdm(total=len(rows), initial=done, desc="features of the frozen image tower", unit="photo") as bar,
        ):
            stream.seek(end)
            stream.truncate()
            for images in loader:
                output = encoder(images.to(device)).float().cpu().numpy()
                if not stream.tell():
                    header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), output.shape[1])}
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(output.astype("<f4").tobytes())
                stream.flush()
                bar.update(len(output))
            os.fsync(stream.fileno())
        encoder.to(home).train(was_training)
        os.replace(unfinished, path)


def _written(unfinished: Path) -> tuple[int, int]:
    """How many whole rows a stopped run has left, and where in the file they end."""
    try:
        with unfinished.open("rb") as stream:
            np.lib.format.read_magic(stream)
            (_, size), _, dtype = np.lib.format.read_array_header_1_0(stream)
            start = stream.tell()
    except (FileNotFoundError, ValueError):  # none, or killed within the header
        return 0, 0
    done = (unfinished.stat().st_size - start) // (size * dtype.itemsize)
    return (done, start + done * size * dtype.itemsize) if done else (0, 0)
