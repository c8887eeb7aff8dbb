"""Many trainings at once or one after the other, as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState, create_trial
from wandb_offline import read_offline

from fashionclip.app.trial import open_study

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
SMALL = ["model=tiny", "trainer.max_epochs=2", "data.batch_size=16", "trainer.limit_train_batches=2"]


@pytest.fixture
def run(demo_dataset, tmp_path):
    def run(*words, end=0):
        """What a command line prints, on the demo catalogue; `end` is its exit code."""
        dataset = [
            "dataset=kaggle-products",
            f"dataset.root={demo_dataset.root}",
            f"dataset.source={demo_dataset.root}",
        ]
        environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        environment["WANDB_DATA_DIR"] = str(tmp_path / "staged")
        command = [sys.executable, *map(str, words), *SMALL, *dataset]
        done = subprocess.run(command, cwd=REPO, env=environment, text=True, capture_output=True)
        output = done.stdout + done.stderr
        assert done.returncode == end, output[-3000:]
        return output

    return run


@pytest.mark.parametrize(
    "launcher", [["joblib", "n_jobs=2"], ["submitit_local", "timeout_min=20"]], ids=lambda one: one[0]
)
def test_jobs_run_side_by_side_and_one_that_fails_is_reported(run, tmp_path, launcher):
    name, setting = launcher
    launch = [f"hydra/launcher={name}", f"hydra.launcher.{setting}", f"hydra.sweep.dir={tmp_path}"]
    loading = "data.num_workers=1"  # a process that a job starts
    output = run("train.py", "-m", *launch, "loss=contrastive", "loss.temperature=-1,0.05,0.2", loading, end=1)
    table = pd.read_csv(tmp_path / "multirun.csv").set_index("job")
    assert len(table) == 3 and table["val"].notna().sum() == 2 and "expected a number > 0" in table["error"][0]
    assert "job 0 failed: loss.temperature=-1" in output and "error: failed jobs: 0;" in output
    for job in (1, 2):
        assert (tmp_path / str(job) / "results.json").is_file() and (
            tmp_path / str(job) / "csv" / "metrics.csv"
        ).is_file()


def test_a_search_goes_on_and_ends_early_what_falls_behind(run, tmp_path):
    words = ["-m", "fashionclip", "sweep", "loss=contrastive", "model.lr=tag(log,interval(1e-5,1e-3))"]
    words += ["loss.temperature=0.02,0.07", "data.num_workers=0", "--to", tmp_path, "--random", "2"]
    assert "1 trials: 1 complete" in run(*words, "--trials", "1")
    study = open_study(tmp_path, drawn=2)
    first = study.trials[0]
    assert len(first.intermediate_values) == 2, "one an epoch"
    better = {1: 2.0, 2: 2.0}  # than any training can be
    study.add_trial(
        create_trial(value=2.0, params=first.params, distributions=first.distributions, intermediate_values=better)
    )
    output = run(*words, "--trials", "3")
    assert "3 trials: 2 complete, 1 pruned" in output and "stopped early: most earlier trials did better" in output
    assert open_study(tmp_path, drawn=2).trials[2].state == TrialState.PRUNED
    assert pd.read_csv(tmp_path / "multirun.csv")["test"].notna().sum() == 2, "what was ended early is measured, too"
    assert "best: trial 1, 2.000 on val: python train.py loss=contrastive" in output


def test_an_agent_of_wandb_can_run_its_sweep(run, tmp_path):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args  # imports much, for seconds

    sweep = yaml.safe_load((REPO / "configs" / "wandb_sweep.yaml").read_text())
    proposed = {"model.lr": {"value": 0.0004}, "loss.temperature": {"value": 0.07}}
    assert proposed.keys() == sweep["parameters"].keys()
    env, interpreter, program, *words = sweep["command"]
    assert (env, interpreter, program) == ("${env}", "${interpreter}", "${program}")
    filled = [
        word
        for one in words
        for word in (create_sweep_command_args({"args": proposed})["args_no_hyphens"] if "args_no" in one else [one])
    ]
    run(sweep["program"], *filled, "logger.wandb.offline=true", f"hydra.run.dir={tmp_path / 'run'}")
    kept = read_offline(tmp_path / "run")
    assert kept["config"]["model"]["lr"] == 0.0004 and kept["config"]["loss"]["temperature"] == 0.07
    assert sweep["metric"]["name"] in kept["summary"]
