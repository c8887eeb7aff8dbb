import pandas as pd
import pytest
from PIL import Image

from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.manifest import MANIFEST_COLUMNS, PreparedDataset


@pytest.fixture
def make_dataset(tmp_path):
    """Builds a dataset whose i-th photo is flat, of red level i."""

    def make_dataset(items, texts, splits=None, **columns):
        (tmp_path / "images").mkdir(exist_ok=True)
        manifest = pd.DataFrame("", index=range(len(items)), columns=list(MANIFEST_COLUMNS))
        manifest["item_id"], manifest["text"] = list(items), list(texts)
        manifest["split"] = list(splits or ["train"] * len(items))
        manifest["path"] = [f"images/{i}.png" for i in range(len(items))]
        for i, path in enumerate(manifest["path"]):
            Image.new("RGB", (8, 12), (i, 100, 200)).save(tmp_path / path)
        return PreparedDataset(root=tmp_path, manifest=manifest.assign(**columns), info={})

    return make_dataset


@pytest.fixture
def make_rows(make_dataset):
    def make_rows(items, texts, splits=None, **columns):
        return ManifestTensors(make_dataset(items, texts, splits, **columns), coded=list(columns))

    return make_rows
