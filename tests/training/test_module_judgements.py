import pandas as pd
import pytest
import torch

from fashionclip.data.judgements import JudgementRelation
from fashionclip.data.relations import PairRelation
from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.losses.match_mismatch import MatchMismatchLoss
from fashionclip.manifest import PreparedDataset
from fashionclip.metrics.samples import Found


def of_judgements():
    return MatchMismatchLoss(form="bce", bias=-5.0)


def with_wrong_texts(demo_dataset, folder):
    """As a CSV makes them whose photo has mismatches alone: the manifest has no text for it."""
    manifest = demo_dataset.manifest.copy()
    wordless = manifest.groupby("split").cumcount() < 8  # the first 8 of each split, so a whole evaluation batch
    manifest.loc[wordless, "text"] = ""
    for name in ("images", "manifest.parquet"):
        (folder / name).symlink_to(demo_dataset.root / name)
    table = pd.DataFrame({"image_id": manifest["image_id"], "text": "a text of no photo", "label": "mismatch"})
    right = manifest[~wordless][["image_id", "text"]].assign(label="match")
    table = pd.concat([table, right]).assign(kind="given")
    table.to_parquet(folder / "judgements.parquet")
    return PreparedDataset(root=folder, manifest=manifest, info={}), manifest


@pytest.mark.parametrize(
    ("relation", "loss"),
    [
        (JudgementRelation(per_label=None, drawn=1), of_judgements()),
        (PairRelation(), ContrastiveLoss(form="softmax", multi_positive=True)),
    ],
)
def test_photos_of_which_only_wrong_texts_are_known_are_trained_and_measured(
    build, trainer, demo_dataset, tmp_path, relation, loss, capsys
):
    dataset, manifest = with_wrong_texts(demo_dataset, tmp_path)
    module, data = build(dataset, relation, loss)
    runner = trainer(max_epochs=1, limit_train_batches=2)
    runner.fit(module, data)
    measured = runner.test(module, data, verbose=False)[0]
    test = manifest[manifest["split"] == "test"]
    assert measured["test/text_to_image/queries"] == test["text"][test["text"] != ""].nunique()
    assert torch.isfinite(torch.tensor(list(measured.values()))).all()
    assert ("train photos have no text" in capsys.readouterr().out) == isinstance(relation, PairRelation)


@pytest.fixture
def built(build, demo_dataset):
    return build(demo_dataset, JudgementRelation(per_label=None, drawn=1), of_judgements())


def test_judgements_are_learned_measured_and_their_threshold_kept(built, trainer, tmp_path):
    module, data = built
    runner = trainer(max_epochs=1, limit_train_batches=2)
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
        [lambda seen: Found([], {"apart": torch.tensor(float(len(seen.image)))})],
    )
    beside = runner.test(module, data, verbose=False)[0]
    assert beside.pop("test/apart") == 20
    assert beside == pytest.approx(measured, abs=1e-5), (
        "the seen are no judgements of the test split's, nor ranked there"
    )


def test_val_loss_is_of_texts_that_no_photo_has_as_well(build, trainer, demo_dataset, tmp_path):
    dataset, _ = with_wrong_texts(demo_dataset, tmp_path)
    module, data = build(dataset, JudgementRelation(per_label=None, drawn=1), of_judgements())
    measured = trainer().validate(module, data, verbose=False)[0]
    (plan,) = data.validation_plans
    assert 0 < measured["val/loss"] < 10
    assert "a text of no photo" in [data.rows.text[text] for text in plan.text_id.tolist()]
