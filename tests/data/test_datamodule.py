from itertools import chain
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fashionclip import distributed
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.relations import PairRelation
from fashionclip.errors import InputError
from fashionclip.images import Preprocess

BATCH = 8
PREPROCESS = Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(scope="module")
def data(demo_dataset):
    data = RetrievalDataModule(
        dataset=demo_dataset,
        relation=PairRelation(),
        tokenize=lambda texts: torch.zeros(len(texts), 4, dtype=torch.long),
        preprocess=PREPROCESS,
        batch_size=BATCH,
        eval_batch_size=BATCH,
        num_workers=0,
    )
    data.train_transform = lambda photo: torch.full((3, 8, 8), 77, dtype=torch.uint8)
    return data


def rows_of(loader, epoch=0):
    """The manifest rows of each batch of an epoch."""
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    return [batch.image_row.tolist() for batch in loader]


@pytest.fixture(autouse=True)
def lightning_is_rank_0_again():
    yield
    rank_zero_only.rank = 0


def on_rank(rank, loader, stage):
    """The loader as Lightning hands it to one of two processes."""
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    trainer.strategy.cluster_environment.set_global_rank(rank)
    shuffle = stage == RunningStage.TRAINING
    return trainer._data_connector._prepare_dataloader(loader, shuffle=shuffle, mode=stage)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_sees_each_row_once_in_order(data, split):
    loader = getattr(data, f"{split}_dataloader")()
    assert list(chain(*rows_of(loader))) == data.rows.of_split(split).tolist()


def test_augmentation_is_of_training_alone(demo_dataset, data):
    flipped = RetrievalDataModule(
        dataset=demo_dataset, relation=PairRelation(), tokenize=data.tokenize, preprocess=PREPROCESS,
        augmentation={"crop_scale": None, "flip": 0.5}, batch_size=4, eval_batch_size=4,
    )  # fmt: skip
    assert "RandomHorizontalFlip" in str(flipped.train_transform)
    assert "RandomHorizontalFlip" not in str(flipped.eval_transform)


def test_only_training_augments(data):
    def augmented(loader):
        return {bool((photo == 77).all()) for batch in loader for photo in batch.images}

    assert augmented(data.train_dataloader()) == {True}
    assert augmented(data.val_dataloader()) == augmented(data.test_dataloader()) == {False}


def test_two_processes_validate_each_row_once_but_for_padding(data):
    expected = data.rows.of_split("test").tolist()
    assert len(expected) % 2 == 1
    seen = [list(chain(*rows_of(on_rank(rank, data.test_dataloader(), RunningStage.TESTING)))) for rank in (0, 1)]
    assert len(seen[0]) == len(seen[1]) == (len(expected) + 1) // 2
    assert sorted(set(seen[0] + seen[1])) == expected


def test_training_shuffles_reproducibly_and_drops_the_rest(data, monkeypatch):
    train = data.rows.of_split("train").tolist()
    assert len(train) % BATCH
    epochs = []
    for seed in (0, 0, 1):
        monkeypatch.setattr(data, "seed", seed)
        loader = data.train_dataloader()
        epochs.append([rows_of(loader, 0), rows_of(loader, 1)])
    assert epochs[0] == epochs[1]
    assert len({str(epoch) for epoch in (*epochs[0], *epochs[2])}) == 4
    for batches in epochs[0]:
        assert [len(batch) for batch in batches] == [BATCH] * (len(train) // BATCH)
        assert len(set(chain(*batches))) == BATCH * len(batches)
        assert set(chain(*batches)) < set(train)


def test_two_processes_share_each_training_epoch(data, monkeypatch):
    def epoch(processes, rank):
        monkeypatch.setattr(distributed, "world_size", lambda: processes)
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(data, "batch_size", 2 * BATCH // processes)
        loader = data.train_dataloader()
        loader = on_rank(rank, loader, RunningStage.TRAINING) if processes > 1 else loader
        loader.sampler.set_epoch(1)
        return list(loader)

    joint, *shares = epoch(1, 0), epoch(2, 0), epoch(2, 1)
    assert len(joint) == len(shares[0]) == len(shares[1]) > 1
    for whole, *parts in zip(joint, *shares, strict=True):
        assert torch.cat([part.image_row for part in parts]).tolist() == whole.image_row.tolist()
        assert torch.cat([part.text_id for part in parts]).tolist() == whole.text_id.tolist()
        assert abs(len(parts[0].images) - len(parts[1].images)) <= 1
        for part in parts:
            assert (part.joint_images, part.joint_texts) == (len(whole.images), len(whole.texts))
            assert part.relation.right_text_id is None  # a product has one text
            own = vars(part.relation).items()
            assert all(torch.equal(one, vars(whole.relation)[name]) for name, one in own if one is not None)


def of_few(data, dataset, batch_size):
    return RetrievalDataModule(
        dataset=dataset, relation=PairRelation(), tokenize=data.tokenize, preprocess=PREPROCESS,
        batch_size=batch_size, eval_batch_size=4, num_workers=0,
    )  # fmt: skip


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 4), (2, 3)])
def test_a_batch_larger_than_the_data_becomes_smaller_and_says_so(
    make_dataset, data, monkeypatch, capsys, processes, batch_size
):
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    few = make_dataset("abcdefgh", ["shoe", "", "", "hat", "", "", "", "cap"])
    if processes == 1:
        with pytest.raises(InputError, match=r"data\.batch_size=1: nothing in a batch is there to be compared with"):
            of_few(data, few, 1).train_dataloader()
    else:
        assert list(map(len, of_few(data, few, 1).train_dataloader().batch_sampler)) == [2]
    assert "holds all" not in capsys.readouterr().out
    loader = of_few(data, few, batch_size).train_dataloader()
    assert [sorted(batch) for batch in loader.batch_sampler] == [[0, 3, 7]]
    assert f"data.batch_size={batch_size}: a batch holds all 3 rows" in capsys.readouterr().out


def test_an_overfitted_batch_is_refused_on_several_processes(make_dataset, data, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    few = of_few(data, make_dataset("abc", ["shoe", "hat", "cap"]), 1)
    few.trainer = SimpleNamespace(overfit_batches=2)
    with pytest.raises(InputError, match=r"trainer\.overfit_batches: .* Use trainer\.devices=1"):
        few.train_dataloader()


def test_fewer_rows_than_processes_are_refused(make_dataset, data, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    with pytest.raises(InputError, match=r"3 rows to train on, fewer than the 4 processes .* lower trainer\.devices"):
        of_few(data, make_dataset("abc", ["shoe", "hat", "cap"]), 1).train_dataloader()
