import random
import struct
import warnings
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashionclip import images
from fashionclip.images import UnreadableImageError, difference_hash, fit_within, load_image
from fashionclip.prepare.near_duplicates import MAX_DISTANCE

ORIENTATION = 0x0112
Turn = Image.Transpose


def draw(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A smooth picture of coloured clouds."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


def bits_apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def write_truncated(path: Path) -> None:
    draw(0).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-300])


def write_with_odd_exif(path: Path) -> None:
    """Turned, and with a resolution that is a text: a good picture on which Pillow's own turning raises TypeError."""
    turned = struct.pack(">HHIHH", ORIENTATION, 3, 1, 6, 0)
    resolution = struct.pack(">HHI4s", 0x011A, 2, 4, b"big\0")
    tags = b"Exif\0\0MM\0\x2a" + struct.pack(">IH", 8, 2) + turned + resolution + struct.pack(">I", 0)
    draw(0).save(path, "JPEG", exif=tags)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_truncated, "cannot be decoded .*truncated"),
        (lambda path: path.write_text("no picture"), "cannot be decoded .*cannot identify"),
        (lambda path: path.write_bytes(b""), "cannot be decoded"),
        (lambda path: path.mkdir(), "cannot be decoded"),
        (write_with_odd_exif, "cannot be decoded"),
        (lambda path: None, "no such photo"),
    ],
)
def test_bad_file_is_one_error_that_names_it(tmp_path, write, message) -> None:
    write(tmp_path / "bad.jpg")
    with pytest.raises(UnreadableImageError, match=rf"bad\.jpg: {message}"):
        load_image(tmp_path / "bad.jpg")


def palette_with_a_hole() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 30, 10])
    image.paste(0, (0, 0, 4, 8))
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(
    ("image", "suffix", "left", "right"),
    [
        (Image.new("L", (8, 8), 100), "png", (100, 100, 100), (100, 100, 100)),
        (Image.new("1", (8, 8), 1), "png", (255, 255, 255), (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)), "png", (100, 100, 100), (100, 100, 100)),
        (Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)), "tif", (100, 100, 100), (100, 100, 100)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpg", (255, 0, 0), (255, 0, 0)),
        (palette_with_a_hole(), "png", (255, 255, 255), (200, 30, 10)),
        (palette_with_a_hole(), "gif", (255, 255, 255), (200, 30, 10)),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), "png", (204, 204, 204), (204, 204, 204)),
        (Image.new("RGBA", (8, 8), (10, 20, 30, 0)), "webp", (255, 255, 255), (255, 255, 255)),
        (Image.new("LA", (8, 8), (0, 0)), "png", (255, 255, 255), (255, 255, 255)),
    ],
    ids=["grey", "two-level", "grey16-png", "grey16-tif", "cmyk", "palette", "gif", "rgba", "webp", "grey-alpha"],
)
def test_every_mode_becomes_rgb_on_white(tmp_path, image, suffix, left, right) -> None:
    image.save(tmp_path / f"photo.{suffix}")
    loaded = load_image(tmp_path / f"photo.{suffix}")
    assert loaded.mode == "RGB"
    assert loaded.getpixel((1, 4)) == pytest.approx(left, abs=2)
    assert loaded.getpixel((6, 4)) == pytest.approx(right, abs=2)


@pytest.mark.parametrize("at_least", [None, 40])
@pytest.mark.parametrize(
    ("orientation", "stored_as"),
    [
        (2, Turn.FLIP_LEFT_RIGHT),
        (3, Turn.ROTATE_180),
        (4, Turn.FLIP_TOP_BOTTOM),
        (5, Turn.TRANSPOSE),
        (6, Turn.ROTATE_90),
        (7, Turn.TRANSVERSE),
        (8, Turn.ROTATE_270),
    ],
)
def test_photo_of_a_turned_camera_comes_out_upright(tmp_path, orientation, stored_as, at_least) -> None:
    corners = {(0, 0): (255, 0, 0), (1, 0): (0, 255, 0), (0, 1): (0, 0, 255), (1, 1): (255, 255, 0)}
    upright = Image.new("RGB", (192, 128))
    for (column, row), colour in corners.items():
        upright.paste(colour, (96 * column, 64 * row, 96 * column + 96, 64 * row + 64))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright.transpose(stored_as).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    loaded = load_image(tmp_path / "photo.jpg", at_least=at_least)
    assert loaded.width > loaded.height
    for (column, row), colour in corners.items():
        place = (loaded.width * (1 + 2 * column) // 4, loaded.height * (1 + 2 * row) // 4)
        assert loaded.getpixel(place) == pytest.approx(colour, abs=6)


def write_png_header(path: Path, *, side: int) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize("pillow_limit", [Image.MAX_IMAGE_PIXELS, None])
def test_giant_photo_is_refused_from_its_header(tmp_path, monkeypatch, pillow_limit) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    write_png_header(tmp_path / "bomb.png", side=14_200)
    message = r"bomb\.png: (201,640,000|too many) pixels, at most 178,956,970 are decoded\. Scale the photo down"
    with pytest.raises(UnreadableImageError, match=message):
        load_image(tmp_path / "bomb.png")


def test_own_limit_holds_and_a_large_photo_below_it_gives_no_warning(tmp_path, monkeypatch) -> None:
    draw(0, size=(10, 10)).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # Pillow warns above 60 and raises above 120
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(tmp_path / "photo.png").size == (10, 10)
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    with pytest.raises(UnreadableImageError, match="100 pixels, at most 99 are decoded"):
        load_image(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [((800, 600), 150, (200, 150)), ((800, 600), 151, (400, 300)), ((800, 600), 900, (800, 600)), ((8, 600), 9, None)],
)
def test_draft_decodes_less_and_shows_nearly_the_same(tmp_path, size, at_least, expected) -> None:
    draw(1, size=size).save(tmp_path / "photo.jpg", quality=95)
    full, small = load_image(tmp_path / "photo.jpg"), load_image(tmp_path / "photo.jpg", at_least=at_least)
    assert small.size == (expected or size)
    assert mean_difference(small, full.resize(small.size, Image.Resampling.BOX)) < 1.5


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((100, 50), 200, (100, 50)),
        ((100, 50), 100, (100, 50)),
        ((100, 50), 40, (40, 20)),
        ((50, 100), 40, (20, 40)),
        ((1000, 1), 10, (10, 1)),
    ],
)
def test_fit_within_scales_down_and_never_up(size, max_side, expected) -> None:
    assert fit_within(draw(0, size=size), max_side=max_side).size == expected


def test_difference_hash_against_a_double_loop() -> None:
    grey = np.random.default_rng(0).integers(100, 116, (images.HASH_SIDE, images.HASH_SIDE + 1), dtype=np.uint8)
    bits = ""
    for row in grey.tolist():
        for left, right in pairwise(row):
            bits += "1" if left > right + images.HASH_MARGIN else "0"
    assert difference_hash(Image.fromarray(grey)) == f"{int(bits, 2):064x}"


@pytest.mark.parametrize("seed", range(5))
def test_difference_hash_tells_same_from_other(tmp_path, seed) -> None:
    picture = draw(seed, size=(300, 400))
    picture.save(tmp_path / "photo.jpg", quality=70)
    picture.resize((270, 360), Image.Resampling.BICUBIC).save(tmp_path / "small.jpg", quality=85)
    value = difference_hash(picture)
    assert bits_apart(value, difference_hash(load_image(tmp_path / "photo.jpg"))) <= MAX_DISTANCE
    assert bits_apart(value, difference_hash(load_image(tmp_path / "small.jpg"))) <= MAX_DISTANCE
    assert bits_apart(value, difference_hash(draw(seed + 100, size=(300, 400)))) > 8 * MAX_DISTANCE


def test_noise_on_a_white_background_sets_no_bit() -> None:
    noise = np.random.default_rng(0).integers(252, 256, (64, 68, 3), dtype=np.uint8)
    assert difference_hash(Image.fromarray(noise)) == "0" * 64
    noise[16:48, 17:51] = 90
    clean = np.where(noise > 200, np.uint8(255), noise)
    assert difference_hash(Image.fromarray(noise)) == difference_hash(Image.fromarray(clean)) != "0" * 64


@pytest.mark.parametrize("period", [3, 4, 5, 6, 7])
def test_fine_stripes_set_no_bit(period) -> None:
    stripes = np.where(np.arange(224) % period < period / 2, np.uint8(60), np.uint8(200))
    assert difference_hash(Image.fromarray(np.tile(stripes, (224, 1)))) == "0" * 64


def test_real_photos_keep_their_hash_when_made_smaller(real_data, tmp_path) -> None:
    photos = sorted((real_data / "kaggle-products" / "images").iterdir())
    moved = []
    for path in random.Random(0).sample(photos, 200):
        photo = load_image(path)
        photo.resize((photo.width * 3 // 4, photo.height * 3 // 4)).save(tmp_path / "small.jpg", quality=80)
        moved.append(bits_apart(difference_hash(photo), difference_hash(load_image(tmp_path / "small.jpg"))))
    assert sum(bits > MAX_DISTANCE for bits in moved) <= 4
    assert max(moved) <= 2 * MAX_DISTANCE
