import sys
from types import SimpleNamespace

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_offline import read_offline

from fashionclip.app.dashboards import (
    DESCRIBED_BY,
    check_wandb,
    ended_wandb,
    log_best_checkpoint,
    log_config,
    log_embeddings,
    log_figures,
    log_pictures,
    make_loggers,
    name_of,
    slices_of,
)
from fashionclip.app.trial import TRIAL
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


SKUS = {f"test/query_to_sku/category/{kind}/{name}": value for kind, name, value in [
    ("dress", "queries", 40), ("dress", "recall@1", 0.5), ("hat", "queries", 2), ("hat", "recall@1", 1.0)
]}  # fmt: skip


def test_slices_are_lines_of_a_table():
    whole = {"test/query_to_sku/queries": 42, "test/query_to_sku/recall@1": 0.6}
    table = slices_of({"before": {**whole, **SKUS}, "after": {**whole, **SKUS}})
    assert table["slice"].tolist() == ["query_to_sku/category/dress", "query_to_sku/category/hat"]
    assert table["recall@1 after"].tolist() == [0.5, 1.0] and table["queries before"].tolist() == [40, 2]
    assert slices_of({"before": whole, "after": whole}).empty


def test_a_run_is_read_back_from_the_files_of_both_dashboards(tmp_path, monkeypatch):
    """Of Weights & Biases from its offline file; a trial of a search is grouped with the others."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    monkeypatch.setenv(TRIAL, "0,5")
    told = SimpleNamespace(mode=RunMode.RUN, runtime=SimpleNamespace(choices={"loss": "contrastive"}))
    monkeypatch.setattr(HydraConfig, "get", lambda: told)
    folder = tmp_path / "search" / "0"
    folder.mkdir(parents=True)
    Image.new("RGB", (60, 40), "red").save(folder / "triplets.png")
    (folder / "best.ckpt").write_bytes(b"weights")
    loggers = {
        "board": {"_target_": f"{TensorBoardLogger.__module__}.TensorBoardLogger", "save_dir": str(folder / "board")},
        "wandb": {
            "_target_": "lightning.pytorch.loggers.WandbLogger",
            **{"save_dir": str(folder), "offline": True, "log_model": True, "name": None, "group": None},
        },
        "none": None,
    }
    cfg = OmegaConf.create({"model": {"label": "lite0"}, "dataset": {"name": "demo"}, "logger": loggers})
    with ended_wandb():
        made = make_loggers(cfg.logger, folder, name=name_of(cfg))
        log_config(made, {"loss": {"temperature": 0.07}, "seed": 3})
        stages = {"before": {"test/x": 0.1}, "after": SKUS}
        log_figures(made, stages, best={"val/x": 0.4}, last={"val/x": 0.3}, known={"zero_shot": 0.2}, step=12)
        log_pictures(made, folder, step=12)
        log_best_checkpoint(cfg, made, str(folder / "best.ckpt"))
    run = read_offline(folder)
    assert (run["name"], run["group"]) == ("lite0 contrastive demo", "search")
    assert run["config"]["loss"] == {"temperature": 0.07} and run["config"]["seed"] == 3
    keys = ("best/val/x", "last/val/x", "before/test/x", "retention/zero_shot")
    assert [run["summary"][key] for key in keys] == [0.4, 0.3, 0.1, 0.2]
    assert run["logged"]["slices/nrows"] == 2 and "triplets/filenames" in run["logged"]
    assert list((folder / "wandb").rglob("media/images/triplets_*.png"))
    assert run["artifacts"][f"model-{run['id']}"] == ["best.ckpt"]
    made[0].experiment.flush()
    events = EventAccumulator(made[0].log_dir)
    events.Reload()
    shown = [events.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0] for name in ("config", "slices")]
    assert b"temperature: 0.07" in shown[0] and b"query_to_sku/category/hat" in shown[1]
