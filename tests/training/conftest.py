from functools import partial

import lightning as L
import pytest
import torch

from fashionclip.app.metrics import judgement_metrics_of, metrics_of
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.judgements import judgements_of
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.transforms import eval_transform
from fashionclip.metrics.ranking import recall
from fashionclip.models.load import load_backbone
from fashionclip.training.module import RetrievalModule


@pytest.fixture
def build():
    def build(dataset, relation, loss, **settings):
        """The module that trains the tiny model, measured by recall@1, and its data."""
        torch.manual_seed(0)
        judgements = judgements_of(dataset, seed=0) if relation.uses_judgements else None
        rows = ManifestTensors(dataset, coded=relation.columns, judgements=judgements)
        backbone = load_backbone(name="fashionclip-tiny")
        look = eval_transform(backbone.preprocess)
        data = RetrievalDataModule(
            rows=rows,
            relation=relation,
            tokenize=backbone.tokenizer,
            train_transform=look,
            eval_transform=look,
            decode_size=224,
            batch_size=16,
            eval_batch_size=8,
            num_workers=0,
        )
        module = RetrievalModule(
            backbone=backbone,
            loss=loss,
            metrics=metrics_of(dataset, rows, relation, functions={"recall@1": partial(recall, k=1)}),
            judged=judgement_metrics_of(rows),
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
