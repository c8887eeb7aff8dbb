"""What a run shows on TensorBoard and Weights & Biases beside its curves: its pictures, and its embeddings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig
from PIL import ImageOps

from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.manifest import PreparedDataset
from fashionclip.metrics.retrieval_metrics import Embedded

PHOTOS = 1000  # in the projector, which draws them all at once
THUMBNAIL = 48  # pixels
DESCRIBED_BY = ("kind", "caption", "text", "base_id", "item_id", "category", "split")  # where the manifest has them


def check_wandb(loggers: DictConfig) -> None:
    """Refuses a W&B logger that could not log in, before anything is trained.

    Raises:
        InputError: With the ways on.
    """
    online = os.environ.get("WANDB_MODE", "online") == "online"
    for name, node in loggers.items():
        if not node or not node["_target_"].endswith("WandbLogger") or node.get("offline") or not online:
            continue
        import wandb

        if not wandb.login(prompt=False, verify=False):
            raise InputError(
                f"logger.{name!s}: no login of Weights & Biases on this machine. Run `wandb login` once, or use "
                f"logger.{name!s}.offline=true."
            )


@contextmanager
def ended_wandb() -> Iterator[None]:
    """Ends the W&B run that was begun within, also after an error: the next job of a multirun would go on in it."""
    failed = True
    try:
        yield
        failed = False
    finally:
        wandb = sys.modules.get("wandb")  # nothing else imports it before a run begins
        if wandb is not None and wandb.run is not None:
            wandb.finish(exit_code=int(failed))


def log_pictures(loggers: Sequence[Logger], folder: Path, *, step: int) -> None:
    """Shows every PNG of a run folder under its file's name."""
    for picture in sorted(folder.glob("*.png")):
        for logger in loggers:
            if isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(load_image(picture))
                logger.experiment.add_image(picture.stem, pixels, global_step=step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image(picture.stem, [str(picture)])


def log_embeddings(
    loggers: Sequence[Logger], dataset: PreparedDataset, embedded: Embedded, *, stage: str, step: int
) -> None:
    """Writes the first photos of an evaluation pass for TensorBoard's projector, with thumbnails and what they show.

    Args:
        loggers: Loggers of the run; those other than TensorBoard are passed over.
        dataset: Dataset of the photos.
        embedded: Photos that the pass has embedded.
        stage: Name in the projector, such as "after".
        step: Step of training.
    """
    boards = [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
    if not boards:
        return
    manifest = dataset.manifest.iloc[embedded.image_row[:PHOTOS].tolist()]
    thumbnails = [
        np.asarray(ImageOps.pad(load_image(dataset.root / path, at_least=THUMBNAIL), (THUMBNAIL, THUMBNAIL)))
        for path in manifest["path"]
    ]
    columns = [column for column in DESCRIBED_BY if column in manifest]
    described = manifest[columns].astype(str).replace(r"\s+", " ", regex=True)  # a tab or newline would end a cell
    for board in boards:
        board.experiment.add_embedding(
            embedded.image[:PHOTOS].cpu(),
            metadata=described.to_numpy().tolist(),
            metadata_header=columns,
            label_img=torch.from_numpy(np.stack(thumbnails)).permute(0, 3, 1, 2) / 255,
            global_step=step,
            tag=stage,
        )
