"""Trainings that get a signal, in processes of their own."""

import os
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
        code = process.wait(timeout=60)
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
