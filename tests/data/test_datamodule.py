import multiprocessing
import signal
import subprocess
import sys
from contextlib import nullcontext
from itertools import chain
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from fashionclip import distributed
from fashionclip.data.datamodule import RetrievalDataModule, _end_loading, _without_signals
from fashionclip.data.hard_negatives import HardNegatives, hard_negatives
from fashionclip.data.mixed import MixedRelation
from fashionclip.data.relations import IdentityRelation, PairRelation
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


class Looked(nn.Module):
    """Embeds photos by their rows and texts by their ids; counts how often."""

    def __init__(self, data):
        super().__init__()
        self.image, self.text = (
            normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(count)), dim=1)
            for count in (len(data.rows), len(data.rows.text))
        )
        self.backbone, self.batches = nn.Dropout(), 0

    def embed(self, batch):
        assert not self.backbone.training
        self.batches += 1
        return self.image[batch.image_row], self.text[batch.text_id]


@pytest.fixture
def with_hard_negatives(make_dataset, data):
    def made(relation=None, **settings):
        """Data of 13 photos, 11 of them of training and with a text, with a model of a table."""
        texts = ["red shirt", "Red  shirt!", "hat", "", *"efghijk", "val", "l"]
        splits = ["train"] * 11 + ["val", "train"]
        colours = [*"rrgb"] * 3 + ["r"]
        dataset = make_dataset(
            "aabcdefghijkl", texts, splits, photo_hash=[*"01233456789xy"], colour=colours, kind=["k"] * 13
        )
        made = RetrievalDataModule(
            dataset=dataset, relation=relation or PairRelation(), tokenize=data.tokenize, preprocess=PREPROCESS,
            batch_size=4, eval_batch_size=3, num_workers=0, hard_negatives=HardNegatives(**settings),
        )  # fmt: skip
        made.trainer = SimpleNamespace(
            lightning_module=Looked(made),
            strategy=SimpleNamespace(batch_to_device=lambda batch: batch),
            precision_plugin=SimpleNamespace(forward_context=nullcontext),
        )
        return made

    return made


@pytest.mark.parametrize("relation", [PairRelation(), PairRelation(text_fields={"kind": 0.5, "colour+kind": 1.0})])
def test_hard_negatives_are_found_when_it_is_time_and_processes_share_it(with_hard_negatives, monkeypatch, relation):
    data = with_hard_negatives(relation, every=2, per_group=3, margin=None, differ_in=["colour", "kind"])
    rows, model = data.rows, data.trainer.lightning_module
    order = data.train_dataloader().sampler
    drawn = torch.get_rng_state()
    assert sorted(order) == [0, 1, 2, *range(4, 12)], "not the one without a text"
    assert model.batches == 4 and model.backbone.training and torch.get_rng_state().equal(drawn)
    places = torch.tensor([0, 1, 2, *range(4, 11), 12])
    found = data.hard_negatives.found
    assert (data.hard_negatives.epoch, len(found)) == (0, 11)
    alike = [rows.item_id, rows.photo_id, rows.text_key[rows.text_id], rows.code["colour"]]
    wanted = hard_negatives(
        model.text[rows.text_id[places]], model.image[places], own=torch.arange(11),
        alike=[code[places] for code in alike], count=12, margin=None,
    )  # fmt: skip
    assert found.equal(wanted) and (found >= 0).sum() > 50

    order.set_epoch(1)
    assert list(order) and data.hard_negatives.epoch == 0, "those of before serve"
    model.text = model.text.flip(0)
    order.set_epoch(3)
    assert list(order) and data.hard_negatives.epoch == 3 and not data.hard_negatives.found.equal(found)
    changed = data.hard_negatives.found
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(
        distributed, "gather", lambda part, *, total: model.image[places] if part.is_floating_point() else part
    )
    shares = []
    for rank in 0, 1:
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(data.find_hard_negatives(places))
    assert [len(share) for share in shares] == [5, 6] and torch.cat(shares).equal(changed)


@pytest.mark.parametrize("settings", [{"margin": 3.0}, {"margin": None, "differ_in": ["kind"]}])
def test_it_is_said_where_there_are_no_hard_negatives(with_hard_negatives, settings):
    data = with_hard_negatives(every=1, per_group=3, **settings)
    sampler = data.train_dataloader().sampler
    with pytest.warns(UserWarning, match=r"none was found.* All 11 rows of train .*lower the margin"):
        assert len(list(sampler)) == 11


def test_hard_negatives_go_on_where_they_were(with_hard_negatives):
    data = with_hard_negatives(every=2)
    data.begun = None
    found = torch.full((11, 16), 3, dtype=torch.int32)
    data.load_state_dict({"epoch": 5, "batches": 1, "hard_negatives": {"epoch": 4, "found": found}})
    order = data.train_dataloader().sampler
    assert len(list(order)) == 11 - 4 and data.trainer.lightning_module.batches == 0
    order.set_epoch(6)
    assert len(list(order)) == 11 and data.hard_negatives.epoch == 6 and data.trainer.lightning_module.batches == 4
    data.load_state_dict({"epoch": 9, "batches": 0, "hard_negatives": {"epoch": 6, "found": found}})
    assert len(list(data.train_dataloader().sampler)) == 11 and data.hard_negatives.epoch == 9, "before Lightning tells"


def test_hard_negatives_are_off_by_default_and_refused_where_they_say_nothing(with_hard_negatives):
    assert with_hard_negatives().hard_negatives is None and HardNegatives().every is None
    identities = IdentityRelation(item="item_id", group="item_id", second_view=True)
    for relation in identities, MixedRelation(parts={"pairs": PairRelation(), "i": identities}, sampler="pairs"):
        with pytest.raises(InputError, match=rf"hard_negatives\.every=1: .*relation={relation.name}.*loss=contrastive"):
            with_hard_negatives(relation, every=1)
        assert with_hard_negatives(relation).hard_negatives is None
    with pytest.raises(InputError, match=r"differ_in=\['colour', 'size'\]: .* has no column size; it has \['image_id'"):
        with_hard_negatives(every=1, differ_in=["colour", "size"])
    for setting in {"per_group": 8}, {"margin": None}, {"differ_in": ["colour"]}:
        with pytest.raises(InputError, match=r"change nothing\. Give loss\.hard_negatives\.every=1"):
            HardNegatives(**setting)


def test_loading_processes_which_ignore_signals_are_ended():
    handler = signal.getsignal(signal.SIGCHLD)
    loading = iter(DataLoader(range(9), num_workers=1, worker_init_fn=_without_signals))
    next(loading)
    (process,) = multiprocessing.active_children()
    process.terminate()  # as Python does at its end
    process.join(timeout=0.5)
    assert process.is_alive()
    try:
        _end_loading()
        process.join(timeout=10)
        assert not process.is_alive()
        loading._shutdown_workers()
    finally:
        signal.signal(signal.SIGCHLD, handler)


@pytest.mark.slow
def test_a_program_ends_though_something_still_holds_its_loader():
    """As a traceback does: some Pythons then wait for its processes."""
    program = """
import sys
from torch.utils.data import DataLoader
from fashionclip.data.datamodule import _without_signals
sys.kept = iter(DataLoader(range(9), num_workers=1, worker_init_fn=_without_signals, persistent_workers=True))
sys.kept.itself = sys.kept
raise SystemExit(143)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=120, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (143, "")
