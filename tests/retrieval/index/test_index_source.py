import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.retrieval.index.index_source import read_source


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
    assert "1 file names are left out" in (said := capsys.readouterr().out) and "caf\\udce9.png" in said


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
    from fashionclip.retrieval.index.index_source import _values

    found = _values(values)
    assert found == read and [type(value) for value in found] == [type(value) for value in read]


CASES = Path(__file__).parents[2] / "assets" / "cases"


@pytest.mark.parametrize(
    ("case", "photos", "texts", "says"),
    [
        ("table_backslash", ["shop/10004.jpg", "shop/10024.jpg"], ["Red dress", "Blue top"], ""),
        ("table_cp1252", ["10004.jpg", "10024.jpg"], ["Robe dété rouge", "Café top"], "read as Windows-1252"),
        ("table_utf16", ["10004.jpg", "10024.jpg"], ["Red dress", "Blue top"], "read as UTF-16"),
        ("table_trailing", ["10004.jpg", "10024.jpg"], ["Red dress", "Blue top"], ""),
        (
            "table_partial",
            ["10004.jpg", *(f"{number}.jpg" for number in range(20_000, 20_039))],
            ["Red dress", *[""] * 39],
            "30 of 31 rows name none of the photos, such as 'photo_10140.jpg', 'photo_10143.jpg', 'photo_10156.jpg'; "
            "39 of 40 photos have no row, such as '20000.jpg'",
        ),
        ("table_empty", ["10004.jpg"], None, "table.csv: empty. Expected a line of titles"),
    ],
)
def test_table_of_a_fault_report(tmp_path, capsys, case, photos, texts, says):
    for photo in photos:
        (tmp_path / photo).parent.mkdir(exist_ok=True)
        (tmp_path / photo).touch()
    if texts is None:
        with pytest.raises(InputError, match=says):
            read_source(tmp_path, table=CASES / case / "table.csv")
        return
    source = read_source(tmp_path, table=CASES / case / "table.csv")
    assert [photo.text for photo in source.photos()] == texts
    said = capsys.readouterr().out
    assert says in said if says else not said


def test_table_without_any_text_says_so(tmp_path, capsys):
    (tmp_path / "1.jpg").touch()
    for content, expected in (
        ("image,words\n1.jpg,Red\n", "one of the columns text"),
        ("image,title\n1.jpg,nan\n", "'title'"),
    ):
        (tmp_path / "table.csv").write_text(content)
        read_source(tmp_path, table=tmp_path / "table.csv")
        assert "no photo has a text; expected" in (said := capsys.readouterr().out) and expected in said


def test_kaggles_own_table_describes_its_photos(tmp_path, capsys):
    (tmp_path / "1.jpg").touch()
    (tmp_path / "styles.csv").write_text("id,articleType,productDisplayName\n1,Tops,Red Top\n2,Tops,Soft, white Top\n")
    (photo,) = read_source(tmp_path, table=tmp_path / "styles.csv").photos()
    assert (photo.text, photo.category) == ("Red Top", "Tops")
    assert "1 rows are left out, such as that of line 3: 4 cells, expected 3" in capsys.readouterr().out


def test_pipes_links_and_what_is_not_read_are_said(tmp_path, capsys):
    shop, elsewhere = tmp_path / "shop [new] 1", tmp_path / "elsewhere"
    (shop / "inner").mkdir(parents=True)
    elsewhere.mkdir()
    for file in (shop / "1.JFIF", shop / "inner" / "2.jpe", elsewhere / "3.jpg", shop / "a.heic", shop / "b.HEIC"):
        file.touch()
    os.mkfifo(shop / "pipe.jpg")
    (shop / "linked.png").symlink_to("inner/2.jpe")
    (shop / "again").symlink_to("inner")
    (shop / "round").symlink_to(".")
    (shop / "out.jpg").symlink_to(elsewhere / "3.jpg")
    (shop / "out").symlink_to(elsewhere)
    assert [photo.path for photo in read_source(shop).photos()] == ["1.JFIF", "inner/2.jpe", "linked.png"]
    said = capsys.readouterr().out
    assert "2 .heic files are left out, since they are not read (save them as JPEG), such as 'a.heic'" in said
    assert "2 links are left out, since they lead out of the folder (copy what they lead to), such as 'out'" in said
    assert (
        "1 names of photos are left out, since they are pipes, devices or links to nothing, such as 'pipe.jpg'" in said
    )
    (tmp_path / "linked shop").symlink_to(shop)
    assert len(read_source(tmp_path / "linked shop")) == 3, "the folder itself may be a link"


def test_folder_that_may_not_be_opened_is_said(shop, capsys, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("new"):
            raise PermissionError(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert all("/" not in photo.path for photo in read_source(shop).photos())
    assert "1 folders are left out, since they may not be opened, such as 'new/'" in capsys.readouterr().out


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
