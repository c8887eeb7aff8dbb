import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fashionclip.app.cli import main
from fashionclip.app.hydra_command import hydra_command

REPO = Path(__file__).parents[2]


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """The config and command line that a task named `prepare` sees, run with an own `configs` folder beside it."""
    (tmp_path / "configs" / "dataset").mkdir(parents=True)
    (tmp_path / "configs" / "dataset" / "shop.yaml").write_text("defaults: [kaggle-products, _self_]\nname: shop\n")
    (tmp_path / "configs" / "dataset" / "demo.yaml").write_text("name: my demo\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["fashionclip", "prepare", "dataset=shop"])
    seen = []

    def task(cfg):
        seen.append((cfg, list(sys.argv)))

    task.__module__ = "fashionclip.app.commands.prepare"

    def composed(*words):
        hydra_command(task)(words)
        return seen[-1]

    return composed


def test_own_configs_stand_beside_and_before_those_that_come_along(composed, tmp_path):
    cfg, line = composed("dataset=shop")
    assert (cfg.dataset.name, cfg.dataset.max_side) == ("shop", 448)
    assert line == ["fashionclip", "prepare", "dataset=shop"], "Lightning starts further processes by it"
    assert composed("dataset=demo")[0].dataset == {"name": "my demo"}
    assert sys.path[-1] == str(tmp_path)


def test_ratios_that_leave_out_a_split_mean_none_of_it(composed):
    given, shares = "dataset.ratios={train: 0.9, test: 0.1}", {"train": 0.9, "val": 0.0, "test": 0.1}
    for form in (given, given.replace(" ", "")):  # as a multirun hands it to its jobs
        assert composed("dataset=shop", form)[0].dataset.ratios == shares
    half = composed("dataset=shop", "dataset.ratios={train: 0.5}", "dataset.ratios.test=0.5")[0].dataset.ratios
    assert half == {"train": 0.5, "val": 0.0, "test": 0.5}
    assert composed("dataset=shop", "dataset.ratios.train=0.9")[0].dataset.ratios.val == 0.1, "one share alone"
    assert "ratios" not in composed("dataset=demo", "+dataset.seed=1")[0].dataset


def test_a_mistaken_override_names_what_there_is(composed, capsys):
    with pytest.raises(SystemExit):
        composed("dataset=sop")
    assert "shop" in capsys.readouterr().err


def test_hydra_s_bash_completion_takes_the_scripts_of_a_clone():
    for script in ("prepare.py", "train.py", "evaluate.py"):
        assert "@hydra.main" in (REPO / script).read_text(), "for which the completion looks"
    if not shutil.which("bash"):
        pytest.skip("no bash on this machine")
    line = "python train.py trainer=d"
    asked = 'eval "$(python train.py -sc install=bash)"; hydra_bash_completion; echo "offered: ${COMPREPLY[*]}"'
    typed = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_CWORD": "2"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **typed, "PATH": path}
    offered = subprocess.run(["bash", "-c", asked], cwd=REPO, env=environment, text=True, capture_output=True)
    assert offered.stdout == "offered: trainer=ddp\n", offered.stderr


def test_help_of_a_command_is_hydra_s(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fashionclip", "train", "--help"])
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert not end.value.code and "== Configuration groups ==" in capsys.readouterr().out
