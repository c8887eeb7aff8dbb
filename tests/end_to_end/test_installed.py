"""The wheel, in a folder that holds nothing of a clone."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pandas as pd
import pytest

from fashionclip.drawing.catalog import write_demo_catalog

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy: a build leaves files in its folder, which a later one would pack."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source)
    for name in ("configs", "fashionclip"):
        shutil.copytree(REPO / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(built)], cwd=source, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return next(built.glob("fashionclip-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that the wheel is unpacked to, which is all that installing it would do."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def test_wheel_says_what_it_is(installed):
    (about,) = installed.glob("*.dist-info")
    facts = message_from_string((about / "METADATA").read_text())
    assert (facts["Name"], facts["License-Expression"]) == ("fashionclip", "MIT")
    assert (about / "licenses" / "LICENSE").is_file() and (installed / "fashionclip" / "py.typed").is_file()
    assert about.name == f"fashionclip-{facts['Version']}.dist-info"


def test_wheel_holds_every_file_of_the_package(installed):
    def files(root):
        return {
            path.relative_to(root) for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed / "fashionclip" / "configs") == files(REPO / "configs")
    beside = files(REPO / "fashionclip")  # the link to configs is not followed
    assert beside <= files(installed / "fashionclip")


def test_commands_of_hydra_run_in_an_empty_folder(installed, tmp_path):
    (tmp_path / "configs" / "experiment").mkdir(parents=True)
    (tmp_path / "configs" / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    command = [sys.executable, "-m", "fashionclip", "train", "experiment=mine", "--cfg", "job"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert "seed: 7" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


@pytest.mark.slow
def test_six_commands_from_a_table_to_a_search(wheel, tmp_path):
    """As `docs` tells it, in an environment that has the wheel and sees the libraries of this one."""
    venv.create(tmp_path / "venv", with_pip=False)
    seen = [path for path in sys.path if path.endswith("site-packages")]
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"COLUMNS": "200"}
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text("\n".join(seen))
    pip = [
        "-m",
        "pip",
        "--python",
        tmp_path / "venv" / "bin" / "python",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([sys.executable, *map(str, pip), "--force-reinstall", str(wheel)], check=True)
    where = [tmp_path / "venv" / "bin" / "python", "-c", "import fashionclip; print(fashionclip.__file__)"]
    assert str(site) in subprocess.run(where, cwd=tmp_path, env=bare, text=True, capture_output=True).stdout
    write_demo_catalog(tmp_path / "raw", items=40, shots=2, seed=0)
    styles = pd.read_csv(tmp_path / "raw" / "styles.csv")
    odd = pd.DataFrame(
        {
            "Art.Nr.": styles["id"],
            "Bild Datei": [f"raw\\images\\{number}.JPG" for number in styles["id"]],
            "Bezeichnung": styles["productDisplayName"],
            "Farbe": styles["baseColour"],
        }
    )
    odd.to_csv(tmp_path / "liste.csv", sep=";", index=False, encoding="utf-16")

    def fashionclip(*words, folder=tmp_path / "shop"):
        command = [tmp_path / "venv" / "bin" / "fashionclip", *words]
        done = subprocess.run(list(map(str, command)), cwd=folder, env=bare, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    fashionclip("init", "shop", "--source", "liste.csv", folder=tmp_path)
    assert "texts: {" in (tmp_path / "shop" / "configs" / "dataset" / "shop.yaml").read_text()
    assert "kept 80 of 80" in fashionclip("prepare", "dataset=shop")
    small = ["model=tiny", "trainer.max_epochs=2", "data.batch_size=16", "hydra.run.dir=runs/first"]
    assert "text to image" in fashionclip("train", "dataset=shop", "loss=contrastive", *small)
    fashionclip("export", "runs/first", "--to", "exports/shop")
    fashionclip("index", "exports/shop", "data/prepared/shop", "--to", "indexes/shop")
    assert "rank" in fashionclip("search", "indexes/shop", "red dress", "--where", "colour is not null")
    measured = fashionclip("evaluate", "ckpt=runs/first")
    assert "text to image" in measured
    assert sorted(path.name for path in (tmp_path / "shop").iterdir() if path.name[0] != ".") == [
        "README.md", "configs", "data", "exports", "indexes", "runs",
    ]  # fmt: skip
