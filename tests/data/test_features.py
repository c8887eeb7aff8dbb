import os
import random
import resource
import signal
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.features import Photos, write_features
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import PairRelation
from fashionclip.data.transforms import eval_transform
from fashionclip.images import Preprocess, load_image

PREPROCESS = Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
TRANSFORM = eval_transform(PREPROCESS)


class Tower(nn.Module):
    """Remembers the red level, which is the row, of each photo it has seen; fails at the call `stop_at`."""

    def __init__(self, *, seed=0, activation=nn.ReLU, stop_at=-1):
        super().__init__()
        torch.manual_seed(seed)
        self.linear, self.activation, self.dropout = nn.Linear(3, 5), activation(), nn.Dropout(0.5)
        self.seen, self.stop_at = [], stop_at

    def forward(self, images):
        self.stop_at -= 1
        if self.stop_at == 0:
            raise KeyboardInterrupt
        self.seen += images[:, 0, 0, 0].tolist()
        return self.dropout(self.activation(self.linear(images.float().mean((2, 3)) / 255)))


@pytest.fixture
def dataset(make_dataset):
    return make_dataset([str(i) for i in range(45)], [f"text {i}" for i in range(45)], ["train"] * 40 + ["val"] * 5)


@pytest.fixture
def rows(dataset):
    return ManifestTensors(dataset)


def write(tower, rows, batch_size=7, num_workers=0):
    path = rows.root / "features" / "a.npy"
    write_features(
        tower,
        Photos(rows, transform=TRANSFORM, decode_size=16),
        path,
        device=torch.device("cpu"),
        batch_size=batch_size,
        num_workers=num_workers,
    )
    return np.load(path)


@torch.inference_mode()
def one_by_one(rows):
    tower = Tower().eval()
    return torch.cat([tower(TRANSFORM(load_image(rows.root / path))[None]) for path in rows.path]).numpy()


@pytest.mark.parametrize("batch_size", [7, 40, 100])
def test_features_equal_the_tower_photo_by_photo(rows, batch_size):
    tower = Tower()
    np.testing.assert_allclose(write(tower, rows, batch_size), one_by_one(rows), atol=1e-6)
    assert tower.seen == list(range(45))
    assert tower.training
    write(tower, rows)
    assert len(tower.seen) == 45
    assert [file.name for file in (rows.root / "features").iterdir()] == ["a.npy"]


@pytest.mark.parametrize(
    ("damage", "goes_on_at"), [(None, 21), ("half a row", 20), ("header", 0), ("no row", 0), ("lost", 0)]
)
def test_a_stopped_run_goes_on_where_it_was(rows, damage, goes_on_at):
    folder = rows.root / "features"
    with pytest.raises(KeyboardInterrupt):
        write(Tower(stop_at=4), rows)
    assert [file.name for file in folder.iterdir()] == ["a.unfinished"]
    written = (folder / "a.unfinished").read_bytes()
    if damage == "lost":
        (folder / "a.unfinished").unlink()
    elif damage is not None:
        kept = {"half a row": len(written) - 3, "header": 40, "no row": 130}[damage]  # the header takes 128 bytes
        (folder / "a.unfinished").write_bytes(written[:kept])
    tower = Tower()
    np.testing.assert_allclose(write(tower, rows), one_by_one(rows), atol=1e-6)
    assert tower.seen == list(range(goes_on_at, 45))


def test_a_run_killed_behind_its_last_photo_is_finished_without_the_tower(rows, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(Tower(), rows)
    tower = Tower()
    np.testing.assert_allclose(write(tower, rows), one_by_one(rows), atol=1e-6)
    assert tower.seen == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_random_numbers_are_the_same_with_and_without_it(rows, num_workers):
    tower = Tower()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    expected = random.random(), np.random.rand(), torch.rand(1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    write(tower, rows, num_workers=num_workers)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_a_full_disk_is_an_error_that_names_the_file_and_the_next_run_goes_on(rows):
    """A limit of the process stands in for the disk: both make a write fail, and only a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 + 20 * 30, hard))
    try:
        with pytest.raises(OSError) as failure:
            write(Tower(), rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert failure.value.filename == str(rows.root / "features" / "a.npy")
    tower = Tower()
    np.testing.assert_allclose(write(tower, rows), one_by_one(rows), atol=1e-6)
    assert tower.seen == list(range(30, 45))


class SlowTower(Tower):
    def forward(self, images):
        time.sleep(0.05)
        return super().forward(images)


def test_a_second_process_waits_for_the_first_and_uses_its_features(rows):
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                tower = SlowTower()
                write(tower, rows)
                os._exit(len(tower.seen))
            finally:
                os._exit(1)
        children.append(child)
    assert sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children) == [0, 45]
    np.testing.assert_allclose(np.load(rows.root / "features" / "a.npy"), one_by_one(rows), atol=1e-6)


def tokenize(texts):
    return torch.tensor([[len(text), ord((text or " ")[-1])] for text in texts])


class TextTower(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.factor, self.seen = nn.Parameter(torch.tensor(factor)), 0

    def forward(self, tokens):
        self.seen += len(tokens)
        return tokens * self.factor


def module(dataset, tower, preprocess=PREPROCESS, text_tower=None):
    return RetrievalDataModule(
        dataset=dataset,
        relation=PairRelation(),
        tokenize=tokenize,
        preprocess=preprocess,
        batch_size=8,
        eval_batch_size=8,
        num_workers=0,
        frozen_image_part=tower,
        frozen_text_part=text_tower,
    )


def test_the_datamodule_trains_on_the_features_and_reuses_them(dataset, rows):
    data = module(dataset, Tower())
    data.prepare_data()
    expected = torch.from_numpy(one_by_one(rows))
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            torch.testing.assert_close(batch.images, expected[batch.image_row])
    again = Tower()
    module(dataset, again, Preprocess(**asdict(PREPROCESS))).prepare_data()
    assert again.seen == []


@pytest.mark.parametrize(
    ("tower", "preprocess"),
    [({"seed": 1}, {}), ({"activation": nn.GELU}, {}), ({}, {"mean": (0.4,) * 3}), ({}, {"fill_color": 255})],
)
def test_another_model_or_preprocessing_does_not_reuse_the_features(dataset, tower, preprocess):
    module(dataset, Tower()).prepare_data()
    other = Tower(**tower)
    settings = {"size": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3, **preprocess}
    module(dataset, other, Preprocess(**settings)).prepare_data()
    assert other.seen == list(range(45))


def test_a_frozen_text_tower_is_run_once_a_text(make_dataset):
    texts = [f"text {i % 9}" for i in range(44)] + [""]
    dataset = make_dataset([str(i) for i in range(45)], texts, ["train"] * 40 + ["val"] * 5)
    tower = TextTower()
    data = module(dataset, None, text_tower=tower)
    data.prepare_data()
    assert tower.seen == 10  # nine texts, and that of the photo without one
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            expected = tokenize([data.rows.text[i] for i in batch.text_id.tolist()])
            torch.testing.assert_close(batch.texts, expected.float())
    again = TextTower()
    module(dataset, None, text_tower=again).prepare_data()
    assert again.seen == 0
    other = TextTower(factor=2.0)
    data = module(dataset, None, text_tower=other)
    data.prepare_data()
    assert other.seen == 10, "other weights have other features"
