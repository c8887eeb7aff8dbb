"""What a training consists of, made of its config."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fashionclip.app.checkpoint import named
from fashionclip.app.config import plain
from fashionclip.app.loss import loss_of
from fashionclip.app.metrics import judgement_metrics_of, metrics_of
from fashionclip.app.resume import check_architecture
from fashionclip.app.retention import Retention
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.relations import check_columns
from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset
from fashionclip.models.backbone import Backbone
from fashionclip.models.tuning import Tuning, below_heads
from fashionclip.training.distillation import Teacher
from fashionclip.training.heads_first import HeadsFirst
from fashionclip.training.module import RetrievalModule


@dataclass(frozen=True)
class Assembly:
    """Parts of a training that know of each other.

    Attributes:
        backbone: Model that is trained, as `tuning` left it: partly frozen, or with adapters.
        untrained: Copy of it before that, for what compares or mixes with it; None without distillation and WiSE-FT.
        data: Batches of the dataset.
        module: Backbone, loss and metrics.
        retention: What is measured on another dataset before and after; None without `retention`.
        heads_first: Callback that trains the heads alone at first, or none.
    """

    backbone: Backbone
    untrained: Backbone | None
    data: RetrievalDataModule
    module: RetrievalModule
    retention: Retention | None
    heads_first: list[HeadsFirst]


def assemble(cfg: DictConfig, dataset: PreparedDataset, *, resumed: dict[str, Any] | None) -> Assembly:
    """Makes them.

    Args:
        cfg: Config of the training.
        dataset: Prepared dataset to train on.
        resumed: Checkpoint that the training goes on from, or None.

    Raises:
        InputError: Config, dataset and model do not go together.
    """
    relation = instantiate(cfg.loss.relation)
    check_columns(relation, dataset)
    backbone = instantiate(cfg.model.backbone)
    if resumed is not None:
        check_architecture(cfg.resume, resumed, backbone.architecture)
    distilled = OmegaConf.select(cfg, "loss.distill.weight")
    untrained = deepcopy(backbone) if distilled or OmegaConf.select(cfg, "wise_ft.alphas") else None
    tuning = instantiate(cfg.get("tuning")) or Tuning(keep_frozen=True)
    rates = tuning.apply(backbone)
    frozen_image_part = backbone.frozen_image_part() if cfg.data.cache_features else None
    if cfg.data.cache_features and frozen_image_part is None:
        raise InputError(
            "data.cache_features=true: photos are embedded once, so their tower must be frozen, as by "
            "tuning=lock-image. Or use data.cache_features=false."
        )

    data_of = partial(
        RetrievalDataModule,
        relation=relation,
        tokenize=backbone.tokenizer,
        preprocess=backbone.preprocess,
        augmentation=plain(cfg.augmentation),
        batch_size=cfg.data.batch_size,
        eval_batch_size=cfg.data.eval_batch_size,
        val_queries=cfg.data.get("val_queries"),
        num_workers=cfg.data.num_workers,
        seed=cfg.seed,
        frozen_image_part=frozen_image_part,
        frozen_text_part=backbone.frozen_text_part() if cfg.data.cache_features else None,
    )
    data = data_of(dataset=dataset, hard_negatives=instantiate(cfg.loss.get("hard_negatives")))
    functions = instantiate(cfg.metrics)
    retention = None
    if (known := cfg.get("retention")) is not None:
        check_columns(relation, other := read_dataset(known))
        retention = Retention(data_of(dataset=other), functions=functions, monitor=cfg.loss.monitor)

    loss = loss_of(cfg, backbone, relation, data)
    if cfg.model.get("grad_checkpointing"):
        backbone.checkpoint_towers()
    if cfg.model.get("patch_dropout"):
        backbone.drop_patches(cfg.model.patch_dropout)
    if cfg.model.compile:
        backbone.compile_towers()
    teacher = None
    if untrained is not None and distilled:
        teacher = Teacher(untrained, weight=distilled, data=data, augmented=any(plain(cfg.augmentation).values()))
    module = RetrievalModule(
        backbone=backbone,
        loss=loss,
        metrics=metrics_of(data, functions=functions),
        judged=judgement_metrics_of(data, functions=functions),
        optimizer=instantiate(cfg.optimizer, _convert_="all"),  # plain lists, which a checkpoint may hold
        scheduler=instantiate(cfg.get("scheduler")),
        weight_decay=cfg.optimizer.weight_decay,
        rates=rates,
        monitor=cfg.loss.monitor,
        teacher=teacher,
        cache_chunk=cfg.loss.get("cache_chunk"),
        config=named(plain(cfg)) | {"dataset_fingerprint": dataset.info["fingerprint"]},
    )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise InputError(
            "tuning: nothing is left to train. A loss without texts trains the image tower alone, and it is frozen. "
            "Choose another tuning, or a loss with texts."
        )
    heads = [HeadsFirst(backbone, below=below_heads(backbone), share=tuning.heads_first)] if tuning.heads_first else []
    return Assembly(backbone, untrained, data, module, retention, heads)
