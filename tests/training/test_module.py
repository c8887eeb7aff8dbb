from functools import partial

import pytest
import torch

from fashionclip.data.relations import PairRelation
from fashionclip.errors import InputError
from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.training.optim import warmup_cosine


@pytest.fixture
def built(build, demo_dataset):
    config = {"model": {"label": "tiny"}}
    return build(demo_dataset, PairRelation(), ContrastiveLoss(), scheduler=warmup_cosine, config=config)


def test_the_loss_falls_and_the_checkpoint_loads_without_code(built, trainer, tmp_path):
    module, data = built
    losses = []
    step = module.training_step
    module.training_step = lambda batch, batch_idx: losses.append(step(batch, batch_idx)) or losses[-1]
    runner = trainer(max_epochs=4)
    runner.fit(module, data)
    assert sum(losses[-3:]) / 3 < 0.9 * sum(losses[:3]) / 3
    assert module.lr_schedulers().get_last_lr()[0] == pytest.approx(0, abs=1e-9)
    assert 0 <= runner.callback_metrics["val/text_to_image/recall@1"] <= 1
    runner.save_checkpoint(tmp_path / "one.ckpt")
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert checkpoint["config"] == {"model": {"label": "tiny"}}
    assert all(name.startswith("backbone.clip.") for name in checkpoint["state_dict"])


def test_the_logit_scale_stays_below_100(built, trainer):
    module, data = built
    with torch.no_grad():
        module.backbone.logit_scale.fill_(10)
    trainer(max_steps=1, limit_val_batches=0).fit(module, data)
    assert module.backbone.logit_scale.exp().item() == pytest.approx(100)


def test_evaluation_sees_each_photo_of_its_split_once(built, trainer):
    module, data = built
    seen = []
    update = module.metrics.update
    module.metrics.update = lambda image, row, text, text_id: (
        seen.extend(row.tolist()),
        update(image, row, text, text_id),
    )
    trainer().test(module, data, verbose=False)
    assert sorted(seen) == sorted(data.rows.of_split("test").tolist())


def test_a_loss_that_is_no_number_stops_the_run_at_its_step(built, trainer):
    module, data = built
    module.make_optimizer, module.make_scheduler = partial(torch.optim.SGD, lr=1e30), None
    runner = trainer(max_epochs=4, limit_val_batches=0)
    with pytest.raises(
        InputError, match=r"the loss is nan at step [1-3] .*learning rate 1e\+30.*a tenth of optimizer\.lr"
    ):
        runner.fit(module, data)


def test_nothing_to_learn_is_an_error_after_the_first_epoch(built, trainer):
    module, data = built
    data.batch_size = 1
    runner = trainer(max_epochs=2, limit_val_batches=0, limit_train_batches=3)
    with pytest.raises(InputError, match=r"the loss was 0 at every step of the first epoch.*Raise data\.batch_size"):
        runner.fit(module, data)
    assert runner.current_epoch == 0


def test_val_loss_is_that_of_training_over_the_same_batches_of_val_each_time(built, trainer):
    module, data = built
    data.batch_size = 5  # 12 photos of val: two whole batches
    runner = trainer(limit_test_batches=0)
    first, second = (runner.validate(module, data, verbose=False)[0]["val/loss"] for _ in range(2))
    assert first == second
    loader = data._evaluation(data.rows.of_split("val"))
    values = []
    for plan in data.validation_plans:
        with torch.no_grad():
            image = module.backbone.encode_image(loader.dataset.load(plan.image_row, seed=0))
            text = module.backbone.encode_text(loader.dataset.load_texts(plan.text_id))
            scale = {"logit_scale": module.backbone.logit_scale}
            values.append(module.loss(**plan.relation.select(image, text), **scale).item())
    assert len(values) == 2 and first == pytest.approx(sum(values) / 2, rel=1e-4)
    assert "val/loss" not in trainer(limit_val_batches=1).validate(module, data, verbose=False)[0]
