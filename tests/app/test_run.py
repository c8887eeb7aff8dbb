"""Whole runs in this process, of a model so small that they take seconds."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import Logger

from fashionclip import losses
from fashionclip.app.again import MADE_WITH
from fashionclip.app.checkpoint import backbone_of, load_checkpoint
from fashionclip.errors import InputError
from fashionclip.models.load import load_backbone
from fashionclip.retrieval.export.samples import embed
from fashionclip.retrieval.export.training_record import RECORD, read_record, weights_digest

REPO = Path(__file__).parents[2]
README = REPO / "README.md"
CLOCK = "{_target_: lightning.pytorch.callbacks.Timer, duration: '00:01:00:00'}"
MONITOR = "val/text_to_image/mrr"  # of conftest's `run`


def test_a_run_returns_what_its_best_checkpoint_has_on_val_and_made_again_it_is_the_same(run, tmp_path, capsys):
    returned = run("trainer.max_epochs=2")
    fitted = (
        pd.read_csv(tmp_path / "csv" / "metrics.csv")[MONITOR].dropna().tolist()[1:]
    )  # but for that before training
    results = json.loads((tmp_path / "results.json").read_text())
    assert returned == pytest.approx(max(fitted)) == results["val"][MONITOR]
    latency = results.pop("ranking_latency")
    assert (results["monitor"], results["chosen_on"], results["measured_on"]) == (MONITOR, "val", "test")
    low, high = results["intervals"]["after"]["test/text_to_image/recall@10"]
    assert low <= results["after"]["test/text_to_image/recall@10"] <= high
    queries = pd.read_parquet(tmp_path / "queries.parquet")
    mine = queries.query("stage == 'after' and direction == 'text_to_image'")
    assert mine["recall@10"].mean() == pytest.approx(results["after"]["test/text_to_image/recall@10"])
    assert {"category", "colour", "gender", "query", "group"} <= set(mine)
    assert 0 < latency["text_to_image"]["p50_ms"] <= latency["text_to_image"]["p95_ms"]
    printed = capsys.readouterr().out
    assert printed.count("before training   ") == 1 and "epoch 2/2   loss" in printed
    assert f"best: {MONITOR} {returned:.3f}, after epoch" in printed and "  mrr *" in printed

    made = json.loads((tmp_path / MADE_WITH).read_text())
    (tmp_path / MADE_WITH).write_text(json.dumps(made | {"dataset": "x", "torch": "1.0", "gone": "3"}))
    checkpoint = (tmp_path / "checkpoints" / "best.ckpt").read_bytes()
    again = tmp_path / "again"
    assert not (tmp_path / "report.html").exists()
    assert run(f"hydra.runtime.output_dir={again}", "report=true", of=tmp_path) == returned
    report = (again / "report.html").read_text()
    assert report.count("<details id=") == 3 and f"the best of training by {MONITOR}, {returned:.3f}" in report
    assert report.count("<img ") == 1 + len(list(again.glob("embedding_map*.png"))) > 3, "with the course of training"
    assert json.loads((again / "results.json").read_text()) | {"ranking_latency": latency} == results | {
        "ranking_latency": latency
    }
    assert (tmp_path / "checkpoints" / "best.ckpt").read_bytes() == checkpoint, "stays as it was"
    assert (again / "checkpoints" / "best.ckpt").is_file() and json.loads((again / MADE_WITH).read_text()) == made
    said = capsys.readouterr().out
    assert f"{tmp_path}: made again\n  the dataset is another one than that run's\n" in said
    assert f"\n  torch is {made['torch']}, was 1.0\n  gone is missing, was 3\n" in said


def test_without_a_test_split_val_is_measured_and_said_to_have_chosen(run, tmp_path, demo_dataset, capsys):
    shutil.copytree(demo_dataset.root, tmp_path / "two-way", ignore=shutil.ignore_patterns("features"))
    manifest = demo_dataset.manifest[demo_dataset.manifest["split"] != "test"]
    manifest.to_parquet(tmp_path / "two-way" / "manifest.parquet")
    returned = run(f"dataset.root={tmp_path / 'two-way'}", "trainer.max_epochs=2")
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["chosen_on"], results["measured_on"]) == ("val", "val")
    assert results["after"][MONITOR] == pytest.approx(returned) and MONITOR in results["before"]
    assert not any(name.startswith("test/") for stage in ("before", "after") for name in results[stage])
    fitted = pd.read_csv(tmp_path / "csv" / "metrics.csv")[MONITOR].dropna()
    assert len(fitted) == 3, "before training and after each epoch: the last measurement is no point of the curve"
    printed = capsys.readouterr().out
    assert "no test split: metrics are of val, on which the checkpoint is chosen as well" in printed
    assert "on the val split" in printed and "no test split: chosen and measured on val, so expect less" in printed


class TinyLogger(Logger):
    """The least that Lightning asks of a logger."""

    name, version = "tiny", 0

    def __init__(self, *, file):
        super().__init__()
        self.file = Path(file)

    def log_hyperparams(self, params):
        pass

    def log_metrics(self, metrics, step=None):
        with self.file.open("a") as stream:
            print(step, *metrics, file=stream)


def test_a_loss_of_ones_own_by_the_recipe_of_the_readme(run, tmp_path, monkeypatch):
    """With a callback and a logger more, and some fewer."""
    recipe = re.search(r"```yaml\n(# configs/loss/mine\.yaml.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    forward = re.search(r"forward\((self|\*).*\)", recipe[1])[0].replace("(*", "(self, *")
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(recipe[1])
    module = "fashionclip.losses." if "fashionclip.losses.mine" in recipe[1] else ""
    (tmp_path / "mine.py").write_text(
        f"from torch import nn\nclass MyLoss(nn.Module):\n    def {forward}:\n"
        "        return 1 - (image * text).sum(1).mean()\n"
    )
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "tiny", SimpleNamespace(TinyLogger=TinyLogger))
    average = "fashionclip.training.averaging.Averaging"
    more = [f"+callbacks.averaging._target_={average}", "+callbacks.averaging.decay=null", "trainer.max_epochs=2"]
    more += ["+logger.mine._target_=tiny.TinyLogger", f"+logger.mine.file={tmp_path / 'logged'}"]
    fewer = ["~logger.csv", "~callbacks.early_stopping", "callbacks.collapse=null", "~scheduler", "~augmentation"]
    run("loss=mine", f"hydra.searchpath=[file://{tmp_path}]", *more, *fewer)
    assert f"{module}mine" in sys.modules
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["monitor"] == "val/text_to_image/mrr" and results["before"] != results["after"]
    assert not (tmp_path / "training_history.png").exists(), "whose table is logger.csv's"
    logged = (tmp_path / "logged").read_text()
    assert {"train/loss", "lr-AdamW/pg1", MONITOR, "test/spread"} <= set(logged.split())
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    name = "backbone.clip.visual.proj"
    assert not torch.equal(best["state_dict"][name], best["current_model_state"][name]), "the average, and what trains"
    record = read_record(tmp_path / RECORD, decode_size=64)
    assert record.weights == weights_digest(backbone_of(load_checkpoint(tmp_path))), "the run ends with the average"


def test_lora_is_trained_and_its_checkpoint_is_read_as_a_plain_model(run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("peft")
    precisions = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
    faster = ["tf32=true", "model.grad_checkpointing=true", "model.patch_dropout=0.5"]
    run("tuning=lora", "optimizer.lr=0.01", "callbacks.collapse=null", *faster)
    assert precisions == ["high"]
    assert re.search(r"^  image blocks 1-1 +[\d,]+ +0.01 +0.1$", capsys.readouterr().out, re.MULTILINE)
    checkpoint = load_checkpoint(tmp_path)
    assert not [name for name in checkpoint["state_dict"] if "lora" in name or "base_layer" in name]
    backbone = backbone_of(checkpoint).eval()
    record = read_record(tmp_path / RECORD, decode_size=64)
    assert record.weights == weights_digest(backbone)
    found = embed(backbone, record.samples)
    for name, rows in record.embeddings.items():
        assert abs(found[name] - rows).max() < 1e-5
    whole = load_backbone(name="small", pretrained=str(tmp_path / "checkpoints" / "best.ckpt"))
    assert weights_digest(whole) == record.weights, "as weights to begin with, too"


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
        pytest.param(
            ["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=3", "trainer.log_every_n_steps=null"],
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(["~logger", "~callbacks.learning_rate"], True, marks=pytest.mark.slow),
        pytest.param(["+trainer.overfit_batches=2"], True, marks=pytest.mark.slow),
        pytest.param(
            [
                "scheduler._target_=torch.optim.lr_scheduler.StepLR",
                "~scheduler.warmup",
                "~scheduler.final",
                "+scheduler.step_size=2",
            ],
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1"], True, marks=pytest.mark.slow),
        pytest.param(["+trainer.limit_test_batches=0"], True, marks=pytest.mark.slow),
        pytest.param(
            ["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3", "scheduler=plateau"],
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param([f"+callbacks.clock={CLOCK}"], True, marks=pytest.mark.slow),
        pytest.param(["+callbacks.checkpoint.save_top_k=0", "wise_ft.alphas=[0.5]"], False, marks=pytest.mark.slow),
    ],
)
def test_short_runs_and_other_settings_of_the_trainer_work(run, tmp_path, overrides, best, capsys):
    run(*overrides)
    assert (tmp_path / "checkpoints" / "best.ckpt").exists() == best
    said = capsys.readouterr().out
    assert ("no checkpoint was written" in said) != best
    assert ("nothing was mixed" in said) == any("wise_ft" in override for override in overrides)
    assert "after" in json.loads((tmp_path / "results.json").read_text())


@pytest.mark.slow
def test_a_profiler_reports(run, caplog):
    run("+trainer.profiler=simple")
    assert "FIT Profiler Report" in caplog.text


def test_debug_fast_runs_a_batch_of_each_and_writes_no_results(run, tmp_path, capsys):
    run("debug=fast")
    said = capsys.readouterr().out
    assert "epoch 1/1   loss" in said and said.endswith("have run through; no results are written\n")
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "made_with.json", "small.json"}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["contrastive", "semipos"])
def test_debug_overfit_learns_its_batch_by_heart(run, tmp_path, loss):
    monitor = "val/image_to_image/recall@1"
    run("debug=overfit", f"loss={loss}", f"loss.monitor={monitor}", "model.lr=1e-2", "trainer.max_epochs=30")
    loss = pd.read_csv(tmp_path / "csv" / "metrics.csv")["train/loss"].dropna().tolist()
    assert len(loss) == 30 and loss[-1] < 0.6 * loss[0]
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.slow
def test_debug_profile_leaves_a_report(run, tmp_path, capsys):
    run("debug=profile")
    report = tmp_path / "fit-profile.txt"
    assert f"profile: {report}" in capsys.readouterr().out and "RetrievalModule.optimizer_step" in report.read_text()


def test_a_monitor_that_is_not_measured_ends_before_the_first_step(run, tmp_path):
    with pytest.raises(InputError, match=r"loss\.monitor=val/judgement/auroc: not measured"):
        run("loss.monitor=val/judgement/auroc")
    assert not (tmp_path / "checkpoints").exists()
