import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from drawn_photos import draw
from PIL import Image

from fashionclip.evaluation import embedding_map as maps
from fashionclip.evaluation.embedding_map import draw_maps, embedding_map
from fashionclip.manifest import PreparedDataset


def clusters(photos, *, kinds=3):
    torch.manual_seed(0)
    kind = torch.arange(photos) % kinds
    return kind, F.normalize(3 * torch.randn(kinds, 16)[kind] + 0.3 * torch.randn(photos, 16), dim=1)


@pytest.mark.parametrize("library", [True, False])
def test_alike_photos_lie_side_by_side(library, monkeypatch):
    monkeypatch.setattr(maps, "find_spec", lambda name: library or None)
    kind, image = clusters(24)
    found = embedding_map(torch.arange(24) + 5, image)
    assert found.row.tolist() == list(range(5, 29)) and found.point.shape == (24, 2)
    assert found.point.min() == 0 and found.point.max() == 1
    assert found.method == "t-SNE" if library else found.method.startswith("PCA, for want of scikit-learn")
    away = np.linalg.norm(found.point[:, None] - found.point, axis=-1)
    same = (kind[:, None] == kind).numpy()
    assert away[same].max() < away[~same].min()
    assert np.array_equal(found.point, embedding_map(torch.arange(24) + 5, image).point)


def test_few_photos_equal_photos_and_a_sample_of_many():
    for photos in (1, 2, 3, 5, 6):
        point = embedding_map(torch.arange(photos), clusters(photos)[1]).point
        assert point.shape == (photos, 2) and np.isfinite(point).all()
    same = embedding_map(torch.arange(50), F.normalize(torch.ones(50, 8), dim=1))
    assert same.method == "PCA" and np.ptp(same.point) < 0.1, "a collapsed model is one point"
    sample = embedding_map(torch.arange(50), clusters(50)[1], most=10)
    assert len(sample.row) == 10 and sample.row.tolist() == sorted(set(sample.row.tolist()))
    assert sample.row.tolist() == embedding_map(torch.arange(50), clusters(50)[1], most=10).row.tolist()
    assert sample.row.tolist() != embedding_map(torch.arange(50), clusters(50)[1], most=10, seed=1).row.tolist()


def test_pictures_of_attributes_and_of_photos_that_do_not_cover_each_other(tmp_path):
    kind, image = clusters(30)
    manifest = pd.DataFrame(
        {
            "image_id": [str(row) for row in range(30)],
            "path": [f"{row}.jpg" for row in range(30)],
            "text": "text",
            "split": "test",
            "category": [("$Kleider$ <b>", "連衣裙", "")[of] for of in kind.tolist()],
            "colour": ["red", "blue"] * 15,
            "price": [str(row) for row in range(30)],
            "season": "Summer",
        }
    )
    for row in range(29):  # the last one is gone
        draw(row).save(tmp_path / f"{row}.jpg")
    dataset = PreparedDataset(root=tmp_path, manifest=manifest, info={})
    pictures = draw_maps(tmp_path, embedding_map(torch.arange(30), image), dataset)
    names = ["embedding_map_photos.png", "embedding_map.png", "embedding_map_colour.png"]
    assert [path.name for path in pictures.values()] == names
    assert all(path.is_file() for path in pictures.values()) and "t-SNE of 30 photos" in next(iter(pictures))
    kept = pd.read_parquet(tmp_path / "embedding_map.parquet")
    assert kept["path"].tolist() == manifest["path"].tolist() and list(kept) == ["image_id", "path", "x", "y"]
    placed = int(next(iter(pictures)).split("of which ")[1].split()[0])
    with Image.open(pictures[next(iter(pictures))]) as sheet:
        drawn = (np.asarray(sheet.convert("RGB")) < 250).any(axis=2).sum()
    assert 3 <= placed < 30 and drawn > 0.5 * placed * 35 * 44, "as many pixels as photos of 35 x 44"
