import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fashionclip.data.dataset import RetrievalDataset
from fashionclip.data.relations import PairRelation
from fashionclip.data.transforms import eval_transform
from fashionclip.errors import InputError
from fashionclip.images import Preprocess

TEXTS = ["shoe", "hat", "shoe", "cap", "hat", "hat"]


@pytest.fixture
def tokenized():
    return []


@pytest.fixture
def dataset(make_rows, tokenized):
    def tokenize(texts):
        tokenized.append(texts)
        return torch.tensor([[ord(letter) for letter in text[:3]] for text in texts])

    def dataset(**settings):
        return RetrievalDataset(
            make_rows("abcdef", TEXTS),
            torch.tensor([4, 0, 2, 5, 1]),
            relation=PairRelation(),
            transform=eval_transform(Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)),
            tokenize=tokenize,
            decode_size=16,
            **settings,
        )

    return dataset


def test_a_batch_holds_the_rows_asked_for_in_that_order(dataset, tokenized):
    data = dataset()
    assert len(data) == 5
    batch = data.__getitems__([3, 0, 2, 1, 3])
    rows = [5, 4, 2, 0, 5]
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (4, 3, 8, 8)
    assert batch.images[:, 0, 0, 0].tolist() == batch.image_row.tolist()
    assert batch.images[batch.relation.image_index, 0, 4, 4].tolist() == rows
    firsts = [chr(token) for token in batch.texts[batch.relation.text_index, 0].tolist()]
    assert firsts == [TEXTS[row][0] for row in rows]
    assert [sorted(texts) for texts in tokenized] == [["hat", "shoe"]]


def test_a_single_position_is_a_batch_of_one(dataset):
    batch = dataset()[1]
    assert batch.image_row.tolist() == [0]
    assert len(batch.images) == len(batch.texts) == len(batch.relation) == 1


def test_processes_share_a_batch_and_draw_alike(dataset, tokenized):
    positions = [3, 0, 2, 1]
    whole = dataset().__getitems__(positions)
    parts = [dataset(process=process, processes=3).__getitems__(positions) for process in range(3)]
    assert [len(part.images) for part in parts] == [1, 1, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert [len(part.texts) for part in parts] == [1, 1, 1], "the first process's share of two texts is empty"
    assert parts[0].text_id.tolist() == parts[1].text_id.tolist() == whole.text_id[:1].tolist()
    assert {(part.joint_images, part.joint_texts) for part in parts} == {(4, 2)}


def test_what_is_drawn_depends_on_seed_and_positions_alone(dataset):
    class Drawing(PairRelation):
        def plan(self, rows, chosen, *, draws):
            drawn.append(torch.randint(1000, (3,), generator=draws).tolist())
            return super().plan(rows, chosen, draws=draws)

    drawn = []
    for seed, process, positions in (0, 0, [0, 1]), (0, 1, [0, 1]), (0, 0, [1, 0]), (1, 0, [0, 1]):
        data = dataset(seed=seed, process=process, processes=2)
        data.relation = Drawing()
        torch.manual_seed(process)
        data.__getitems__(positions)
    assert drawn[0] == drawn[1] and drawn[0] != drawn[2] and drawn[0] != drawn[3]


def test_features_stand_in_for_photos(dataset, tmp_path):
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.save(tmp_path / "features.npy", features)
    batch = dataset(features=tmp_path / "features.npy").__getitems__([0, 4])
    assert torch.equal(batch.images, torch.from_numpy(features)[batch.image_row])
    assert batch.images[batch.relation.image_index].tolist() == [[8.0, 9.0], [2.0, 3.0]]


@pytest.mark.parametrize("broken", [b"no photo", None])
def test_an_unreadable_photo_is_named(dataset, tmp_path, broken):
    data = dataset()
    (tmp_path / "images/2.png").unlink()
    if broken:
        (tmp_path / "images/2.png").write_bytes(broken)
    with pytest.raises(InputError, match=r"images/2\.png: .*re-run prepare\.py"):
        list(DataLoader(data, batch_size=3, collate_fn=lambda batch: batch))
