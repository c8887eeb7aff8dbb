"""The test pass alone, or that of another split: of a run, of a checkpoint file, or of an untouched model."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from fashionclip.app.checkpoint import backbone_of, dataset_of, is_of, judge_of, load_checkpoint, relation_of
from fashionclip.app.comparison import compare
from fashionclip.app.config import fill_groups, plain
from fashionclip.app.dashboards import check_wandb, ended_wandb, log_pictures, make_loggers
from fashionclip.app.datasets import open_dataset
from fashionclip.app.metrics import embedded_split, judgement_metrics_of, metrics_of, tasks_of
from fashionclip.app.report import print_table
from fashionclip.app.results import leave_results, stage_of
from fashionclip.app.user_errors import quiet_lightning
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.relations import PairRelation, check_columns
from fashionclip.errors import InputError
from fashionclip.evaluation.tasks import run_tasks
from fashionclip.manifest import SPLITS
from fashionclip.models.folder import CONFIG
from fashionclip.models.load import load_backbone
from fashionclip.training.module import RetrievalModule


@ended_wandb()
def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Prints the table, writes `results.json` into Hydra's run folder, and returns the metrics.

    Raises:
        InputError: No checkpoint and no model, or both, or no dataset is given; one of them cannot be read; the
            run's dataset is another one by now; or nothing is left to measure.
    """
    if cfg.split not in SPLITS:
        raise InputError(f"split={cfg.split}: expected one of {', '.join(SPLITS)}.")
    L.seed_everything(cfg.seed, workers=True, verbose=False)  # where a model has parts without weights
    quiet_lightning()
    fill_groups(cfg, ["metrics"])
    folder = Path(HydraConfig.get().runtime.output_dir)
    if cfg.compare is not None:
        compare(plain(cfg)["compare"], folder)
        return {}
    if cfg.ckpt is not None and cfg.model is not None:
        raise InputError(
            f"ckpt={cfg.ckpt} model={cfg.model.label}: a checkpoint brings its own model. Give one of them."
        )
    exported = cfg.ckpt is not None and Path(cfg.ckpt, CONFIG).is_file()
    if cfg.ckpt is not None and not exported:
        checkpoint = load_checkpoint(Path(cfg.ckpt))
        backbone, relation = backbone_of(checkpoint), relation_of(checkpoint)
        dataset = dataset_of(checkpoint) if cfg.dataset is None else open_dataset(cfg.dataset)
        seed, own = checkpoint["config"]["seed"], is_of(checkpoint, dataset)
        monitor = checkpoint["config"]["loss"].get("monitor")
    elif cfg.model is None and not exported:
        raise InputError("neither ckpt nor model is given. Use ckpt=RUN_OR_EXPORT, or model=NAME for a baseline.")
    elif cfg.dataset is None:
        raise InputError("dataset: not given. Use dataset=NAME [dataset.root=DIR].")
    else:
        backbone = load_backbone(name=f"local-dir:{cfg.ckpt}") if exported else instantiate(cfg.model.backbone)
        relation = PairRelation()
        dataset = open_dataset(cfg.dataset)
        seed, own = cfg.seed, False
    check_columns(relation, dataset)
    check_wandb(cfg.logger)
    tasks = tasks_of(cfg.evaluation)

    data = RetrievalDataModule(
        dataset=dataset,
        relation=relation,
        tokenize=backbone.tokenizer,
        preprocess=backbone.preprocess,
        batch_size=1,  # nothing is trained
        eval_batch_size=cfg.data.eval_batch_size,
        num_workers=cfg.data.num_workers,
        seed=seed,
        seen_skus=own and cfg.split == "test",
        tested=cfg.split,
    )
    functions = instantiate(cfg.metrics)
    module = RetrievalModule(
        backbone=backbone,
        loss=nn.Identity(),  # nothing is trained
        metrics=metrics_of(data, functions=functions),
        judged=judgement_metrics_of(data, functions=functions),
    )
    if module.judged is not None:
        if not (chosen := judge_of(checkpoint)):
            raise InputError(f"ckpt={cfg.ckpt}: its loss is of judgements, and it holds no threshold for them.")
        module.judged.load_state_dict(chosen)
    label = cfg.model.label if cfg.model is not None else Path(cfg.ckpt).name
    loggers = make_loggers(cfg.logger, folder, name=f"{label} {dataset.root.name}")
    trainer: L.Trainer = instantiate(
        cfg.trainer, logger=loggers, enable_checkpointing=False, default_root_dir=str(folder)
    )
    if trainer.is_global_zero and cfg.ckpt is not None and not own:
        print(f"{dataset.root}: another dataset than {cfg.ckpt} was trained on; photos may be the same.")
    tested = trainer.test(module, data, verbose=False)
    if not tested:
        raise InputError("trainer.limit_test_batches=0: nothing is left to measure. Leave it out.")
    if trainer.is_global_zero:
        found, left_out = run_tasks(tasks, embedded_split(module, data)) if tasks else (None, {})
        stage = stage_of(module, data, tested[0], also=found)
        report = {"model": str(cfg.ckpt or cfg.model.label)} if cfg.report else None
        also = {"config": plain(cfg)}
        named = leave_results(folder, {"metrics": stage}, module, data, split=cfg.split, also=also, report=report)
        for logger in loggers:
            logger.log_metrics({k: v for k, v in named["metrics"].items() if k not in tested[0]}, step=0)
            logger.save()
        log_pictures(loggers, folder, step=0)
        print_table({"value": stage.outcome}, split=cfg.split, monitor=monitor if own else None)
        if own and cfg.split != "test":
            print(f"{cfg.split}: {'trained on it' if cfg.split == 'train' else 'the checkpoint was chosen on it'}")
        for name, why in left_out.items():
            print(f"{name}: left out ({why})")
        print(f"results: {folder / 'results.json'}")
    return {name.removeprefix(f"{cfg.split}/"): value for name, value in tested[0].items()}
