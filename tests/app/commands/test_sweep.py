import json

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fashionclip.app.cli import main
from fashionclip.app.commands import sweep
from fashionclip.app.trial import TRIAL, open_study, running_trial
from fashionclip.atomic import locked

SPACE = ["model.lr=tag(log,interval(1e-5,1e-2))", "loss.temperature=0.02,0.07", "data.batch_size=int(interval(8,16))"]


@pytest.fixture
def trained(monkeypatch):
    """Overrides of the trials, in the place of training, of which every third one fails."""
    trained = []

    def train(trial, overrides, options):
        trained.append(overrides)
        folder = options.to / str(trial.number)
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
        if trial.number == 2:
            (folder / "error.txt").write_text("no such thing")
            return
        if trial.number == 3:
            trial.report(0.1, 1)
            trial.set_user_attr("pruned", True)
        lr = trial.params["model.lr"]
        results = {"monitor": "val/x", "val": {"val/x": lr}, "after": {"test/x": 0}}
        (folder / "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(sweep, "_train", train)
    return trained


def test_a_search_goes_on_where_it_was_stopped_and_prints_the_best(trained, tmp_path, capsys):
    words = ["sweep", "dataset=demo", "loss=contrastive", *SPACE, "--to", str(tmp_path), "--seed", "1", "--random", "2"]
    main([*words, "--trials", "3"])
    assert len(trained) == 3 and "3 trials: 2 complete, 1 fail" in capsys.readouterr().out
    main([*words, "--trials", "5"])
    said = capsys.readouterr().out
    assert len(trained) == 5 and "5 trials: 3 complete, 1 fail, 1 pruned" in said and "no such thing" in said
    values = [dict(word.split("=") for word in overrides) for overrides in trained]
    assert all(1e-5 <= float(one["model.lr"]) <= 1e-2 and one["dataset"] == "demo" for one in values)
    assert {one["loss.temperature"] for one in values} <= {"0.02", "0.07"}
    assert all(8 <= int(one["data.batch_size"]) <= 16 for one in values)
    best = max((0, 1, 4), key=lambda trial: float(values[trial]["model.lr"]))
    assert f"best: trial {best}" in said and f"python train.py {' '.join(trained[best])}" in said
    table = pd.read_csv(tmp_path / "multirun.csv").set_index("job")
    assert len(table) == 5 and table["error"][2] == "no such thing"


def test_trials_of_a_search_that_was_killed_are_told_or_made_up_for(trained, tmp_path, monkeypatch, capsys):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    words = ["sweep", "loss=contrastive", *SPACE, "--to", str(tmp_path), "--seed", "1", "--trials", "3"]
    with monkeypatch.context() as patched:  # a kill leaves no time to tell
        patched.setattr(sweep, "_tell", kill)
        patched.setattr(sweep, "_tell_killed", lambda *_: None)
        for _ in range(2):
            with pytest.raises(Killed):
                main(words)
    (tmp_path / "1" / "results.json").unlink()
    with locked(tmp_path / "1.lock", name=tmp_path):  # somewhere else it is at work
        main([*words, "--trials", "2"])
    said = capsys.readouterr().out
    assert len(trained) == 2 and "2 trials: 1 complete, 1 running" in said
    assert trained[0] != trained[1], "what was drawn by the seed is not drawn again"
    main(words)
    said = capsys.readouterr().out
    assert "trial 1: was killed; another one takes its place" in said and len(trained) == 4
    assert "4 trials: 1 complete, 2 fail, 1 pruned" in said, "trial 2 fails by itself"
    main(words)
    assert len(trained) == 4, "it is done"


def test_of_a_loss_the_lowest_value_is_the_best(trained, tmp_path, capsys):
    main(["sweep", *SPACE, "loss=contrastive", "loss.monitor=val/loss", "--to", str(tmp_path), "--trials", "2"])
    lowest = min(trained, key=lambda overrides: float(dict(w.split("=") for w in overrides)["model.lr"]))
    assert f"best: trial {trained.index(lowest)}" in capsys.readouterr().out


def test_ranges_of_a_yaml_are_overridden_by_words(trained, tmp_path, monkeypatch):
    own = tmp_path / "configs" / "sweep" / "own.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\nhydra: {sweeper: {params: {model.lr: 'interval(1.0,2.0)', seed: '3,4'}}}\n")
    monkeypatch.chdir(tmp_path)
    main(["sweep", "sweep=own", "seed=7", "--to", str(tmp_path / "search"), "--trials", "1"])
    (overrides,) = trained
    assert overrides[:2] == ["seed=7", "sweep=own"] and 1 <= float(overrides[2].removeprefix("model.lr=")) <= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [(["seed=1"], "nothing to search for"), (["seed"], "missing EQUAL"), (["seed=1,2", "no=1"], "no")],
)
def test_what_cannot_be_searched_is_a_line(trained, tmp_path, words, message):
    with pytest.raises(SystemExit, match=message):
        main(["sweep", *words, "--to", str(tmp_path)])
    assert not trained


def test_a_training_knows_its_trial(tmp_path, monkeypatch):
    study = open_study(tmp_path, drawn=1)
    for value in (0.9, 0.2):
        trial = study.ask()
        monkeypatch.setenv(TRIAL, f"{trial.number},1")
        told = running_trial(tmp_path / str(trial.number))
        told.report(value, 1)
        assert told.should_prune() == (value == 0.2)
        study.tell(trial, value)
    monkeypatch.delenv(TRIAL)
    assert running_trial(tmp_path / "0") is None


def test_a_training_is_told_its_folder_and_trial(tmp_path, monkeypatch, capsys):
    started = []

    class Popen:
        def __init__(self, command, env):
            started.append((command, env[TRIAL]))

        __enter__ = wait = lambda self: self
        __exit__ = lambda self, *_: None  # noqa: E731

    monkeypatch.setattr(sweep.subprocess, "Popen", Popen)
    with pytest.raises(SystemExit, match="no trial has run to its end"):
        main(["sweep", "seed=1,2", "--to", str(tmp_path / "it's, here"), "--trials", "2", "--random", "3"])
    assert [trial for _, trial in started] == ["0,3", "1,3"]
    (override,) = OverridesParser.create().parse_overrides(started[1][0][-1:])
    assert override.value() == str(tmp_path / "it's, here" / "1")
