"""A training run from config to results: the one page to read."""

from __future__ import annotations

import math
from pathlib import Path

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fashionclip.app.again import check_places, differences, made_with, repeated_run, write_made_with
from fashionclip.app.assembly import Assembly, assemble
from fashionclip.app.config import (
    check_config,
    check_devices,
    check_loss_keys,
    check_monitor,
    fill_groups,
    plain,
)
from fashionclip.app.dashboards import (
    check_wandb,
    ended_wandb,
    log_best_checkpoint,
    log_config,
    log_embeddings,
    log_figures,
    log_pictures,
    make_loggers,
    name_of,
)
from fashionclip.app.datasets import open_dataset
from fashionclip.app.malloc import keep_freed_memory
from fashionclip.app.report import draw_history, print_table
from fashionclip.app.results import leave_results, stage_of
from fashionclip.app.resume import check_resumed, continue_loggers, go_on, last_checkpoint
from fashionclip.app.retention import told_retention
from fashionclip.app.run_folder import mode_of, write_run_config
from fashionclip.app.trial import running_trial
from fashionclip.app.user_errors import quiet_lightning
from fashionclip.app.wise_ft import check_wise_ft, choose_weights, told
from fashionclip.errors import Stopped
from fashionclip.models.tuning import merge_adapters
from fashionclip.retrieval.export.training_record import RECORD, write_record
from fashionclip.training.checkpoints import LastCheckpoint, WholeCheckpoints
from fashionclip.training.epochs import EpochLines
from fashionclip.training.optim import trained_share, trained_table
from fashionclip.training.prune import PruneTrial
from fashionclip.training.stop import INTERRUPTED, StopOnSignal, signals_restored


@signals_restored()
@ended_wandb()
def train(cfg: DictConfig) -> float:
    """Builds, evaluates, fits, evaluates again; leaves everything in Hydra's run folder.

    Returns:
        Value of `loss.monitor` on val, of the best checkpoint: what a sweep may select by.

    Raises:
        InputError: Config, dataset and model do not go together, found before the first step.
    """
    fill_groups(cfg)
    check_config(cfg)
    check_loss_keys(cfg, HydraConfig.get().overrides.task)
    check_devices(cfg.trainer)
    check_wandb(cfg.logger)
    check_wise_ft(cfg)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    quiet_lightning()
    torch.set_float32_matmul_precision("high" if cfg.get("tf32") else "highest")
    folder = Path(HydraConfig.get().runtime.output_dir)
    resumed = None if cfg.get("resume") is None else last_checkpoint(folder)
    if (repeated := repeated_run()) is not None and resumed is None:
        check_places(cfg, repeated, folder=folder)
    stop = StopOnSignal(folder)

    dataset = open_dataset(cfg.dataset)
    if resumed is not None:
        check_resumed(cfg, resumed, fingerprint=dataset.info["fingerprint"])
        continue_loggers(cfg.logger, folder, step=resumed["global_step"])
    parts = assemble(cfg, dataset, resumed=resumed)
    backbone, data, module, retention = parts.backbone, parts.data, parts.module, parts.retention
    epochs = EpochLines(monitor=cfg.loss.monitor, mode=mode_of(cfg.loss.monitor))
    pruning = [PruneTrial(trial=trial, monitor=cfg.loss.monitor)] if (trial := running_trial(folder)) else []
    callbacks = [stop, epochs, *pruning, *parts.heads_first]
    callbacks += filter(None, instantiate(cfg.callbacks, _convert_="all").values())
    callbacks.sort(key=lambda one: not isinstance(one, LastCheckpoint))  # it comes first, to set right what goes on
    trainer: L.Trainer = instantiate(
        cfg.trainer,
        logger=make_loggers(cfg.logger, folder, name=name_of(cfg)),
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        default_root_dir=str(folder),
        num_sanity_val_steps=0,  # the evaluation before training is the check
        enable_model_summary=False,
    )
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        now = made_with(dataset.info["fingerprint"])
        print(f"run folder: {folder}")
        if resumed is not None:
            print("\n  ".join([*go_on(cfg, resumed, trainer.loggers), *differences(folder, now)]))
        else:
            write_run_config(folder / "config.yaml", cfg)
            write_made_with(folder, now)
        if repeated is not None and resumed is None:
            print("\n  ".join([f"{repeated}: made again", *differences(repeated, now)]))
        log_config(trainer.loggers, plain(cfg) | {"dataset_fingerprint": dataset.info["fingerprint"]})
        _print_plan(cfg, parts)

    loggers = trainer.loggers
    if resumed is not None:  # what was measured before training is measured again, but not logged again
        trainer.loggers = []
    known_before = {} if retention is None else retention.measure(trainer, module)
    check_monitor(cfg.loss.monitor, trainer.validate(module, data, verbose=False))  # the point at step 0
    if data.tested == "val":
        trainer.loggers = []  # the curve of val is that of training
    # trainer.limit_test_batches=0 leaves nothing to test
    figures, *_ = trainer.test(module, data, verbose=False) or [{}]
    stages = {}
    if trainer.is_global_zero:
        stages["before"] = stage_of(module, data, figures)
        log_embeddings(trainer.loggers, dataset, module.metrics.embedded, stage="before", step=0)
    trainer.loggers = loggers
    alphas, interrupted = OmegaConf.select(cfg, "wise_ft.alphas"), None
    try:
        last = None if resumed is None else str(folder / "checkpoints" / "last.ckpt")
        trainer.fit(module, data, ckpt_path=last, weights_only=True)
    except Stopped as stopped:
        if stop.at_once or stopped.code != INTERRUPTED or not epochs.best:
            raise
        interrupted = stopped  # by Ctrl-C: the best epoch so far is measured
    steps = trainer.global_step
    last_val = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    best = getattr(trainer.checkpoint_callback, "best_model_path", "") or None
    if best is None and not cfg.trainer.get("fast_dev_run") and trainer.is_global_zero:
        print("no checkpoint was written: below are the weights as training left them")
    val = epochs.best
    if alphas and (best is None or interrupted is not None):
        if trainer.is_global_zero and not cfg.trainer.get("fast_dev_run"):
            print("wise_ft.alphas: nothing was mixed, since training did not come to its end with a checkpoint")
    elif alphas and best is not None and parts.untrained is not None:
        curve, val = choose_weights(
            trainer,
            module,
            data,
            before=parts.untrained.state_dict(),
            checkpoint=Path(best),
            alphas=alphas,
            monitor=cfg.loss.monitor,
            retention=retention,
        )
        if trainer.is_global_zero:
            curve.to_csv(folder / "wise_ft.csv", index=False)
            print(told(curve, monitor=cfg.loss.monitor))
    trainer.loggers = loggers if data.tested == "test" else []
    figures, *_ = trainer.test(module, data, ckpt_path=best, weights_only=True, verbose=False) or [{}]
    trainer.loggers = loggers
    known_after = {} if retention is None else retention.measure(trainer, module)

    if cfg.trainer.get("fast_dev_run"):
        print("trainer.fast_dev_run: training, validation and test have run through; no results are written")
    elif trainer.is_global_zero:
        stages["after"] = stage_of(module, data, figures)
        also = {"monitor": cfg.loss.monitor, "chosen_on": "val" if best else None, "val": val}
        if interrupted is not None:
            also["stopped"] = f"after step {steps}"
        if retention is not None:
            also["retention"] = {"root": str(retention.root), "before": known_before, "after": known_after}
        history = folder / "csv" / "metrics.csv"
        if history.is_file():  # without logger.csv there is none
            draw_history(history, folder / "training_history.png", monitor=cfg.loss.monitor)
        report = {"model": cfg.model.label} if cfg.get("report", True) else None
        results = leave_results(folder, stages, module, data, split=data.tested, also=also, report=report)
        merge_adapters(backbone)
        write_record(folder / RECORD, backbone, dataset)
        log_figures(trainer.loggers, results, best=val, last=last_val, known=known_after, step=steps)
        log_pictures(trainer.loggers, folder, step=steps)
        log_best_checkpoint(cfg, trainer.loggers, best)
        log_embeddings(trainer.loggers, dataset, module.metrics.embedded, stage="after", step=steps)
        outcomes = {name: stage.outcome for name, stage in stages.items()}
        print_table(outcomes, monitor=cfg.loss.monitor, split=data.tested)
        if retention is not None:
            print(told_retention(retention.root, known_before, known_after))
        for profile in sorted(folder.glob("*-profile.txt")):
            print(f"profile: {profile}")
        print(f"run folder: {folder}")
    if interrupted is not None:
        raise interrupted
    return val.get(cfg.loss.monitor, math.nan)  # none, where trainer.max_time was over before the first epoch


def _print_plan(cfg: DictConfig, parts: Assembly) -> None:
    """What is trained, on what, at which rates."""
    data, module = parts.data, parts.module
    print(f"{data.dataset.root}: {', '.join(f'{len(part)} {name}' for name, part in data.rows.split.items())} photos")
    if data.tested == "val":
        print("no test split: metrics are of val, on which the checkpoint is chosen as well")
    if 0 < (data.val_queries or 0) < len(data.rows.split["val"]):
        print(f"val: {data.val_queries} queries of each direction at most, the same each time (data.val_queries)")
    print(f"{cfg.model.label}: training {trained_share(parts.backbone.parameters())}")
    print(
        trained_table(module, parts.backbone, lr=cfg.optimizer.lr, weight_decay=module.weight_decay, rates=module.rates)
    )
