import numpy as np
import pytest
from PIL import Image

import fashionclip
from fashionclip.errors import InputError


def test_two_lines_of_python_encode_texts_files_and_pictures(export, photo, tmp_path):
    photo(tmp_path / "photo.png", 1)
    model = fashionclip.load(export)
    assert model.encode_text(["red dress", "blue jeans"] * 40).shape == (80, 16), "more than one batch"
    with Image.open(tmp_path / "photo.png") as opened:
        pictures = [tmp_path / "photo.png", str(tmp_path / "photo.png"), opened.convert("RGBA"), opened.quantize(256)]
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        opened.rotate(180).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        embedded = model.encode_image([*pictures, turned])
        assert turned.mode == "RGB" and turned.getexif()[0x0112] == 3, "the picture itself stays as it is"
    np.testing.assert_allclose(embedded, np.tile(embedded[0], (5, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    assert model.encode_image([]).shape == (0, 16) and embedded.dtype == np.float32
    for one in ("red dress", tmp_path):
        with pytest.raises(InputError, match=r"is one text or photo\. Expected a list of them\."):
            model.encode_text(one)
