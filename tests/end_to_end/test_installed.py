"""The wheel, in a folder that holds nothing of a clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

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
    urls = [url.split(", ")[0] for url in facts.get_all("Project-URL")]
    assert (facts["Name"], facts["License-Expression"], urls) == (
        "fashionclip",
        "MIT",
        ["Homepage", "Changelog", "Issues"],
    )
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
