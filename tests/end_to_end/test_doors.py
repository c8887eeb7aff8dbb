"""The three scripts as a user runs them: the first training and several jobs in a process of their own, the rest in
this one, whose imports are done."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from wandb_offline import read_offline

from fashionclip.drawing.catalog import write_demo_catalog
from fashionclip.prepare.deepfashion2.standin import write_deepfashion2_fixture

REPO = Path(__file__).parents[2]
SMALL = ["model=tiny", "trainer.max_epochs=2", "data.batch_size=16", "data.num_workers=0"]


def run(script, *arguments):
    """The output of a script that must end well."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)], cwd=REPO, env=environment, text=True, capture_output=True
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    return output


@pytest.fixture
def run_here(monkeypatch, capfd):
    """The output of a script that runs in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_here(script, *arguments):
        monkeypatch.chdir(REPO)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        capfd.readouterr()
        runpy.run_path(script, run_name="__main__")
        return "".join(capfd.readouterr())

    return run_here


@pytest.fixture
def evaluate(run_here):
    return partial(run_here, "evaluate.py", "data.num_workers=0")


@pytest.fixture(scope="module")
def dataset(demo_dataset):
    return ["dataset=kaggle-products", f"dataset.root={demo_dataset.root}"]


@pytest.fixture(scope="module")
def search(dataset):
    """Product search: the default is triplets."""
    return ["loss=contrastive", *dataset]


def test_train_then_evaluate(search, tmp_path, evaluate):
    folder = tmp_path / "run"
    output = run("train.py", *SMALL, *search, f"hydra.run.dir={folder}")
    assert "text to image" in output and f"run folder: {folder}" in output
    results = json.loads((folder / "results.json").read_text())
    before, after = results["before"], results["after"]
    assert after["test/text_to_image/mrr"] > before["test/text_to_image/mrr"]
    assert {"test/clip_score", "test/matching_accuracy", "test/image_to_image/map@r"} <= set(after)
    history = pd.read_csv(folder / "csv" / "metrics.csv")
    assert history["val/text_to_image/recall@10"].dropna().index.size == 3, "before training and after each epoch"
    assert list((folder / "tensorboard").glob("events.*"))
    assert (folder / "checkpoints" / "best.ckpt").is_file() and "batch_size: 16" in (folder / "config.yaml").read_text()
    for name in ("training_history.png", "examples.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 500

    again = tmp_path / "again"
    evaluate(f"ckpt={folder}", f"hydra.run.dir={again}")
    measured = json.loads((again / "results.json").read_text())["metrics"]
    assert measured == pytest.approx(after, abs=1e-6)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """What a bare `python train.py` runs on, in small; prepared by whoever comes first."""
    folder = tmp_path_factory.mktemp("bare")
    return [
        f"dataset.root={folder / 'prepared'}",
        f"dataset.demo_source={folder / 'raw'}",
        "dataset.demo_items=20",
        "dataset.max_side=160",
        "dataset.ratios={train: 0.6, val: 0.2, test: 0.2}",
        "model=tiny",
        "data.batch_size=30",
        "data.num_workers=0",
        "trainer.max_epochs=1",
    ]


def test_a_bare_run_learns_triplets_of_the_demo(bare, tmp_path, run_here, evaluate):
    output = run_here("train.py", *bare, "loss.mining=batch-hard", f"hydra.run.dir={tmp_path / 'run'}")
    assert "variants of 20 base photos" in output, "prepared on first use"
    results = json.loads((tmp_path / "run" / "results.json").read_text())["after"]
    assert {"test/triplet/accuracy", "test/triplet/order_accuracy/text/replaced", "test/spread"} <= set(results)
    assert not any("text_to_image" in name for name in results), "no text was trained"
    assert (tmp_path / "run" / "triplets.png").is_file()
    projector = tmp_path / "run" / "tensorboard" / "00000" / "before" / "metadata.tsv"
    assert projector.read_text().startswith("kind\tcaption\ttext\tbase_id")
    evaluate(f"ckpt={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'again'}")
    again = json.loads((tmp_path / "again" / "results.json").read_text())["metrics"]
    assert again == pytest.approx(results, abs=1e-6, nan_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "measure"), [("contrastive", "text_to_image/mrr"), ("match-mismatch", "judgement/auroc")]
)
def test_captions_as_texts(bare, loss, measure, tmp_path, run_here):
    run_here("train.py", *bare, f"loss={loss}", f"hydra.run.dir={tmp_path}")
    after = json.loads((tmp_path / "results.json").read_text())["after"]
    assert {f"test/{measure}", "test/triplet/order_accuracy"} <= set(after)


@pytest.mark.slow
def test_triplets_of_products(dataset, tmp_path, run_here):
    run_here("train.py", "loss=semipos", *SMALL, *dataset, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}")
    assert "test/image_to_image/recall@1" in json.loads((tmp_path / "results.json").read_text())["after"]


@pytest.fixture
def skus(demo_dataset, tmp_path, monkeypatch, run_here):
    """A small DeepFashion2, prepared."""
    monkeypatch.setenv("DF2_ROOT", str(tmp_path / "raw"))
    monkeypatch.setenv("SKU_ROOT", str(tmp_path / "prepared"))
    photos = demo_dataset.root / "images"
    write_deepfashion2_fixture(tmp_path / "raw", photos=photos, images=120, faults=False, workers=0)
    assert "kept" in run_here(
        "prepare.py", "dataset=df2", "dataset.max_side=160", "dataset.workers=0", "dataset.dev_split=0.3"
    )
    return ["dataset=df2", "loss=mixed", *SMALL, "trainer.max_epochs=1"]


def test_users_photos_and_texts_find_the_shops_sku(skus, tmp_path, run_here):
    printed = run_here("train.py", *skus, f"hydra.run.dir={tmp_path / 'run'}")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    after = results["after"]
    assert {"test/query_to_sku/recall@20", "test/query_to_sku_mean/mrr", "test/text_to_sku_seen/texts"} <= set(after)
    assert 0 < after["test/query_to_sku_seen/skus"] <= after["test/query_to_sku/skus"]
    assert set(after) == set(results["before"]) and "query to sku seen" in printed
    of_occlusion = [after.get(f"test/query_to_sku/occlusion/{level}/queries", 0) for level in (1, 2, 3)]
    assert sum(of_occlusion) == after["test/query_to_sku/queries"]
    assert f"1 ({of_occlusion[0]:g} queries)" in printed
    assert after["test/text_to_sku/texts"] > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "measure"),
    [("semipos", "query_to_sku/mrr"), ("contrastive", "text_to_sku/mrr"), ("match-mismatch", "judgement/auroc")],
)
def test_every_loss_on_skus(skus, loss, measure, tmp_path, run_here):
    given = [f"loss={loss}" if part == "loss=mixed" else part for part in skus]
    run_here("train.py", *given, f"hydra.run.dir={tmp_path / 'run'}")
    assert f"test/{measure}" in json.loads((tmp_path / "run" / "results.json").read_text())["after"]
    assert (tmp_path / "run" / "examples.png").is_file()


@pytest.mark.slow
def test_seen_skus_on_two_processes_and_again_on_one(skus, tmp_path):
    devices = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    run("train.py", *skus, *devices, "data.batch_size=8", f"hydra.run.dir={tmp_path / 'run'}")
    after = json.loads((tmp_path / "run" / "results.json").read_text())["after"]
    again = ["evaluate.py", f"ckpt={tmp_path / 'run'}", "data.num_workers=0", f"hydra.run.dir={tmp_path / 'again'}"]
    run(*again)
    found = json.loads((tmp_path / "again" / "results.json").read_text())["metrics"]
    assert found == pytest.approx(after, abs=1e-5, nan_ok=True) and "test/query_to_sku_seen/recall@1" in found
    run("evaluate.py", "model=tiny", "dataset=df2", "data.num_workers=0", f"hydra.run.dir={tmp_path / 'untouched'}")
    untouched = json.loads((tmp_path / "untouched" / "results.json").read_text())["metrics"]
    assert "test/query_to_sku/recall@1" in untouched and not any("seen" in name for name in untouched)


def test_judgements_of_products(demo_dataset, tmp_path, run_here, evaluate):
    data = ["dataset=judgements-derived", f"dataset.root={tmp_path / 'prepared'}"]
    source = f"dataset.source={demo_dataset.root}"
    said = run_here("prepare.py", *data, source, "dataset.matches=2", "dataset.mismatches=2")
    assert "judgements of" in said and "shuffled" in said
    small = [*data, "model=tiny", "data.batch_size=16", "data.num_workers=0", "trainer.max_epochs=1"]
    short = ["trainer.limit_train_batches=2", f"hydra.run.dir={tmp_path / 'run'}"]
    run_here("train.py", "loss=match-mismatch", *small, *short)
    results = json.loads((tmp_path / "run" / "results.json").read_text())["after"]
    assert {"test/judgement/auroc", "test/judgement/auroc/colour", "test/judgement/calibration_error"} <= set(results)
    for name in ("reliability.png", "training_history.png", "offenders.png"):
        with Image.open(tmp_path / "run" / name) as picture:
            assert picture.width > 400
    said = evaluate(f"ckpt={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'again'}")
    assert f"worst judgements: {tmp_path / 'again' / 'offenders.png'}" in said
    assert (tmp_path / "again" / "offenders.png").is_file()
    again = json.loads((tmp_path / "again" / "results.json").read_text())["metrics"]
    assert again == pytest.approx(results, abs=1e-6, nan_ok=True), "threshold and calibration are the checkpoint's"


@pytest.mark.slow
def test_texts_and_judgements_at_once(demo_dataset, tmp_path, run_here):
    data = ["dataset=judgements-derived", f"dataset.root={tmp_path / 'prepared'}"]
    run_here("prepare.py", *data, f"dataset.source={demo_dataset.root}", "dataset.matches=2", "dataset.mismatches=2")
    short = ["trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}"]
    run_here("train.py", "loss=mixed-judgements", *data, *SMALL, *short)
    after = json.loads((tmp_path / "run" / "results.json").read_text())["after"]
    assert {"test/judgement/auroc", "test/text_to_image/mrr"} <= set(after)


def test_a_table_of_judgements_is_checked(tmp_path, run_here):
    with Image.new("RGB", (300, 300), "red") as photo:
        photo.save(tmp_path / "red.png")
    table = tmp_path / "pairs.csv"
    rows = ("red.png;Red cotton shirt with round neck;Match", "red.png;Blue cotton shirt with round neck;Mismatch")
    table.write_text("\n".join(("image_path;text;label", *rows)))
    command = ["dataset=judgements-csv", f"dataset.source={table}", f"dataset.report={tmp_path / 'validation.json'}"]
    told = [f"dataset.root={tmp_path / 'prepared'}", "check_only=true", f"check_to={tmp_path / 'to'}"]
    said = run_here("prepare.py", *command, *told)
    assert "few_rows: all: 2 judgements, under 100" in said and "nothing is prepared" in said
    assert (tmp_path / "to" / "contact_sheet.png").is_file() and not (tmp_path / "prepared").exists()
    assert json.loads((tmp_path / "validation.json").read_text())["valid"]


def test_errors_in_a_table_end_with_a_status(tmp_path, monkeypatch, capfd):
    table = tmp_path / "pairs.csv"
    table.write_text("image_path,text,label\nnone.png,Red cotton shirt with round neck,maybe\n")
    command = ["dataset=match-mismatch", f"dataset.source={table}", f"dataset.report={tmp_path / 'validation.json'}"]
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(sys, "argv", ["prepare.py", *command, "dataset.check_only=true"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path("prepare.py", run_name="__main__")
    assert "invalid_label (1), missing_image (1)" in str(end.value.code)
    said = capfd.readouterr().out
    assert "pairs.csv:2: no file 'none.png'" in said and "pairs.csv:2: label 'maybe', expected match" in said
    assert not json.loads((tmp_path / "validation.json").read_text())["valid"]


def test_multirun_leaves_a_folder_each_a_run_of_wandb_each_and_a_table(search, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    one_epoch = ["trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    output = run(
        "train.py",
        "-m",
        "loss.temperature=0.05,0.2",
        *SMALL[:1],
        *SMALL[2:],
        *search,
        *one_epoch,
        "logger=wandb",
        "logger.wandb.offline=true",
        "report=false",
        f"hydra.sweep.dir={tmp_path}",
    )
    summary = pd.read_csv(tmp_path / "multirun.csv")
    assert sorted(summary["loss.temperature"]) == [0.05, 0.2]
    assert summary["val"].is_monotonic_decreasing and "2 runs in" in output
    runs = {}
    for job, val in zip(summary["job"], summary["val"], strict=True):
        results = json.loads((tmp_path / str(job) / "results.json").read_text())
        assert val == pytest.approx(results["val"][results["monitor"]])
        kept = runs[job] = read_offline(tmp_path / str(job))
        assert kept["name"] == "tiny contrastive kaggle-products" and kept["group"] == tmp_path.name
        assert kept["config"]["loss"]["temperature"] == summary.set_index("job")["loss.temperature"][job]
        assert kept["summary"][f"best/{results['monitor']}"] == pytest.approx(val)
        assert kept["summary"]["test/text_to_image/mrr"] == pytest.approx(results["after"]["test/text_to_image/mrr"])
        assert kept["artifacts"][f"model-{kept['id']}"] == ["best.ckpt"]
        for picture in ("examples", "training_history"):
            (shown,) = kept["logged"][f"{picture}/filenames"]
            assert list((tmp_path / str(job) / "wandb").rglob(shown))
    assert runs[0]["id"] != runs[1]["id"], "each job has a W&B run of its own"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train.py", "nonsense=1"], "nonsense"),
        (["train.py", "model=nonsense"], "lite0"),
        (["prepare.py", "dataset=kaggle-products"], "dataset.source: not given"),
        (["prepare.py", "dataset=kaggle-products", "dataset.source=no/such"], "no such file or folder. Expected"),
        (["prepare.py", "dataset=judgements-csv"], "dataset.source: not given"),
        (
            ["prepare.py", "dataset=judgements-derived"],
            "dataset.source: not given. Expected the raw data (of judgements-",
        ),
        (["prepare.py", "dataset=match-mismatch", "dataset.derive_from=x"], "Use dataset=judgements-derived dataset."),
        (
            ["train.py", "loss=match-mismatch", "dataset=match-mismatch", "dataset.derive_from=x"],
            "Use dataset=judgements-derived dataset.",
        ),
        (["prepare.py", "dataset=match-mismatch", "dataset.source=no/such"], "no such file or folder. Expected a CSV"),
        (["train.py", "dataset=kaggle-products", "dataset.root=no/such"], "Run: python prepare.py"),
        (["train.py", *SMALL, "data.batch_size=0"], "data.batch_size=0: expected a whole number >= 1."),
        (["train.py", "model=marqo-fashionclip"], "Ways on:"),
        (["train.py", "model=lite0", "augmentation=light"], "data.cache_features=false"),
        (["evaluate.py"], "Use ckpt=RUN_OR_EXPORT"),
        (["evaluate.py", "ckpt=no/such"], "Expected a run folder"),
        (["evaluate.py", "ckpt=README.md"], "Expected a checkpoint that train.py wrote"),
    ],
)
def test_a_mistake_ends_in_one_message(command, message, dataset, tmp_path, monkeypatch, capfd):
    script, *arguments = command
    if script == "train.py" and not any("dataset" in a or "nonsense" in a for a in arguments):
        arguments += dataset
    folder = [] if script == "prepare.py" else [f"hydra.run.dir={tmp_path}"]
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(sys, "argv", [script, *arguments, *folder])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    said = f"{end.value.code}\n{capfd.readouterr().err}"
    assert end.value.code and message in said and "Traceback" not in said


def test_ctrl_c_leaves_nothing_half_and_the_same_command_goes_on(tmp_path, run_here):
    write_demo_catalog(tmp_path / "raw", items=60, shots=3, seed=0)
    root = tmp_path / "prepared"
    command = ["dataset=kaggle-products", f"dataset.source={tmp_path / 'raw'}", f"dataset.root={root}"]
    process = subprocess.Popen(
        [sys.executable, "prepare.py", *command, "dataset.max_side=100"],
        cwd=REPO,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in a shell's background ignores it
    )
    images = tmp_path / ".prepared.fashionclip" / "new" / "images"
    while process.poll() is None and not any(images.glob("*.jpg")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "goes on from here" in message and not root.exists()
    assert "kept 180 of 180" in run_here("prepare.py", *command, "dataset.max_side=100")
    assert json.loads((root / "dataset.json").read_text())["counts"]["kept"] == 180
