import errno
import io
import os
import resource
import signal
import tempfile
from contextlib import nullcontext
from pathlib import Path

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from fashionclip.errors import Stopped
from fashionclip.training import checkpoints
from fashionclip.training.checkpoints import WholeCheckpoints

CALLBACKS = Path(__file__).parents[2] / "configs" / "callbacks" / "default.yaml"


class Getting(L.LightningModule):
    """Its monitored value gets worse with each epoch; its only weight counts epochs."""

    def __init__(self):
        super().__init__()
        self.epochs = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        return -self.epochs.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def validation_step(self, batch, index):
        self.log("val/recall", -self.epochs.item())


def test_best_is_the_best_and_last_is_the_last_epoch(tmp_path):
    node = OmegaConf.load(CALLBACKS)
    chosen = OmegaConf.create({"callbacks": {name: node[name] for name in ("checkpoint", "last")}})
    chosen.callbacks.checkpoint.update(dirpath=str(tmp_path / "checkpoints"), monitor="val/recall")
    chosen.callbacks.last.update(dirpath=str(tmp_path / "checkpoints"))
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=list(instantiate(chosen.callbacks).values()),
        plugins=[WholeCheckpoints()],
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loader = DataLoader([0.0])
    trainer.fit(Getting(), loader, loader)
    found = {file.stem: torch.load(file, weights_only=True) for file in (tmp_path / "checkpoints").iterdir()}
    assert {name: one["state_dict"]["epochs"].item() for name, one in found.items()} == {"best": 1, "last": 3}
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A first checkpoint, while another folder is that of temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    WholeCheckpoints().save_checkpoint({"weights": torch.zeros(2)}, tmp_path / "run" / "best.ckpt")
    return tmp_path / "run" / "best.ckpt"


def all_files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_checkpoint_that_is_killed_before_its_end_leaves_the_one_before(written, tmp_path, monkeypatch):
    seen = []

    def killed(*_):
        seen.extend(all_files(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        WholeCheckpoints().save_checkpoint({"weights": torch.ones(2)}, written)
    assert {file.parent for file in seen} == {written.parent}, "beside it, so on its own file system"
    assert torch.load(written, weights_only=True)["weights"].sum() == 0 and all_files(tmp_path) == [written]


def test_a_checkpoint_that_finds_no_room_is_named_and_leaves_the_one_before(written, tmp_path):
    """A limit of the process stands in for the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError) as failure:
            WholeCheckpoints().save_checkpoint({"weights": torch.ones(100_000)}, written)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert (failure.value.errno, failure.value.filename) == (errno.EFBIG, str(written))
    assert torch.load(written, weights_only=True)["weights"].sum() == 0 and all_files(tmp_path) == [written]


@pytest.mark.parametrize("stop", [Stopped("kept", code=143), KeyboardInterrupt()])
def test_a_signal_within_a_write_comes_out_as_it_is(written, tmp_path, monkeypatch, stop):
    class Stream(io.BytesIO):
        def write(self, data):
            if self.tell():
                raise stop
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "whole_file", lambda _: nullcontext(Stream()))
        with pytest.raises(type(stop)) as raised:
            WholeCheckpoints().save_checkpoint({"weights": torch.ones(10_000)}, written)
    assert raised.value is stop and all_files(tmp_path) == [written]
