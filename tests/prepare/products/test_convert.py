import csv
import io
import json
from functools import partial

import drawn_photos
import pytest

from fashionclip.errors import InputError
from fashionclip.prepare.products.convert import prepare_products

draw = partial(drawn_photos.draw, size=(24, 32))


def write_shop(folder, rows, *, photos=(), separator=",", photos_in="images"):
    """A table shop.csv of rows, whose first has the titles, and photos."""
    written = io.StringIO()
    csv.writer(written, delimiter=separator).writerows(rows)
    (folder / photos_in).mkdir(parents=True, exist_ok=True)
    (folder / "shop.csv").write_text(written.getvalue(), encoding="utf-8")
    for name in photos:
        draw(name).save(folder / photos_in / name, "JPEG")
    return folder


def prepare(source, root, **changes):
    return prepare_products(source=source, root=root, **{"max_side": 32, "workers": 0, **changes})


def column(dataset, name):
    return dict(zip(dataset.manifest["image_id"], dataset.manifest[name], strict=True))


def test_odd_titles_are_guessed_and_said(tmp_path, capsys):
    rows = [
        ("Foto", "Bezeichnung", "Artikelnummer", "Farbe der Ware"),
        ("1.jpg", "Rotes Kleid", "007", "rot"),
        ("2.jpg", "Blaues Hemd", "008.0", "blau"),
    ]
    source = write_shop(tmp_path / "shop", rows, photos=["1.jpg", "2.jpg"], separator=";")
    dataset = prepare(source, tmp_path / "set")
    found = dataset.manifest.drop(columns=["split", "photo_hash", "path"]).to_dict("list")
    assert found == {
        "image_id": ["1", "2"],
        "domain": ["catalog"] * 2,
        "item_id": ["007", "008"],
        "group_id": ["1", "2"],
        "text": ["Rotes Kleid", "Blaues Hemd"],
        "category": ["", ""],
        "farbe_der_ware": ["rot", "blau"],
    }
    said = "guessed from its titles: image: 'Foto', texts: title 'Bezeichnung', item: 'Artikelnummer', attributes: 'Far"
    assert said in capsys.readouterr().out


def test_a_map_of_columns_says_what_each_is(tmp_path, capsys):
    rows = [
        ("a", "b", "c", "d", "e", "f", "g"),
        ("1.jpg", "Dress", "<b>Soft &amp; red</b>", "K1", "S1", "Dresses", "red"),
        ("2.jpg", "Shirt", "", "K2", "S1", "Shirts", "blue"),
    ]
    columns = {"image": "A", "texts": {"name": "b", "body": "c"}, "item": "d", "group": "e", "category": "f"}
    source = write_shop(tmp_path / "shop", rows, photos=["1.jpg", "2.jpg"])
    dataset = prepare(source, tmp_path / "set", columns={**columns, "colour": "g"})
    assert "guessed" not in capsys.readouterr().out
    assert column(dataset, "text") == {"1": "Dress. Soft & red", "2": "Shirt"}
    assert column(dataset, "name") == {"1": "Dress", "2": "Shirt"}
    assert column(dataset, "body") == {"1": "Soft & red", "2": ""}
    assert column(dataset, "colour") == {"1": "red", "2": "blue"} and column(dataset, "item_id") == {
        "1": "K1",
        "2": "K2",
    }
    assert len(set(column(dataset, "group_id").values())) == 1, "one style"
    info = json.loads((dataset.root / "dataset.json").read_text())
    assert info["text_fields"] == ["name", "body"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": "photo"}, r"dataset\.columns\.image: no column 'photo' in .*shop\.csv; has \['image', 'name'\]"),
        ({"path": "name"}, "got 'path' as the name of an attribute, which the manifest keeps for itself"),
        (
            {"split": "name"},
            r"column 'name' has 'dress', expected a split: train, .*or give dataset\.columns\.split=null",
        ),
    ],
)
def test_a_map_that_does_not_fit_is_one_error(tmp_path, columns, message):
    source = write_shop(tmp_path / "shop", [("image", "name"), ("1.jpg", "Dress")], photos=["1.jpg"])
    with pytest.raises(InputError, match=message):
        prepare(source, tmp_path / "set", columns=columns)
    assert not (tmp_path / "set").exists()
