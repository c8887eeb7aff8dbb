"""Every loss takes real steps as one process, two and under torchrun, in full and in mixed precision: what
`make check-gpu` does on GPUs, on a CPU."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from fashionclip.app.checkpoint import load_checkpoint
from fashionclip.app.cli import main

REPO = Path(__file__).parents[2]
DEVICES = runpy.run_path(str(REPO / "benchmarks" / "check_devices.py"))
DEFAULT = [("semipos", "2 processes", "bf16-mixed")]  # what broke; all others are slow tests


def cases():
    for case in product(DEVICES["LOSSES"], DEVICES["LAUNCHES"], ("32-true", "bf16-mixed")):
        yield pytest.param(*case, marks=[] if case in DEFAULT else pytest.mark.slow)


@pytest.mark.parametrize(("loss", "launch", "precision"), cases())
def test_trained_evaluated_and_exported(loss, launch, precision, demo_dataset, tmp_path, monkeypatch):
    """The training in processes of its own, the rest in this one."""
    monkeypatch.chdir(REPO)

    def run(*arguments):
        if "train.py" in map(str, arguments):
            DEVICES["in_process_of_its_own"](*arguments, "report=false")
        elif arguments[0] == "-m":
            main(list(map(str, arguments[2:])))
        else:
            monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
            runpy.run_path(arguments[0], run_name="__main__")

    of = {"accelerator": "cpu", "data": demo_dataset.root, "folder": tmp_path}
    found = DEVICES["check"](loss, launch, precision, **of, run=run)
    assert 0 < found.least < found.first  # not the last one: of 11 photos, after 4 steps, it may be any


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compiled_towers_learn_the_same(precision, demo_dataset, tmp_path):
    of = {"accelerator": "cpu", "data": demo_dataset.root}
    plain = DEVICES["check"]("contrastive", "1 process", precision, folder=tmp_path / "plain", again=False, **of)
    compiled = DEVICES["check"](
        "contrastive", "1 process", precision, folder=tmp_path / "compiled", more=("model.compile=true",), **of
    )
    assert compiled.first == pytest.approx(plain.first, rel=1e-5 if precision == "32-true" else 2e-2)
    assert compiled.least < compiled.first


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A home of the hub's client that holds random weights in place of CLIP ViT-B/32's."""
    home = tmp_path_factory.mktemp("hub")
    repository = home / "hub" / "models--timm--vit_base_patch32_clip_224.openai"
    snapshot = repository / "snapshots" / ("0" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    model = open_clip.create_model("ViT-B-32", force_quick_gelu=True)
    save_file(model.state_dict(), snapshot / "open_clip_model.safetensors")
    return home


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["seeker", "clothing-search"])
def test_published_recipes_take_steps_in_mixed_precision(experiment, demo_dataset, hub, tmp_path, monkeypatch):
    """As their YAML headers write it, but for time: the client finds weights of their tag where it keeps them."""
    monkeypatch.setenv("HF_HOME", str(hub))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "data.batch_size=16", "data.num_workers=0"]
    data = [f"dataset.root={demo_dataset.root}"] if experiment == "clothing-search" else [
        f"dataset.root={tmp_path / 'data'}", f"dataset.demo_source={tmp_path / 'raw'}", "dataset.demo_items=20",
        "dataset.max_side=160", "dataset.ratios={train: 0.6, val: 0.2, test: 0.2}",
    ]  # fmt: skip
    given = [f"experiment={experiment}", "trainer=gpu", "trainer.accelerator=cpu", *short, *data]
    DEVICES["in_process_of_its_own"]("train.py", *given, f"hydra.run.dir={tmp_path / 'run'}")
    config = load_checkpoint(tmp_path / "run")["config"]
    assert config["model"]["backbone"]["pretrained"] == "openai" and config["trainer"]["precision"] == "bf16-mixed"
    assert (tmp_path / "run" / "results.json").is_file()


@pytest.mark.slow
def test_every_task_measures_the_same_on_two_processes_of_a_run_without_texts(demo_dataset, tmp_path):
    run = tmp_path / "run"
    data = ["dataset=kaggle-products", f"dataset.root={demo_dataset.root}", "data.num_workers=0"]
    short = ["model=tiny", "data.batch_size=16", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    DEVICES["in_process_of_its_own"]("train.py", "loss=semipos", *data, *short, f"hydra.run.dir={run}")
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    found = []
    for name, devices in ("one", []), ("two", two):
        given = [
            f"ckpt={run}",
            "evaluation=all",
            "split=train",
            "data.num_workers=0",
            f"hydra.run.dir={tmp_path / name}",
        ]
        DEVICES["in_process_of_its_own"]("evaluate.py", *given, *devices)
        found.append(json.loads((tmp_path / name / "results.json").read_text()))
    for figures in ("metrics", "intervals"):
        alone, shared = (dict(one[figures].get("metrics", one[figures])) for one in found)
        assert alone == {name: pytest.approx(value, abs=1e-5, nan_ok=True) for name, value in shared.items()}
    assert {"train/image_to_image/recall@1", "train/zero_shot_category/accuracy"} <= set(found[0]["metrics"])


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["the first", "the second"])
def test_a_killed_process_ends_the_other_with_a_line(killed, demo_dataset, tmp_path):
    command = [
        sys.executable, "train.py", "loss=semipos", "dataset=kaggle-products", f"dataset.root={demo_dataset.root}",
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "model=tiny", "data.batch_size=16",
        "data.num_workers=0", "trainer.max_epochs=1000", "callbacks.early_stopping.patience=1000",
        f"hydra.run.dir={tmp_path}",
    ]  # fmt: skip
    with open(tmp_path / "said", "w+") as said:
        first = subprocess.Popen(command, cwd=REPO, stdout=said, stderr=said)
        start = time.monotonic()
        while not (tmp_path / "checkpoints" / "best.ckpt").exists() and time.monotonic() - start < 300:
            time.sleep(0.5)
        found = subprocess.run(
            ["pgrep", "-P", str(first.pid), "-f", "train_ddp_process_1"], text=True, capture_output=True
        )
        second = int(found.stdout.split()[0])
        os.kill(first.pid if killed == "the first" else second, signal.SIGKILL)
        start = time.monotonic()
        first.wait(timeout=60)
        while alive(second) and time.monotonic() - start < 60:
            time.sleep(0.5)
        assert not alive(second)
        said.seek(0)
        assert "another process of this run has ended" in said.read()
    assert first.returncode != 0


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run make check-gpu")
def test_without_a_gpu_the_check_says_that_it_did_not_run(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "argv", ["check_devices.py"])
    with pytest.raises(SystemExit, match="did NOT run: torch sees no GPU"):
        DEVICES["main"]()
