"""A training as one trial of a search, which `fashionclip sweep` starts: what both know of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study, Trial

STUDY = "study.journal"  # in the folder of the search
TRIAL = "FASHIONCLIP_TRIAL"  # variable with the number of the trial, and with how many are drawn at random


def open_study(folder: Path, *, drawn: int, lowest_is_best: bool = False, seed: int | None = None) -> Study:
    """The search in a folder, begun where there is none.

    Args:
        folder: Folder of the search.
        drawn: Number of trials that are drawn at random and run to their end, before Optuna proposes and prunes.
        lowest_is_best: Whether the monitored metric is a loss; counts where the search begins.
        seed: Seed of what is drawn; null draws anew.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / STUDY))),
        study_name=STUDY,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=drawn),
        direction="minimize" if lowest_is_best else "maximize",
    )
    told = len(study.get_trials(deepcopy=False))  # else a search that goes on would draw what it drew at first
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=drawn, seed=None if seed is None else seed + told)
    return study


def running_trial(folder: Path) -> Trial | None:
    """The trial whose run folder this is; None for a run of no search."""
    if TRIAL not in os.environ:
        return None
    import optuna

    number, drawn = map(int, os.environ[TRIAL].split(","))
    study = open_study(folder.parent, drawn=drawn)
    return optuna.Trial(study, study.get_trials()[number]._trial_id)
