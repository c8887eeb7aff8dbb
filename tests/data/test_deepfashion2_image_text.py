import json

import pytest
from PIL import Image

from fashionclip.data.deepfashion2_image_text import DeepFashion2ImageTextDataset
from fashionclip.errors import InputError


def test_samples_are_those_of_the_file(tmp_path):
    samples = [
        {"image_path": "a.jpg", "text": "A coat.", "sku_id": "000001_01_01", "domain": "query", "viewpoint": 2},
        {"image_path": "b.jpg", "text": "A hat.", "sku_id": "000002_01_05", "domain": "catalog", "viewpoint": 1},
    ]
    (tmp_path / "train_image_text.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    for sample, colour in zip(samples, ("red", "blue"), strict=True):
        Image.new("RGB", (20, 30), colour).save(tmp_path / sample["image_path"])
    dataset = DeepFashion2ImageTextDataset(tmp_path, "train", transform=lambda image: image.size, text_key="sku_id")
    assert len(dataset) == 2 and [dataset[i]["meta"] for i in range(2)] == samples
    assert dataset[1] == {
        "image": (20, 30),
        "text": "000002_01_05",
        "sku_id": "000002_01_05",
        "domain": "catalog",
        "meta": samples[1],
    }
    red, green, blue = DeepFashion2ImageTextDataset(tmp_path, "train")[0]["image"].getpixel((5, 5))
    assert red > 200 and max(green, blue) < 40


def test_a_split_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"test_image_text.jsonl: not there. Run: python prepare.py dataset=df2"):
        DeepFashion2ImageTextDataset(tmp_path, "test")
