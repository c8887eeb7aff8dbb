"""Search for the best settings of a training: Optuna proposes those of each trial, and ends early what falls behind."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from fashionclip.atomic import locked
from fashionclip.errors import InputError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

NAME = "sweep"
KILLED = "killed"  # attribute of a trial that left nothing, since the search was killed
HELP = "search for the best settings of a training: 'model.lr=tag(log,interval(1e-5,1e-3))'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="as for train; KEY=A,B,C, KEY=int(interval(1,9)) and KEY=tag(log,interval(0.01,1)) are searched",
    )
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder of the search; one there goes on")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="trials in all (20)")
    parser.add_argument(
        "--random", type=int, default=5, metavar="N", help="trials that are drawn at random and not ended early (5)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of what is proposed")


def run(options: argparse.Namespace) -> None:
    """Runs trials until there are as many as asked for; the same command at once elsewhere shares the work.

    Raises:
        InputError: There is nothing to search for, the config cannot be composed, or every trial failed.
    """
    from fashionclip.app.run_folder import mode_of
    from fashionclip.app.sweep import summarize
    from fashionclip.app.trial import open_study

    cfg, given = _composed(options.overrides)
    searched = {key: distribution(one) for key, one in given.items() if one.is_sweep_override()}
    fixed = [str(one.input_line) for one in given.values() if not one.is_sweep_override()]
    if not searched:
        raise InputError("sweep: nothing to search for. Give a key a range: 'model.lr=tag(log,interval(1e-5,1e-3))'.")
    options.to.mkdir(parents=True, exist_ok=True)
    lowest_is_best = mode_of(cfg.loss.monitor) == "min"
    study = open_study(options.to, drawn=options.random, lowest_is_best=lowest_is_best, seed=options.seed)
    _tell_killed(study, options.to)
    while sum(KILLED not in trial.user_attrs for trial in study.trials) < options.trials:
        trial = study.ask(searched)
        with locked(options.to / f"{trial.number}.lock", name=options.to):
            try:
                _train(trial, [*fixed, *_overrides(trial.params)], options)
            finally:
                _tell(study, trial.number, options.to / str(trial.number))
    summarize(options.to)
    states = Counter(trial.state.name.lower() for trial in study.trials)
    print(f"{len(study.trials)} trials: {', '.join(f'{count} {state}' for state, count in states.items())}")
    if not states["complete"]:
        raise InputError("sweep: no trial has run to its end. What each said is above.")
    command = shlex.join(["python", "train.py", *fixed, *_overrides(study.best_params)])
    print(f"best: trial {study.best_trial.number}, {study.best_value:.3f} on val: {command}")


def _composed(words: Sequence[str]) -> tuple[DictConfig, dict[str, Override]]:
    """The config without what is searched, and the overrides by key: its `hydra.sweeper.params`, then the words."""
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from fashionclip.app.hydra_command import CONFIGS, add_own_configs

    add_own_configs()
    parse = OverridesParser.create().parse_overrides
    try:
        given = parse(list(words))
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            fixed = [str(one.input_line) for one in given if not one.is_sweep_override()]
            cfg = compose("train", fixed, return_hydra_config=True)
        in_yaml = parse(_overrides(cfg.hydra.sweeper.params or {}))
    except HydraException as error:
        raise InputError(f"sweep: {error}") from error
    return cfg, {one.get_key_element(): one for one in [*in_yaml, *given]}


def distribution(override: Override) -> BaseDistribution:
    """What may be chosen: an `interval(0,1)`, perhaps in `int()` or `tag(log,)`, or values of a list or range."""
    from hydra.core.override_parser.types import IntervalSweep
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values = override.value()
    if not isinstance(values, IntervalSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    low, high, log = values.start, values.end, "log" in values.tags
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)  # type: ignore[arg-type]  # never null


def _overrides(values: Mapping[Any, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _train(trial: Trial, overrides: list[str], options: argparse.Namespace) -> None:
    from fashionclip.app.run_folder import quoted
    from fashionclip.app.trial import TRIAL

    folder = quoted(str(options.to / str(trial.number)))
    print(f"trial {trial.number}: {shlex.join(_overrides(trial.params))}", flush=True)
    command = [sys.executable, "-m", "fashionclip", "train", *overrides, f"hydra.run.dir={folder}"]
    with subprocess.Popen(command, env={**os.environ, TRIAL: f"{trial.number},{options.random}"}) as training:
        training.wait()


def _tell_killed(study: Study, folder: Path) -> None:
    """Tells what trials have left that run for ever, since the search was killed at them; of those with nothing another
    one takes the place."""
    from optuna import Trial
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        own = folder / str(trial.number)
        locks = [folder / f"{trial.number}.lock", *([own / ".lock"] if own.is_dir() else [])]
        try:
            with ExitStack() as held:
                for lock in locks:
                    held.enter_context(locked(lock, name=folder, refuse="it is at work"))
                if not (own / "results.json").is_file():
                    Trial(study, trial._trial_id).set_user_attr(KILLED, True)
                    print(f"trial {trial.number}: was killed; another one takes its place")
                _tell(study, trial.number, own)
        except InputError:
            continue


def _tell(study: Study, number: int, folder: Path) -> None:
    """Tells what a trial has left: a value, also where it was ended early, or nothing."""
    from optuna.trial import TrialState

    results = folder / "results.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {"val": {}}
    value = found["val"].get(found.get("monitor"), math.nan)
    if math.isnan(value):
        study.tell(number, state=TrialState.FAIL)
    elif study.trials[number].user_attrs.get("pruned"):
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, value)
