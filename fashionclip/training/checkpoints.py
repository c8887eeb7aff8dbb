"""How a training writes its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from fashionclip.atomic import whole_file
from fashionclip.errors import Stopped


class WholeCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place and renames it, so that a kill or a full disk leaves the one before.

    Lightning writes to the folder of temporary files and moves: on another file system that is a copy, which can tear.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:  # with which torch covers what ended a write: a full disk, or a signal
                if isinstance(error.__context__, (OSError, KeyboardInterrupt, Stopped)):
                    raise error.__context__ from None
                raise
