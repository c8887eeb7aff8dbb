"""What a run shows on TensorBoard and Weights & Biases beside its curves: config, figures, pictures and embeddings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig, OmegaConf
from PIL import ImageOps

from fashionclip.app.trial import TRIAL
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


def name_of(cfg: DictConfig) -> str:
    """Name of a training on dashboards: model, loss and dataset."""
    loss = HydraConfig.get().runtime.choices.get("loss") or cfg.loss.function["_target_"].rpartition(".")[2]
    return f"{cfg.model.label} {loss} {cfg.dataset.name}"


def make_loggers(nodes: DictConfig, folder: Path, *, name: str) -> list[Logger]:
    """The loggers of a config. A W&B run is grouped with those of its sweep.

    Args:
        nodes: Loggers of the config.
        folder: Folder of the run; that of a sweep holds it.
        name: Name of a W&B run, unless its node has one.
    """
    of_several = HydraConfig.get().mode == RunMode.MULTIRUN or TRIAL in os.environ
    loggers = []
    for node in filter(None, nodes.values()):
        given: dict[str, Any] = {}
        if node["_target_"].endswith("WandbLogger"):
            named = node.get("name") or node.get("id")  # a run that goes on keeps its name
            given["name"] = node.get("name") if named else name
            given["group"] = node.get("group") or (folder.parent.name if of_several else None)
            given["log_model"] = False  # Lightning would keep the last checkpoint as well, and nothing offline
        loggers.append(instantiate(node, **given))
    return loggers


def log_config(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Shows a run's resolved config, by which runs are compared and filtered."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("config", f"```yaml\n{OmegaConf.to_yaml(OmegaConf.create(dict(config)))}```")
        elif isinstance(logger, WandbLogger):
            logger.log_hyperparams(dict(config))


def log_figures(
    loggers: Sequence[Logger],
    results: Mapping[str, Mapping[str, float]],
    *,
    best: Mapping[str, float],
    last: Mapping[str, float],
    known: Mapping[str, float],
    step: int,
) -> None:
    """Shows slices of what was tested as a table, and in W&B's summary what the best and last validation measured, and
    what is still known.

    Args:
        loggers: Loggers of the run.
        results: Metrics by stage, "before" and "after"; those after training are in W&B's summary anyway.
        best: Metrics of the best validation.
        last: Metrics of the last validation.
        known: Metrics of retention after training, if any.
        step: Step of training.
    """
    slices = slices_of(results)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            stages = {"best": best, "last": last, "before": results["before"], "retention": known}
            logger.experiment.summary.update(
                {f"{s}/{name}": v for s, some in stages.items() for name, v in some.items()}
            )
            if len(slices):
                logger.log_table("slices", dataframe=slices)
        elif isinstance(logger, TensorBoardLogger) and len(slices):
            logger.experiment.add_text("slices", f"```\n{slices.to_string(index=False)}\n```", global_step=step)


def slices_of(results: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A line a part of a direction, such as `query_to_sku/category/dress`, with its metrics by stage."""
    parts = [name.removesuffix("/queries") for name in results["after"] if name.endswith("/queries")]
    return pd.DataFrame(
        {"slice": part.partition("/")[2]}
        | {
            f"{name.removeprefix(f'{part}/')} {stage}": value
            for stage, metrics in results.items()
            for name, value in metrics.items()
            if name.startswith(f"{part}/") and name.count("/") == part.count("/") + 1
        }
        for part in parts
        if part.count("/") > 1  # test/DIRECTION/COLUMN/VALUE
    )


def log_best_checkpoint(cfg: DictConfig, loggers: Sequence[Logger], checkpoint: str | None) -> None:
    """Keeps the best checkpoint as an artifact of W&B, where its `log_model` says so."""
    if checkpoint is None or not any(node and node.get("log_model") for node in cfg.logger.values()):
        return
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            artifact = wandb.Artifact(f"model-{logger.experiment.id}", type="model")
            artifact.add_file(checkpoint, policy="immutable")  # from where it is, without a copy in W&B's cache
            logger.experiment.log_artifact(artifact, aliases=["best"])


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
