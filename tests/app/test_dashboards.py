import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashionclip.app.dashboards import DESCRIBED_BY, check_wandb, ended_wandb, log_embeddings, log_pictures
from fashionclip.errors import InputError
from fashionclip.metrics.retrieval_metrics import Embedded


def test_the_projector_gets_vectors_thumbnails_and_what_they_show(demo_dataset, tmp_path):
    board, other = TensorBoardLogger(tmp_path, name="", version=""), CSVLogger(tmp_path)
    embedded = Embedded(torch.tensor([0, 3, 7]), torch.eye(3), torch.empty(0), torch.empty(0, 3))
    log_embeddings([other, board], demo_dataset, embedded, stage="after", step=12)
    folder = next(tmp_path.rglob("after"))
    assert folder.parent.name == "00012"
    header, *lines = (folder / "metadata.tsv").read_text().splitlines()
    columns = [column for column in DESCRIBED_BY if column in demo_dataset.manifest]
    assert header.split("\t") == columns and "text" in columns
    texts = demo_dataset.manifest["text"].iloc[[0, 3, 7]]
    assert [line.split("\t")[columns.index("text")] for line in lines] == [" ".join(t.split()) for t in texts]
    assert (folder / "tensors.tsv").read_text().splitlines()[1] == "0.0\t1.0\t0.0"
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.size == (2 * 48, 2 * 48), "three thumbnails on a square sheet"


def test_pictures_of_the_run_folder_are_shown(tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "triplets.png")
    board = TensorBoardLogger(tmp_path, name="board", version="")
    log_pictures([board], tmp_path, step=5)
    board.experiment.flush()
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    shown = events.Images("triplets")[0]
    assert (shown.step, shown.width, shown.height) == (5, 60, 40)


def test_a_wandb_run_ends_with_its_job_also_after_an_error(monkeypatch):
    ended = []
    monkeypatch.setitem(
        sys.modules, "wandb", SimpleNamespace(run="of this job", finish=lambda exit_code: ended.append(exit_code))
    )
    with ended_wandb():
        pass
    with pytest.raises(ZeroDivisionError), ended_wandb():
        _ = 1 / 0
    assert ended == [0, 1]
    sys.modules["wandb"].run = None
    with ended_wandb():
        pass
    assert len(ended) == 2, "where none was begun"


def test_without_a_login_wandb_is_refused_before_the_training(monkeypatch):
    loggers = OmegaConf.create({"wandb": {"_target_": "lightning.pytorch.loggers.WandbLogger", "offline": False}})
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(login=lambda **_: False))
    check_wandb(loggers)  # WANDB_MODE says offline
    monkeypatch.delenv("WANDB_MODE")
    with pytest.raises(InputError, match=r"Run `wandb login` once, or use logger\.wandb\.offline=true"):
        check_wandb(loggers)
    loggers.wandb.offline = True
    check_wandb(loggers)
