from copy import deepcopy

import numpy as np
import pytest
import torch

from fashionclip.data.relations import IdentityRelation, PairRelation
from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.losses.mining import MinedTripletLoss
from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss
from fashionclip.training.distillation import Teacher


def moved(backbone):
    """A copy of other weights."""
    other = deepcopy(backbone)
    torch.manual_seed(1)
    for parameter in other.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return other


def slow_distance(module, other, batch):
    means = []
    for encode, inputs in (("encode_image", batch.images), ("encode_text", batch.texts)):
        gaps = []
        for one in inputs:
            own, known = (getattr(backbone, encode)(one[None])[0] for backbone in (module.backbone, other))
            gaps.append(1 - float(own @ known))
        means.append(sum(gaps) / len(gaps))
    return sum(means)


@pytest.mark.parametrize("kept", [False, True])
@torch.no_grad()
def test_the_distance_equals_a_loop_over_photos_and_texts(kept, demo_dataset, build):
    module, data = build(demo_dataset, PairRelation(), ContrastiveLoss())
    other = moved(module.backbone)
    teacher = Teacher(other, weight=3.0, data=data if kept else None)
    teacher.prepare(torch.device("cpu"))
    batch = next(iter(data.train_dataloader()))
    image, text = module.eval().embed(batch)
    expected = 3 * slow_distance(module, other, batch)
    assert expected > 0.1
    assert float(teacher.distance(batch, image, text)) == pytest.approx(expected, rel=1e-4)
    if kept:
        assert [len(np.load(file)) for file in (teacher.image, teacher.text)] == [len(data.rows), len(data.rows.text)]
    else:
        assert teacher.image is None and teacher.text is None


def test_what_augmentation_changes_is_embedded_in_each_step(demo_dataset, build):
    module, data = build(demo_dataset, PairRelation(), ContrastiveLoss())
    teacher = Teacher(module.backbone, weight=1.0, data=data, augmented=True)
    assert teacher.image is None and teacher.text is not None
    assert deepcopy(teacher) is teacher  # of its data's trainer there may be no copy, as where it starts processes


def test_photos_alone_are_compared_alone(demo_dataset, build):
    relation = IdentityRelation(item="item_id", group="group_id", second_view=True)
    loss = MinedTripletLoss(loss=TripletSemiPosMarginWithDistanceLoss(), mining="all")
    module, data = build(demo_dataset, relation, loss)
    teacher = Teacher(moved(module.backbone), weight=1.0, data=data)
    assert teacher.text is None
    teacher.prepare(torch.device("cpu"))
    batch = next(iter(data.train_dataloader()))
    distance = teacher.distance(batch, *module.embed(batch))
    assert 0 < distance.item() < 2
    distance.backward()
    assert all(parameter.grad is None for parameter in teacher.backbone.parameters())


def test_a_strong_teacher_keeps_the_weights_near_and_out_of_the_checkpoint(demo_dataset, build, trainer, tmp_path):
    spread = {}
    for weight in (None, 100.0):
        module, data = build(demo_dataset, PairRelation(), ContrastiveLoss(), teacher=None)
        if weight is not None:
            module.teacher = Teacher(deepcopy(module.backbone), weight=weight, data=data)
        before = deepcopy(module.backbone)
        runner = trainer(max_epochs=2, limit_train_batches=3, limit_val_batches=0)
        runner.fit(module, data)
        batch = next(iter(data.val_dataloader()))
        with torch.no_grad():
            spread[weight] = float(Teacher(before, weight=1.0).distance(batch, *module.eval().embed(batch)))
        names = runner.strategy.lightning_module_state_dict()
        assert not any("teacher" in name for name in names)
    assert spread[100.0] < spread[None] / 3
