from functools import partial

import lightning as L
import pytest
import torch

from fashionclip.app.metrics import judgement_metrics_of
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.judgements import JudgementRelation, judgements_of
from fashionclip.data.rows import Rows
from fashionclip.data.transforms import eval_transform
from fashionclip.losses.match_mismatch import MatchMismatchLoss
from fashionclip.metrics.accumulate import RetrievalMetrics
from fashionclip.metrics.ranking import recall
from fashionclip.models.backbone import load_backbone
from fashionclip.training.module import RetrievalModule


@pytest.fixture
def built(demo_dataset):
    torch.manual_seed(0)
    relation = JudgementRelation(drawn=1)
    rows = Rows(demo_dataset, coded=relation.columns, judgements=judgements_of(demo_dataset, seed=0))
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
        eval_batch_size=16,
        num_workers=0,
    )
    loss = MatchMismatchLoss(
        form="bce", scale=10.0, bias=-5.0, gamma=2.0, margin=0.2, match_weight=1.0, mismatch_weight=1.0
    )
    module = RetrievalModule(
        backbone=backbone,
        loss=loss,
        metrics=RetrievalMetrics(
            item_id=rows.item_id, text_id=rows.text_id, functions={"recall@1": partial(recall, k=1)}
        ),
        judged=judgement_metrics_of(rows),
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
    )
    return module, data


def test_judgements_are_learned_measured_and_their_threshold_kept(built, tmp_path):
    module, data = built
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    runner = L.Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
        max_epochs=1,
        limit_train_batches=2,
        enable_checkpointing=False,
        **quiet,
    )
    runner.fit(module, data)
    values = runner.callback_metrics
    rows = data.rows
    assert values["val/judgement/count"] == torch.isin(rows.judgements.image_row, rows.of_split("val")).sum()
    assert values["val/judgement/auroc"] == values["val/judgement/auroc/shuffled"]
    assert {"val/text_to_image/recall@1", "val/judgement/f1", "val/judgement/calibration_error"} <= set(values)
    assert module.loss.bias.item() != -5.0
    chosen = values["val/judgement/threshold"].item()
    runner.save_checkpoint(tmp_path / "one.ckpt")
    state = torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"]
    assert state["judged.threshold"].item() == pytest.approx(chosen)
    measured = runner.test(module, data, verbose=False)[0]
    assert measured["test/judgement/threshold"] == pytest.approx(chosen), "chosen on val, used on test"
    assert "test/text_to_image/recall@1" in measured
    data.seen = rows.of_split("train")[:20]
    module.metrics.apart, module.metrics.of_apart = (
        data.seen,
        [lambda seen: {"apart": torch.tensor(float(len(seen.image)))}],
    )
    beside = runner.test(module, data, verbose=False)[0]
    assert beside.pop("test/apart") == 20
    assert beside == pytest.approx(measured, abs=1e-5), (
        "the seen are no judgements of the test split's, nor ranked there"
    )
