"""Every loss takes real steps on this machine's devices, is evaluated, saved, loaded and exported.

    python benchmarks/check_devices.py                      # on GPUs: what `make check-gpu` calls
    python benchmarks/check_devices.py --accelerator cpu    # the same paths on a CPU, as the slow tests take them

Each line it prints is a run of `train.py` on a drawn catalogue: mixed precision, one process or two, compiled or not.
Its first loss is compared with that of a CPU in full precision on the same batch (`FIRST_LOSS`), its test metrics with
those of `evaluate.py` in a process of its own, and `fashionclip export` compares embeddings. It exits with 1 where one
of them differs, and where there is no GPU to check.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

REPO = Path(__file__).parents[1]
LOSSES = {
    "contrastive": ["loss=contrastive"],
    "sigmoid": ["loss=contrastive", "loss.form=sigmoid"],
    "semipos": ["loss=semipos"],
    "metric-learning": [
        "loss=metric-learning",
        "loss.function._target_=pytorch_metric_learning.losses.ProxyAnchorLoss",
    ],
    "match-mismatch": ["loss=match-mismatch"],
    "mixed": ["loss=mixed"],
}
LAUNCHES = ("1 process", "2 processes", "torchrun")
# Largest relative difference of the first loss from that of a CPU in full precision, and of metrics measured again.
FIRST_LOSS = {"32-true": 1e-3, "bf16-mixed": 3e-2, "16-mixed": 1e-2}
MEASURED_AGAIN = {"32-true": 1e-5, "bf16-mixed": 3e-2, "16-mixed": 3e-2}
PEAK = "DeviceStatsMonitor.on_train_batch_end/allocated_bytes.all.peak"


@dataclass
class Checked:
    """First loss of a run, least one after it, seconds of training, and peak memory in MB, of GPUs."""

    first: float
    least: float
    seconds: float
    peak: float


def in_process_of_its_own(*arguments: object) -> str:
    """Runs Python in the project's folder.

    Args:
        arguments: What follows `python` on the command line.

    Returns:
        What it printed.

    Raises:
        RuntimeError: It failed; with the end of what it printed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=REPO, env=environment, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def forked(*arguments: object) -> str:
    """Does the same in a fork of this process, which has imported the libraries and has computed nothing with them.

    Importing them anew takes 15 seconds of each command where Python's files lie on a slow disk. What is compiled is
    better run in a process of its own: compilers have threads.

    Raises:
        RuntimeError: As above.
    """
    command = list(map(str, arguments))
    if command[0] == "-m" and command[1] != "fashionclip":
        return in_process_of_its_own(*arguments)
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.chdir(REPO)
                for stream in (1, 2):
                    os.dup2(said.fileno(), stream)
                if command[0] == "-m":
                    sys.argv = command[1:]
                    runpy.run_module(command[1], run_name="__main__", alter_sys=True)
                else:
                    sys.argv = command
                    runpy.run_path(command[0], run_name="__main__")
                status = 0
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                traceback.print_exc()  # leaving below, Python would not print it
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        text = said.read()
    if status:
        raise RuntimeError(f"{' '.join(command)}: exit {os.waitstatus_to_exitcode(status)}\n{text[-3000:]}")
    return text


def check(
    loss: str,
    launch: str,
    precision: str,
    *,
    accelerator: str,
    data: Path,
    folder: Path,
    more: tuple[str, ...] = (),
    again: bool = True,
    run: Callable[..., str] = in_process_of_its_own,
) -> Checked:
    """Trains, evaluates and exports.

    Args:
        loss: One of `LOSSES`.
        launch: One of `LAUNCHES`.
        precision: Lightning's name of it.
        accelerator: "cpu" or "gpu".
        data: Prepared dataset.
        folder: Empty or missing folder for what is written.
        more: Further overrides of the training.
        again: Whether to evaluate and export as well.
        run: `in_process_of_its_own` or `forked`.

    Raises:
        RuntimeError: A command failed, or the metrics measured again differ.
    """
    devices = [f"trainer.accelerator={accelerator}", f"trainer.precision={precision}"]
    joint = [*devices, "trainer=gpu"] if launch == "1 process" else [*devices, "trainer=ddp", "trainer.devices=2"]
    dataset = ["dataset=kaggle-products", f"dataset.root={data}", "data.num_workers=0"]
    command = [
        *([] if launch != "torchrun" else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]),
        "train.py",
        *LOSSES[loss],
        *dataset,
        *joint,
        "model=tiny",
        f"data.batch_size={32 if launch == '1 process' else 16}",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false",
        f"hydra.run.dir={folder / 'run'}",
        *more,
    ]
    if accelerator == "gpu":
        command.append("+callbacks.memory._target_=lightning.pytorch.callbacks.DeviceStatsMonitor")
    start = time.perf_counter()
    run(*command)
    seconds = time.perf_counter() - start
    history = pd.read_csv(folder / "run" / "csv" / "metrics.csv")
    losses = history["train/loss"].dropna()
    if again:
        one = [*devices, "trainer=gpu", "data.num_workers=0", f"hydra.run.dir={folder / 'again'}"]
        run("evaluate.py", f"ckpt={folder / 'run'}", *one)
        trained = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))["after"]
        measured = json.loads((folder / "again" / "results.json").read_text(encoding="utf-8"))["metrics"]
        compare(trained, measured, close=MEASURED_AGAIN[precision])
        run("-m", "fashionclip", "export", folder / "run", "--to", folder / "export")
    return Checked(
        first=float(losses.iloc[0]),
        least=float(losses.iloc[1:].min()),
        seconds=seconds,
        peak=float(history[PEAK].max()) / 2**20 if PEAK in history else math.nan,
    )


def compare(trained: dict[str, float], measured: dict[str, float], *, close: float) -> None:
    """Refuses metrics that differ where they are measured again.

    Ranks jump where embeddings are rounded, so under mixed precision only cosines and areas are compared.

    Raises:
        RuntimeError: Naming the metrics.
    """
    if trained.keys() != measured.keys():
        raise RuntimeError(f"other metrics when measured again: {sorted(trained.keys() ^ measured.keys())}")
    smooth = ("clip_score", "spread", "auroc", "average_precision")
    names = [name for name in trained if close < 1e-3 or name.rpartition("/")[2] in smooth]
    differ = [
        f"{name} {trained[name]:.4f} {measured[name]:.4f}"
        for name in names
        if not math.isclose(trained[name], measured[name], rel_tol=close, abs_tol=close)
        and not (math.isnan(trained[name]) and math.isnan(measured[name]))
    ]
    if differ:
        raise RuntimeError(f"other figures when measured again: {', '.join(differ[:5])}")


def device() -> str:
    """The GPUs of this machine and the precision to mix, "" without any; asked in a process that may touch them."""
    ask = (
        "import torch; n = torch.cuda.device_count(); "
        "print(f'{n} x {torch.cuda.get_device_name(0)} {torch.cuda.is_bf16_supported()}' if n else '')"
    )
    return in_process_of_its_own("-c", ask).strip()


def main() -> None:
    """Prints a line a run; exits with 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu", help="what to check")
    accelerator = parser.parse_args().accelerator
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # their threads are idle
    gpus = device() if accelerator == "gpu" else "2 processes on a CPU True"
    if not gpus:
        sys.exit("check-gpu did NOT run: torch sees no GPU on this machine. Nothing was checked.")
    named, _, bf16 = gpus.rpartition(" ")
    several = int(named.split()[0]) > 1
    mixed = "bf16-mixed" if bf16 == "True" else "16-mixed"
    import torch

    import fashionclip.app.evaluate
    import fashionclip.app.run  # noqa: F401  what `forked` needs not import again

    print(f"{named}, torch {torch.__version__}")
    runs: list[tuple[str, str, str, tuple[str, ...]]] = [(loss, "1 process", mixed, ()) for loss in LOSSES]
    if accelerator == "gpu":
        runs += [("contrastive", "1 process", "16-mixed", ())]
    runs += [(loss, "1 process", "32-true", ()) for loss in ("contrastive", "semipos")]
    if several:
        runs += [(loss, "2 processes", mixed, ()) for loss in LOSSES] + [("semipos", "torchrun", mixed, ())]
    else:
        print("two processes: NOT checked, since this machine has one GPU")
    runs += [("contrastive", "1 process", mixed, ("model.compile=true",))]
    print(f"{'loss':16}{'launched as':14}{'precision':12}{'more':22}{'first loss':>11}{'of CPU':>9}{'least':>8}"
          f"{'seconds':>9}{'peak MB':>9}")  # fmt: skip
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = folder / "data"
        forked("prepare.py", "dataset=demo", f"dataset.source={folder / 'raw'}", f"dataset.root={data}",
               "dataset.items=60", "dataset.max_side=160")  # fmt: skip
        references: dict[str, float] = {}
        for place, (loss, launch, precision, more) in enumerate(runs):
            said = f"{loss:16}{launch:14}{precision:12}{' '.join(more):22}"
            try:
                if loss not in references:
                    of_cpu = check(loss, "1 process", "32-true", accelerator="cpu", data=data, again=False,
                                   folder=folder / f"cpu-{loss}", more=("trainer.max_epochs=1",),
                                   run=forked)  # fmt: skip
                    references[loss] = of_cpu.first
                found = check(loss, launch, precision, accelerator=accelerator, data=data, more=more,
                              folder=folder / str(place), again=launch != "torchrun",
                              run=in_process_of_its_own if more else forked)  # fmt: skip
                differs = abs(found.first - references[loss]) > FIRST_LOSS[precision] * references[loss]
                print(f"{said}{found.first:11.4f}{references[loss]:9.4f}{found.least:8.4f}{found.seconds:9.1f}"
                      f"{found.peak:9.0f}{'   DIFFERS' if differs else ''}", flush=True)  # fmt: skip
                failed += differs
            except RuntimeError as error:
                failed += 1
                print(f"{said}FAILED: {error}", flush=True)
    sys.exit(f"{failed} of {len(runs)} failed" if failed else 0)


if __name__ == "__main__":
    main()
