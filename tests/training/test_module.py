from functools import partial

import pytest
import torch
from torch import nn

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
    runner = trainer(max_epochs=4, check_val_every_n_epoch=4)
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


class Nothing(nn.Module):
    def forward(self, *, image, **others):
        return 0 * image.sum()


def test_nothing_to_learn_is_an_error_after_the_first_epoch(built, trainer):
    module, data = built
    module.loss = Nothing()
    runner = trainer(max_epochs=2, limit_val_batches=0, limit_train_batches=3)
    with pytest.raises(InputError, match=r"the loss was 0 at every step of the first epoch.*Raise data\.batch_size"):
        runner.fit(module, data)
    assert runner.current_epoch == 0
    data.batch_size = 1
    with pytest.raises(InputError, match=r"data\.batch_size=1: nothing in a batch .* Raise data\.batch_size"):
        trainer(max_epochs=1).fit(module, data)


def test_chunks_have_the_gradients_of_the_batch_and_repeat_its_random_numbers(built, monkeypatch):
    module, data = built
    loader = data._evaluation(data.rows.of_split("train"))
    loader.dataset.relation = data.relation
    batch = loader.dataset.__getitems__(list(range(11)))
    visual = module.backbone.clip.visual
    norm = visual.ln_post

    def gradients(chunk, *, autocast):
        module.zero_grad()
        module.cache_chunk = chunk
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = module.joint_loss(batch)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])

    plain = gradients(None, autocast=False)
    for chunk in (3, 64):
        assert (gradients(chunk, autocast=False) - plain).norm() <= 1e-5 * plain.norm()
    visual.ln_post = nn.Sequential(norm, nn.Dropout(0.5))
    cached = gradients(3, autocast=True)
    monkeypatch.setattr("fashionclip.training.module.checkpoint", lambda encode, part, **_: encode(part))
    kept = gradients(3, autocast=True)
    assert (cached - kept).norm() <= 1e-5 * kept.norm() and (cached - plain).norm() > 0.1 * plain.norm()


def test_what_chunks_would_change_is_refused_and_accumulation_warned_of(built, trainer):
    module, data = built
    module.cache_chunk = 4
    module.backbone.clip.visual.ln_post = nn.Sequential(module.backbone.clip.visual.ln_post, nn.BatchNorm1d(1))
    with pytest.raises(InputError, match=r"loss\.cache_chunk=4: the model has batch norms that are trained"):
        trainer(max_steps=1).fit(module, data)
    module.backbone.clip.visual.ln_post = module.backbone.clip.visual.ln_post[0]
    with pytest.warns(UserWarning, match=r"accumulate_grad_batches=2 adds no negatives.*loss\.cache_chunk"):
        trainer(max_steps=1, limit_val_batches=0, accumulate_grad_batches=2).fit(module, data)


def test_validation_ranks_some_queries_and_testing_all(built, trainer):
    module, data = built
    module.metrics.val_queries = 5  # of 12 photos
    runner = trainer()
    for name, measure in ("val", runner.validate), ("test", runner.test), ("val", runner.validate):
        (measured,) = measure(module, data, verbose=False)
        assert (measured[f"{name}/image_to_text/queries"] == 5) == (name == "val")


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
