"""Trainings that get a signal, in processes of their own."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).parents[2]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
AT_ONCE = "before training"
LATER = "epoch 2/"


def start(dataset, folder, *arguments):
    """A training that would go on for long, in a session of its own, with its output in a file."""
    command = [
        "loss=contrastive",
        "model=tiny",
        "dataset=kaggle-products",
        f"dataset.root={dataset.root}",
        "data.batch_size=12",
        "data.num_workers=1",
        "trainer.max_epochs=500",
        "trainer.enable_progress_bar=false",
        "~callbacks.early_stopping",
        f"hydra.run.dir={folder}",
        *arguments,
    ]
    if arguments and arguments[0].startswith("resume="):
        command = list(arguments)
    return subprocess.Popen(
        [sys.executable, "train.py", *command],
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=folder.with_suffix(".out").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background ignores it
    )


def wait_for(text, process, file):
    end = time.monotonic() + 600
    while text not in file.read_text():
        assert process.poll() is None and time.monotonic() < end, file.read_text()[-3000:]
        time.sleep(0.05)


def of_session(leader):
    """Commands of the processes that still run in a session."""
    listed = subprocess.run(["ps", "-e", "-o", "sess=,stat=,args="], text=True, capture_output=True, check=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    return [line for line in lines if line[0] == str(leader) and not line[1].startswith("Z")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "everybody", "moment", "more"),
    [
        (signal.SIGTERM, False, LATER, []),
        (signal.SIGINT, True, LATER, []),
        (signal.SIGTERM, True, AT_ONCE, []),
        (signal.SIGUSR1, True, LATER, []),  # loading processes, too: SLURM asks whoever belongs to the job
        (signal.SIGTERM, False, LATER, TWO),
        (signal.SIGINT, True, LATER, TWO),  # as Ctrl-C does
    ],
)
def test_a_signal_ends_a_training_with_what_is_kept(demo_dataset, tmp_path, number, everybody, moment, more):
    folder, file = tmp_path / "run", tmp_path / "run.out"
    process = start(demo_dataset, folder, *more)
    try:
        wait_for(moment, process, file)
        (os.killpg if everybody else os.kill)(process.pid, number)
        code = process.wait(timeout=240)  # at Ctrl-C the best epoch is measured first
        end = time.monotonic() + 15  # loading processes of a killed process look every 5 s whether it is still there
        while (left := of_session(process.pid)) and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        if of_session(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    said = file.read_text()
    assert code == 128 + number and not left, said[-3000:]
    assert said.index(f"run folder: {folder}") < said.index("before training"), "it is said at the start"
    lines = [line for line in said.splitlines() if line.startswith("stopped by")]
    assert len(lines) == 1 and str(folder) in lines[0] and number.name in lines[0]
    assert "Traceback" not in said or "Exception ignored" in said
    best = folder / "checkpoints" / "best.ckpt"
    assert ("before the first checkpoint" in lines[0]) == (not best.exists())
    if moment == LATER:
        assert f"kept: {best}" in lines[0] and "val/text_to_image/recall@10 " in lines[0]
        for name in ("best", "last"):
            assert "state_dict" in torch.load(best.with_name(f"{name}.ckpt"), weights_only=True)
        assert f"python train.py resume={folder} goes on" in lines[0]
        results = folder / "results.json"
        assert results.exists() == (number == signal.SIGINT)
        if results.exists():
            measured = json.loads(results.read_text())
            assert measured["stopped"].startswith("after step") and measured["after"] != measured["before"]


def ended(process, file):
    assert process.wait(timeout=600) == 0, file.read_text()[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["augmentation=strong", "data.num_workers=2", "loss=mixed", "loss.monitor=val/image_to_image/recall@1"],
        ["model=lite0", *TWO, "trainer.precision=32-true", "data.batch_size=6", "loss.hard_negatives.every=2"],
        pytest.param(
            ["trainer=gpu", "trainer.deterministic=warn", "callbacks=ema"],
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
        ),
    ],
)
def test_a_training_that_is_killed_anywhere_and_goes_on_ends_with_the_same_bits(demo_dataset, tmp_path, more):
    more = ["trainer.max_epochs=3", "callbacks.last.steps=1", "~logger.tensorboard", *more]
    ended(start(demo_dataset, tmp_path / "whole", *more), tmp_path / "whole.out")
    killed = tmp_path / "killed"
    last = killed / "checkpoints" / "last.ckpt"
    arguments, seen = more, 0
    for _ in range(2):  # the second time in a training that went on
        process = start(demo_dataset, killed, *arguments)
        step = seen + random.SystemRandom().randrange(1, 7)
        print(f"killed at step {step}")
        while seen < step:
            assert process.poll() is None, killed.with_suffix(".out").read_text()[-3000:]
            with contextlib.suppress(OSError):
                seen = torch.load(last, weights_only=True, mmap=True)["global_step"]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        arguments = [f"resume={killed}"]
    ended(start(demo_dataset, killed, *arguments), killed.with_suffix(".out"))
    assert "goes on after step" in killed.with_suffix(".out").read_text()
    for name in ("best", "last"):
        one, other = (
            torch.load(tmp_path / run / "checkpoints" / f"{name}.ckpt", weights_only=True)
            for run in ("whole", "killed")
        )
        assert all(torch.equal(one["state_dict"][key], other["state_dict"][key]) for key in one["state_dict"])
        assert (one["global_step"], str(one["optimizer_states"])) == (
            other["global_step"],
            str(other["optimizer_states"]),
        )
    tables = [(tmp_path / run / "csv" / "metrics.csv").read_text() for run in ("whole", "killed")]
    assert tables[0] == tables[1]
    results = [json.loads((tmp_path / run / "results.json").read_text()) for run in ("whole", "killed")]
    assert results[0]["after"] == results[1]["after"] and results[0]["val"] == results[1]["val"]
