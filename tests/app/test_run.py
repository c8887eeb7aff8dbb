"""Whole runs in this process, of a model so small that they take seconds."""

import json
from pathlib import Path

import open_clip
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from fashionclip.app.again import MADE_WITH
from fashionclip.app.run import train
from fashionclip.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
CLOCK = "{_target_: lightning.pytorch.callbacks.Timer, duration: '00:01:00:00'}"
MONITOR = "val/text_to_image/mrr"


@pytest.fixture
def run(tmp_path, demo_dataset):
    """Trains with overrides; returns what training returns."""
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(tmp_path / "small.json")
    given = [
        "dataset=kaggle-products",
        f"dataset.root={demo_dataset.root}",
        "loss=contrastive",
        "model=tiny",
        "model.backbone.name=small",
        "data.batch_size=16",
        "data.num_workers=0",
        "trainer.max_epochs=1",
        f"hydra.run.dir={tmp_path}",
        f"hydra.runtime.output_dir={tmp_path}",
        "trainer.enable_progress_bar=false",
        f"loss.monitor={MONITOR}",
        "~logger.tensorboard",
    ]

    def trained(*overrides, of=None):
        """Of a run's folder: with its config alone, which is made again."""
        with initialize_config_dir(str(of or CONFIGS), version_base="1.3"):
            kept = [one for one in given if "~logger" not in overrides or one != "~logger.tensorboard"]
            cfg = compose("config" if of else "train", [*([] if of else kept), *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return train(cfg)

    yield trained
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def test_a_run_returns_what_its_best_checkpoint_has_on_val_and_made_again_it_is_the_same(run, tmp_path, capsys):
    returned = run("trainer.max_epochs=2")
    fitted = (
        pd.read_csv(tmp_path / "csv" / "metrics.csv")[MONITOR].dropna().tolist()[1:]
    )  # but for that before training
    results = json.loads((tmp_path / "results.json").read_text())
    assert returned == pytest.approx(max(fitted)) == results["val"][MONITOR]
    latency = results.pop("ranking_latency")
    assert results["monitor"] == MONITOR and set(results) == {"monitor", "val", "before", "after"}
    assert 0 < latency["text_to_image"]["p50_ms"] <= latency["text_to_image"]["p95_ms"]
    printed = capsys.readouterr().out
    assert printed.count("before training   ") == 1 and "epoch 2/2   loss" in printed
    assert f"best: {MONITOR} {returned:.3f}, after epoch" in printed and "  mrr *" in printed

    made = json.loads((tmp_path / MADE_WITH).read_text())
    (tmp_path / MADE_WITH).write_text(json.dumps(made | {"dataset": "x", "torch": "1.0", "gone": "3"}))
    checkpoint = (tmp_path / "checkpoints" / "best.ckpt").read_bytes()
    again = tmp_path / "again"
    assert run(f"hydra.runtime.output_dir={again}", of=tmp_path) == returned
    assert json.loads((again / "results.json").read_text()) | {"ranking_latency": latency} == results | {
        "ranking_latency": latency
    }
    assert (tmp_path / "checkpoints" / "best.ckpt").read_bytes() == checkpoint, "stays as it was"
    assert (again / "checkpoints" / "best.ckpt").is_file() and json.loads((again / MADE_WITH).read_text()) == made
    said = capsys.readouterr().out
    assert f"{tmp_path}: made again\n  the dataset is another one than that run's\n" in said
    assert f"\n  torch is {made['torch']}, was 1.0\n  gone is missing, was 3\n" in said


@pytest.mark.slow
def test_a_loss_of_ones_own_by_the_recipe_of_the_readme(run, tmp_path, monkeypatch):
    """Two files, and logger.csv left out besides: the picture of the history needs its table."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class MyLoss(nn.Module):\n"
        "    def forward(self, *, image, text, item_id, text_id):\n"
        "        return 1 - (image * text).sum(1).mean()\n"
    )
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(
        "relation:\n"
        "  _target_: fashionclip.data.relations.PairRelation\n"
        "function:\n"
        "  _target_: mine.MyLoss\n"
        "monitor: val/text_to_image/recall@1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run("loss=mine", f"hydra.searchpath=[file://{tmp_path}]", "~logger.csv", "~callbacks.learning_rate")
    assert json.loads((tmp_path / "results.json").read_text())["monitor"] == "val/text_to_image/mrr"
    assert not (tmp_path / "training_history.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["SupConLoss", "MultiSimilarityLoss", "CircleLoss", "ProxyAnchorLoss"])
def test_losses_of_pytorch_metric_learning_train(run, tmp_path, target):
    monitor = "val/image_to_image/recall@1"
    library = f"loss.function._target_=pytorch_metric_learning.losses.{target}"
    assert run("loss=metric-learning", library, f"loss.monitor={monitor}") > 0
    assert json.loads((tmp_path / "results.json").read_text())["monitor"] == monitor


@pytest.mark.parametrize(
    ("overrides", "best"),
    [
        (["+trainer.fast_dev_run=true"], False),
        pytest.param(
            ["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=3", "trainer.log_every_n_steps=null"],
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(["~logger", "~callbacks.learning_rate"], True, marks=pytest.mark.slow),
        pytest.param(["+trainer.overfit_batches=2"], True, marks=pytest.mark.slow),
        pytest.param(["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1"], True, marks=pytest.mark.slow),
        pytest.param(["+trainer.limit_test_batches=0"], True, marks=pytest.mark.slow),
        pytest.param(
            ["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3", "scheduler=plateau"],
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param([f"+callbacks.clock={CLOCK}"], True, marks=pytest.mark.slow),
    ],
)
def test_short_runs_and_other_settings_of_the_trainer_work(run, tmp_path, overrides, best, capsys):
    run(*overrides)
    assert (tmp_path / "checkpoints" / "best.ckpt").exists() == best
    assert ("no checkpoint was written" in capsys.readouterr().out) != best
    assert "after" in json.loads((tmp_path / "results.json").read_text())


@pytest.mark.slow
def test_a_profiler_reports(run, caplog):
    run("+trainer.profiler=simple")
    assert "FIT Profiler Report" in caplog.text


def test_a_monitor_that_is_not_measured_ends_before_the_first_step(run, tmp_path):
    with pytest.raises(InputError, match=r"loss\.monitor=val/judgement/auroc: not measured"):
        run("loss.monitor=val/judgement/auroc")
    assert not (tmp_path / "checkpoints").exists()
