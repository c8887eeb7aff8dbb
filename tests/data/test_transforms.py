from types import SimpleNamespace

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from fashionclip.data.transforms import eval_transform, train_transform
from fashionclip.images import Preprocess
from fashionclip.models.backbone import Backbone

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
PREPROCESS = Preprocess(size=64, mean=MEAN, std=STD)
FLAT = Image.new("RGB", (120, 160), (200, 60, 30))


def photo(width, height):
    y, x = np.mgrid[:height, :width]
    channels = (127 + 120 * np.sin(x / 17 + y / 31), 255 * x / width, 255 * y / height)
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(1080, 1440), (1333, 801), (90, 50)])
def test_evaluation_sees_what_open_clip_sees(resize_mode, interpolation, size):
    settings = {"mean": MEAN, "std": STD, "interpolation": interpolation, "resize_mode": resize_mode, "fill_color": 9}
    theirs = image_transform(224, is_train=False, **settings)(photo(*size))
    pixels = eval_transform(Preprocess(size=224, **settings))(photo(*size))
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 224, 224))
    buffers = SimpleNamespace(mean=torch.tensor(MEAN)[:, None, None], std=torch.tensor(STD)[:, None, None])
    torch.testing.assert_close(Backbone.normalize(buffers, pixels), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 32},
        {"mean": (0.5,) * 3},
        {"std": (0.5,) * 3},
        {"resize_mode": "longest"},
        {"interpolation": "bilinear"},
        {"fill_color": 255},
    ],
)
def test_every_part_of_the_preprocessing_shows_in_its_name(change):
    settings = {"size": 64, "mean": MEAN, "std": STD}
    assert repr(eval_transform(Preprocess(**settings))) == repr(eval_transform(PREPROCESS))
    assert repr(eval_transform(Preprocess(**{**settings, **change}))) != repr(eval_transform(PREPROCESS))


@pytest.mark.parametrize("off", [{}, {"crop_scale": None, "flip": 0.0, "color_jitter": None, "rotation": 0.0}])
def test_nothing_configured_changes_nothing(off):
    picture = photo(120, 160)
    assert torch.equal(train_transform(PREPROCESS, **off)(picture), eval_transform(PREPROCESS)(picture))


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(16_000, 1), (1, 16_000)])
def test_strip_takes_no_more_memory_than_a_photo(size, resize_mode, monkeypatch):
    drawn = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, to, *rest, **more: drawn.append(to) or resize(self, to, *rest, **more)
    )
    pixels = eval_transform(Preprocess(size=224, mean=MEAN, std=STD, resize_mode=resize_mode))(photo(*size))
    assert pixels.shape == (3, 224, 224)
    assert drawn and max(width * height for width, height in drawn) <= 20 * 224 * 224


@pytest.mark.parametrize(
    "configured",
    [{"crop_scale": [0.3, 0.6]}, {"flip": 0.5}, {"color_jitter": [0.5, 0.5, 0.5, 0.2]}, {"rotation": 30.0}],
)
def test_each_augmentation_changes_the_picture_randomly(configured):
    torch.manual_seed(0)
    transform, plain = train_transform(PREPROCESS, **configured), eval_transform(PREPROCESS)(photo(120, 160))
    drawn = [transform(photo(120, 160)) for _ in range(8)]
    assert all(pixels.dtype == torch.uint8 and pixels.shape == plain.shape for pixels in drawn)
    assert any(not torch.equal(pixels, plain) for pixels in drawn)
    assert any(not torch.equal(pixels, drawn[0]) for pixels in drawn)


def test_each_augmentation_does_only_its_own():
    torch.manual_seed(0)
    picture, flat = photo(120, 160), eval_transform(PREPROCESS)(FLAT)
    assert torch.equal(train_transform(PREPROCESS, flip=1.0)(picture), eval_transform(PREPROCESS)(picture).flip(2))
    assert torch.equal(train_transform(PREPROCESS, crop_scale=[0.1, 0.9])(FLAT), flat)
    turned = train_transform(PREPROCESS, rotation=45.0)(Image.new("RGB", (64, 64), (200, 60, 30)))
    assert turned[:, 32, 32].tolist() == [200, 60, 30]
    assert turned[:, 0, 0].tolist() == [255, 255, 255]
    jittered = train_transform(PREPROCESS, color_jitter=[0.5, 0.5, 0.5, 0.2])(FLAT)
    assert torch.equal(jittered, jittered[:, :1, :1].expand(3, 64, 64))
    assert not torch.equal(jittered, flat)
