import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.prepare.synthetic_triplets.logos import DRAWN, find_logos, load_logo

CASES = Path(__file__).parents[2] / "assets" / "cases"


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_text("no picture"),
        lambda file: file.write_bytes((CASES / "avif_damaged" / "zero_tail.avif").read_bytes()),
        lambda file: Image.new("RGB", (8, 8)).save(file, "EPS"),
        os.mkfifo,
    ],
    ids=["text", "torn", "another-programs", "pipe"],
)
def test_logo_that_cannot_be_read_is_one_message(tmp_path, write):
    write(tmp_path / "star.png")
    with pytest.raises(InputError, match=r"star\.png: no logo that can be read \(.+\)\. Remove or replace the file\."):
        find_logos(tmp_path)


def test_logo_without_transparency_keeps_its_background_its_colours_and_its_direction(tmp_path):
    Image.new("RGB", (40, 20), "white").save(tmp_path / "age.JPG")
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(tmp_path / "ink.jpeg")
    lying = Image.Exif()
    lying[0x0112] = 6
    Image.new("RGB", (30, 10), "navy").save(tmp_path / "phone.jpg", exif=lying)
    found = find_logos(tmp_path)
    assert list(found) == ["age", "ink", "phone"]
    age, ink, phone = (load_logo(name, file) for name, file in found.items())
    assert (age.mode, age.size) == ("RGBA", (40, 20)) and age.getextrema()[3] == (255, 255)
    assert ink.getpixel((4, 4))[0] > 200 > 60 > ink.getpixel((4, 4))[2] and phone.size == (10, 30)


def test_drawn_logos_differ_in_shape():
    masks = {name: np.asarray(load_logo(name, "").getchannel("G").resize((24, 24)), dtype=float) for name in DRAWN}
    for one, other in combinations(masks.values(), 2):
        assert np.abs(one - other).mean() > 12
