import os
import sys

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.retrieval.source import read_source


def test_a_prepared_dataset(demo_dataset):
    source = read_source(demo_dataset.root)
    photos = list(source.photos())
    first = demo_dataset.manifest.iloc[0]
    assert len(photos) == len(source) == len(demo_dataset.manifest)
    assert (photos[0].image_id, photos[0].item_id, photos[0].path) == (first.image_id, first.item_id, first.path)
    assert (photos[0].text, photos[0].category) == (first.text, first.category)
    extra = set(demo_dataset.manifest) - {
        "image_id",
        "path",
        "split",
        "domain",
        "item_id",
        "group_id",
        "text",
        "category",
        "photo_hash",
    }
    assert {name for photo in photos for name in photo.attributes} == extra
    assert (source.root / photos[0].path).is_file()
    with pytest.raises(InputError, match="has its own"):
        read_source(demo_dataset.root, table=demo_dataset.root / "a.csv")


def test_a_folder_without_a_table(shop):
    (shop / ".hidden").mkdir()
    (shop / ".hidden" / "thumb.png").write_bytes(b"")
    (shop / "notes.txt").write_text("")
    photos = list(read_source(shop).photos())
    assert len(photos) == 12 and photos[-1].path == photos[-1].image_id == photos[-1].item_id == "new/11.png"
    assert photos[0].text == photos[0].category == "" and photos[0].attributes == {}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no file names that are not UTF-8")
def test_file_names_that_are_not_utf8_are_told_and_left_out(shop, capsys):
    with open(os.fsencode(shop) + b"/caf\xe9.png", "wb"):
        pass
    assert len(read_source(shop)) == 12
    assert "1 file names are left out" in (said := capsys.readouterr().out) and "caf\\\\udce9.png" in said


def test_a_table_gives_text_and_attributes(shop, tmp_path):
    photos = {photo.image_id: photo for photo in read_source(shop, table=tmp_path / "table.csv").photos()}
    third = photos["02.png"]
    assert (third.item_id, third.text, third.category) == ("s1", "Dress 2", "Dresses")
    assert third.attributes == {"Price": 11.0, "Size": 38, "code": "02"}, (
        "numbers are numbers, what is empty is missing"
    )
    assert isinstance(third.attributes["Size"], int)
    assert photos["new/10.png"].text == "Dress 10", "by file name"
    assert photos["new/11.png"].attributes == {} and photos["new/11.png"].item_id == "new/11.png"


def test_names_of_a_table_without_suffix_in_an_unusual_column(shop, tmp_path):
    (tmp_path / "t.csv").write_text("what,image_id,Text\n03,x,Shirt\n")
    photos = {photo.image_id: photo for photo in read_source(shop, table=tmp_path / "t.csv").photos()}
    assert photos["03.png"].text == "Shirt" and photos["03.png"].attributes == {"table_image_id": "x"}
    assert photos["04.png"].text == "" and photos["04.png"].attributes == {}


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["1", "", "-2"], [1, None, -2]),
        (["1", "2.5", " "], [1.0, 2.5, None]),
        (["1", "M", ""], ["1", "M", None]),
        (["007", "8", "9"], ["007", "8", "9"]),
        (["1e5", "nan", "inf"], ["1e5", "nan", "inf"]),
        (["99999999999999999999", "1", "2"], ["99999999999999999999", "1", "2"]),
        ([True, False, None], ["True", "False", None]),
        ([1.0, float("nan"), 2.5], [1.0, None, 2.5]),
        ([3, 4, 5], [3, 4, 5]),
    ],
)
def test_numbers_stay_numbers(values, read):
    from fashionclip.retrieval.source import _values

    found = _values(values)
    assert found == read and [type(value) for value in found] == [type(value) for value in read]


def test_what_cannot_be_a_source(shop, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photos"):
        read_source(tmp_path / "empty")
    pd.DataFrame({"image": ["a.png"], "title": ["A"]}).to_csv(tmp_path / "wrong.csv", index=False)
    with pytest.raises(InputError, match="names none of the photos"):
        read_source(shop, table=tmp_path / "wrong.csv")
    with pytest.raises(InputError, match="no such file"):
        read_source(shop, table=tmp_path / "none.csv")
