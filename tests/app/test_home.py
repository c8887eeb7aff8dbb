import argparse
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fashionclip.app.home import expand_config, expand_options, expand_words


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    return tmp_path


def test_overrides(home):
    words = ["dataset.source=~/photos", "~logger.csv", "a=b~/c", "-m"]
    assert expand_words(words) == [f"dataset.source={home}/photos", "~logger.csv", "a=b~/c", "-m"]


def test_config_of_any_depth(home):
    cfg = OmegaConf.create(
        {"root": "~/set", "other": {"folder": "~/fonts", "list": ["~/a", 1, None], "same": "${root}"}, "none": "???"}
    )
    OmegaConf.set_struct(cfg, True)
    expand_config(cfg)
    assert cfg.root == cfg.other.same == f"{home}/set"
    assert (cfg.other.folder, list(cfg.other.list)) == (f"{home}/fonts", [f"{home}/a", 1, None])
    assert OmegaConf.is_missing(cfg, "none")


def test_paths_of_a_command(home):
    options = argparse.Namespace(photos=Path("~/photos"), to=Path("a/~"), table=None, text="~/no path")
    expand_options(options)
    assert options == argparse.Namespace(photos=home / "photos", to=Path("a/~"), table=None, text="~/no path")
