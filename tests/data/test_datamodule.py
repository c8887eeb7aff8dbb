from itertools import chain

import lightning as L
import pytest
import torch
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fashionclip import distributed
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.relations import PairRelation
from fashionclip.data.rows import Rows
from fashionclip.data.transforms import eval_transform
from fashionclip.errors import InputError
from fashionclip.images import Preprocess

BATCH = 8


@pytest.fixture(scope="module")
def data(demo_dataset):
    transform = eval_transform(Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3))
    return RetrievalDataModule(
        rows=Rows(demo_dataset),
        relation=PairRelation(),
        tokenize=lambda texts: torch.zeros(len(texts), 4, dtype=torch.long),
        train_transform=lambda photo: torch.full((3, 8, 8), 77, dtype=torch.uint8),
        eval_transform=transform,
        decode_size=16,
        batch_size=BATCH,
        eval_batch_size=BATCH,
        num_workers=0,
    )


def rows_of(loader, epoch=0):
    """The manifest rows of each batch of an epoch."""
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    return [batch.image_row[batch.relation.image_index].tolist() for batch in loader]


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


def test_training_shuffles_reproducibly_and_drops_the_rest(data):
    train = data.rows.of_split("train").tolist()
    assert len(train) % BATCH
    epochs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        loader = data.train_dataloader()
        epochs.append([rows_of(loader), rows_of(loader)])
    assert epochs[0] == epochs[1]
    assert len({str(epoch) for epoch in (*epochs[0], *epochs[2])}) == 4
    for batches in epochs[0]:
        assert [len(batch) for batch in batches] == [BATCH] * (len(train) // BATCH)
        assert len(set(chain(*batches))) == BATCH * len(batches)
        assert set(chain(*batches)) < set(train)


def test_two_processes_share_each_training_epoch(data, monkeypatch):
    train = data.rows.of_split("train").tolist()

    def epoch(seed, epoch):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        loaders = [on_rank(rank, data.train_dataloader(), RunningStage.TRAINING) for rank in (0, 1)]
        return [rows_of(loader, epoch) for loader in loaders]

    first = epoch(0, 0)
    assert first == epoch(0, 0)
    assert len({str(first), str(epoch(0, 1)), str(epoch(9, 0))}) == 3
    for batches in first:
        assert [len(batch) for batch in batches] == [BATCH] * ((len(train) + 1) // 2 // BATCH)
    mine, others = (set(chain(*batches)) for batches in first)
    assert not mine & others
    assert mine | others < set(train)


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 4), (2, 3)])
def test_a_batch_that_would_never_be_full_is_refused(make_rows, data, monkeypatch, processes, batch_size):
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    settings = {"tokenize": data.tokenize, "train_transform": data.train_transform, "decode_size": 16}
    settings |= {"eval_transform": data.eval_transform, "relation": PairRelation(), "eval_batch_size": 4}
    rows = make_rows("abc", ["shoe", "hat", "cap"])
    RetrievalDataModule(rows=rows, batch_size=batch_size - 1, num_workers=0, **settings).train_dataloader()
    with pytest.raises(InputError, match=rf"data\.batch_size={batch_size} on each of {processes} .* the 3 rows"):
        RetrievalDataModule(rows=rows, batch_size=batch_size, num_workers=0, **settings)


def test_a_batch_larger_than_the_rows_with_a_text_is_refused(make_rows, data):
    rows = make_rows("abcdefgh", ["hat", "", "", "", "", "", "", "cap"])
    few = RetrievalDataModule(
        rows=rows, relation=PairRelation(), tokenize=data.tokenize, train_transform=data.train_transform,
        eval_transform=data.eval_transform, decode_size=16, batch_size=4, eval_batch_size=4, num_workers=0,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"data\.batch_size=4: relation=pairs trains on fewer rows"):
        few.train_dataloader()
