from functools import partial

import lightning as L
import pytest
import torch

from fashionclip.app.metrics import judgement_metrics_of, metrics_of
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.metrics.ranking import recall
from fashionclip.models.load import load_backbone
from fashionclip.training.module import RetrievalModule


@pytest.fixture
def build():
    def build(dataset, relation, loss, **settings):
        """The module that trains the tiny model, measured by recall@1, and its data."""
        torch.manual_seed(0)
        backbone = load_backbone(name="fashionclip-tiny")
        data = RetrievalDataModule(
            dataset=dataset,
            relation=relation,
            tokenize=backbone.tokenizer,
            preprocess=backbone.preprocess,
            batch_size=16,
            eval_batch_size=8,
            num_workers=0,
        )
        module = RetrievalModule(
            backbone=backbone,
            loss=loss,
            metrics=metrics_of(data, functions={"recall@1": partial(recall, k=1)}),
            judged=judgement_metrics_of(data, functions={}),
            optimizer=partial(torch.optim.AdamW, lr=1e-3),
            **settings,
        )
        return module, data

    return build


@pytest.fixture
def trainer(tmp_path):
    """`trainer(**settings)` makes one that says and keeps nothing."""
    return partial(
        L.Trainer,
        accelerator="cpu",
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
