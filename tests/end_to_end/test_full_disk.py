"""Commands on a disk that has no room, in processes of their own; with room the same command goes on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fashionclip.drawing.catalog import write_demo_catalog

REPO = Path(__file__).parents[2]
SMALL = ["loss=contrastive", "data.batch_size=16", "data.num_workers=0", "trainer.enable_progress_bar=false"]


@pytest.fixture
def disk(tmp_path):
    """A small disk, and what gives it another size."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options):
        return subprocess.run(["mount", *options, place], capture_output=True, text=True)

    done = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place, lambda size: mount("-o", f"remount,size={size}")
    subprocess.run(["umount", place], check=True)


def run(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def is_one_line(answer, named):
    code, said = answer
    last = said.splitlines()[-1]
    return code == 1 and "Traceback" not in said and last.startswith("error: ") and named in last


@pytest.mark.slow
def test_prepare(disk, tmp_path):
    place, resize = disk
    source = write_demo_catalog(tmp_path / "raw", items=40, shots=3)
    command = ["prepare.py", "dataset=kaggle-products", f"dataset.source={source}", f"dataset.root={place / 'set'}"]
    assert is_one_line(run(*command), "no room left on the disk. Make room, then run the same command again")
    assert not (place / "set").exists()
    resize("20m")
    assert run(*command)[0] == 0 and [path.name for path in place.iterdir()] == ["set"]


@pytest.mark.slow
def test_features_of_a_frozen_tower(disk, demo_dataset, tmp_path):
    place, resize = disk
    resize("4m")
    root = place / "set"
    shutil.copytree(demo_dataset.root, root)
    used = sum(path.stat().st_size for path in root.rglob("*"))
    resize(f"{used // 1024 + 400}k")
    command = ["train.py", *SMALL, "model=lite0", "dataset=kaggle-products", f"dataset.root={root}"]
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    assert is_one_line(run(*command, *short, f"hydra.run.dir={tmp_path / 'one'}"), str(root / "features"))
    resize("8m")
    code, said = run(*command, *short, f"hydra.run.dir={tmp_path / 'two'}")
    assert code == 0 and "features of the frozen image tower:   0%" not in said, "it goes on where it was"


@pytest.mark.slow
def test_checkpoint_and_export(disk, demo_dataset, tmp_path):
    place, resize = disk
    resize("60m")
    command = ["train.py", *SMALL, "model=tiny", "dataset=kaggle-products", f"dataset.root={demo_dataset.root}"]
    answer = run(*command, "trainer.max_epochs=1", f"hydra.run.dir={place / 'run'}")
    assert is_one_line(answer, f"{place / 'run' / 'checkpoints' / 'best.ckpt'}: no room left on the disk")
    assert not list((place / "run" / "checkpoints").iterdir()), "nothing torn"
    folder = tmp_path / "run"
    assert run(*command, "trainer.max_epochs=1", f"hydra.run.dir={folder}")[0] == 0
    shutil.rmtree(place / "run")
    resize("10m")
    export = ["-m", "fashionclip", "export", folder, "--to", place / "shop"]
    assert is_one_line(run(*export), f"{place / 'shop'}: cannot be written")
    assert not list(place.iterdir())
    resize("200m")
    assert run(*export)[0] == 0
