"""Running the frozen part of a tower once a photo or text, instead of once a photo or text and epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from fashionclip.atomic import locked, naming
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.transforms import Transform
from fashionclip.images import load_image


class Photos(Dataset):
    """The photos of a prepared dataset, as an image tower takes them.

    Args:
        rows: All rows of the prepared dataset.
        transform: Function from a photo to (3, S, S) uint8.
        decode_size: Side in pixels below which a JPEG need not be decoded.
    """

    def __init__(self, rows: ManifestTensors, *, transform: Transform, decode_size: int) -> None:
        self.rows, self.transform, self.decode_size = rows, transform, decode_size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Tensor:
        return self.transform(load_image(self.rows.root / self.rows.path[row], at_least=self.decode_size))


@torch.inference_mode()
def write_features(
    encoder: nn.Module,
    inputs: Photos | Sequence[str],
    path: Path,
    *,
    tokenize: Callable[[list[str]], Tensor] | None = None,
    device: torch.device,
    batch_size: int,
    num_workers: int,
) -> None:
    """Writes the (N, F) float32 features of N photos or texts to `path` (.npy); does nothing where it stands already.

    A stopped run goes on behind the last one in `<path>.unfinished`. One process does it; another waits and finds it
    done. The generators of random numbers are left as they were, so that training draws the same with and without it.

    Args:
        encoder: Module from (B, 3, S, S) uint8 pixels, or (B, L) token ids, to (B, F); brought to `device` and back.
        inputs: Photos or texts, in the order of the rows to write.
        path: File to write, whose name must tell encoder, preprocessing and dataset apart.
        tokenize: Function from T texts to (T, L) token ids; None for photos.
        device: Device that computes.
        batch_size: Number of photos or texts at a time.
        num_workers: Number of decoding processes.
    """
    if path.exists():
        return
    kind, unit = ("image", "photo") if tokenize is None else ("text", "text")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with locked(path.with_suffix(".lock"), name=path):
        if path.exists():
            return
        done, end = _written(unfinished)
        loader = DataLoader(
            Subset(inputs, range(done, len(inputs))),  # type: ignore[arg-type]  # a sequence serves as well
            batch_size=batch_size,
            collate_fn=tokenize,
            num_workers=num_workers,
            generator=torch.Generator(),  # it draws a seed for its processes: not from the global one
        )
        was_training, home = encoder.training, next(encoder.parameters()).device
        encoder.to(device).eval()
        # Written, not mapped into memory: a mapped file that finds no room kills the process without a word.
        with (
            naming(path),
            unfinished.open("r+b" if done else "wb") as stream,
            tqdm(total=len(inputs), initial=done, desc=f"features of the frozen {kind} tower", unit=unit) as bar,
        ):
            stream.seek(end)
            stream.truncate()
            for batch in loader:
                output = encoder(batch.to(device)).float().cpu().numpy()
                if not stream.tell():
                    header = {"descr": "<f4", "fortran_order": False, "shape": (len(inputs), output.shape[1])}
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
