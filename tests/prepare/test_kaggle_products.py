import csv
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import drawn_photos
import pandas as pd
import pytest
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.manifest import read_dataset
from fashionclip.prepare import photos
from fashionclip.prepare.kaggle_products import STYLES_HEADER, TABLE_HEADER, prepare_kaggle_products
from fashionclip.tables.csv_rows import STRAY

draw = partial(drawn_photos.draw, size=(48, 64))

RATIOS = {"train": 0.6, "val": 0.2, "test": 0.2}


def style(image_id, name):
    return f"{image_id},Men,Apparel,Topwear,Shirts,Navy Blue,Fall,2011,Casual,{name}"


def write_styles(folder, lines, *, photo_ids=None, encoding="utf-8"):
    """A release whose photo of id N is drawn from seed N."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "styles.csv").write_bytes("\n".join([",".join(STYLES_HEADER), *lines, ""]).encode(encoding))
    for number in photo_ids if photo_ids is not None else [int(line.split(",")[0]) for line in lines]:
        draw(number).save(folder / "images" / f"{number}.jpg")
    return folder


def write_table(folder, rows, *, photos_in="data"):
    (folder / photos_in).mkdir(parents=True, exist_ok=True)
    with (folder / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([TABLE_HEADER, *rows])
    for number, row in enumerate(rows):
        draw(number).save(folder / photos_in / row[0])
    return folder


def prepare(source, root, **changes):
    return prepare_kaggle_products(
        source=source, root=root, **{"max_side": 64, "ratios": RATIOS, "workers": 0, **changes}
    )


def column(dataset, name):
    return dict(zip(dataset.manifest["image_id"], dataset.manifest[name], strict=True))


def dropped(dataset):
    """Ids by reason, after checking that dropped.csv and the counts of dataset.json say the same."""
    table = pd.read_csv(dataset.root / "dropped.csv", dtype=str, keep_default_na=False)
    assert table["detail"].all()
    counts = json.loads((dataset.root / "dataset.json").read_text())["counts"]
    assert counts["dropped"] == table["reason"].value_counts().to_dict()
    assert counts["read"] == counts["kept"] + len(table) and counts["kept"] == len(dataset.manifest)
    return {reason: list(rows["image_id"]) for reason, rows in table.groupby("reason")}


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_release_with_styles_csv(tmp_path):
    lines = [style(1, "Turtle Shirt"), "2,Women,Apparel,Topwear,Tops,NA,,2012,,Plain &amp; White  Top"]
    source = write_styles(tmp_path / "release", lines)
    dataset = prepare(source, tmp_path / "set")
    expected = {
        "image_id": ["1", "2"],
        "path": ["images/1.jpg", "images/2.jpg"],
        "domain": ["catalog", "catalog"],
        "item_id": ["1", "2"],
        "group_id": ["1", "2"],
        "text": ["Turtle Shirt", "Plain & White Top"],
        "category": ["Shirts", "Tops"],
        "gender": ["Men", "Women"],
        "master_category": ["Apparel", "Apparel"],
        "sub_category": ["Topwear", "Topwear"],
        "colour": ["Navy Blue", ""],
        "season": ["Fall", ""],
        "year": ["2011", "2012"],
        "usage": ["Casual", ""],
    }
    assert dataset.manifest.drop(columns=["split", "photo_hash"]).to_dict("list") == expected
    assert (dataset.root / "images" / "1.jpg").read_bytes() == (source / "images" / "1.jpg").read_bytes()


def test_release_with_descriptions_in_an_inner_folder(tmp_path):
    values = ["<p>Soft&nbsp;cotton</p><br>", "Style Note", "-", "<p>Soft cotton</p>", "Long sleeves"]
    names = ["Tee", "Top", "Cap", "Tee", "Tee"]
    release = write_styles(tmp_path / "release" / "inner", [style(number, name) for number, name in enumerate(names)])
    (release / "styles").mkdir()
    for number, value in enumerate(values):
        described = {"data": {"productDescriptors": {"description": {"value": value}}}}
        (release / "styles" / f"{number}.json").write_text(json.dumps(described))
    (release / "styles" / "2.json").write_text('{"data": {"productDescriptors": []}}')
    dataset = prepare(tmp_path / "release", tmp_path / "set")
    texts = {"0": "Tee. Soft cotton", "1": "Top", "2": "Cap", "4": "Tee. Long sleeves"}
    assert column(dataset, "text") == texts
    assert dropped(dataset) == {"duplicate": ["3"]}
    group = column(dataset, "group_id")
    assert group["0"] == group["4"] and len(set(group.values())) == 3


@pytest.mark.parametrize("photos_in", ["data", "images", "."])
def test_table_is_cleaned_and_every_dropped_row_counted_by_reason(tmp_path, photos_in):
    rows = [
        ("kept.jpg", "Soft cotton", "Tee", "Tshirts"),
        ("same_name.jpg", "Long sleeves", "Tee", "Tshirts"),
        ("same_text.jpg", "Soft cotton", "Top", "Tops"),
        ("no_name.JPG", "Only described", "", "Tops"),
        ("missing.jpg", "", "Tee", "Tshirts"),
        ("blank.jpg", "  ", "Tee", "Tshirts"),
        ("dash.jpg", "-", "Tee", "Tshirts"),
        ("note.jpg", "Style Note", "Tee", "Tshirts"),
        ("copy.jpg", "Soft  cotton", "Tee ", "Tshirts"),
        ("no_photo.jpg", "Has no photo", "Tee", "Tshirts"),
        ("broken.jpg", "Has a broken photo", "Tee", "Tshirts"),
        ("../elsewhere.jpg", "Lies outside", "Tee", "Tshirts"),
    ]
    source = write_table(tmp_path / "release", rows, photos_in=photos_in)
    (source / photos_in / "no_photo.jpg").unlink()
    (source / photos_in / "broken.jpg").write_text("no picture")
    dataset = prepare(source, tmp_path / "set")
    assert dropped(dataset) == {
        "no_description": ["missing", "blank", "dash", "note"],
        "duplicate": ["copy"],
        "photo_missing": ["no_photo", "../elsewhere"],
        "photo_unreadable": ["broken"],
    }
    assert column(dataset, "text") == {
        "kept": "Tee. Soft cotton",
        "same_name": "Tee. Long sleeves",
        "same_text": "Top. Soft cotton",
        "no_name": "Only described",
    }
    assert column(dataset, "category")["same_text"] == "Tops"
    group = column(dataset, "group_id")
    assert group["kept"] == group["same_name"] and len(set(group.values())) == 3
    assert {path.stem for path in (dataset.root / "images").iterdir()} == set(group)


def test_table_without_names_does_not_become_one_group(tmp_path):
    rows = [(f"{number}.jpg", f"Description {number}", "", "Tops") for number in range(5)]
    dataset = prepare(write_table(tmp_path / "release", rows) / "data.csv", tmp_path / "set")
    assert dataset.manifest["group_id"].is_unique


def test_dirty_styles_csv_is_mended_or_dropped_row_by_row(tmp_path, capsys):
    lines = [
        style(1, "Be Reasonable,Do It My Way, Tee"),
        style(2, '"Stray quote at the start'),
        style(3, 'Two " quotes " within'),
        style(4, '"Quoted, with a comma"'),
        style(5, "Feed\x0cwithin\u2028a name"),
        style(6, "  "),
        style(7, "NA"),
        style(8, "Photo lost"),
        style(1, "Id again"),
        "9,Men,Apparel,too short",
        "",
    ]
    source = write_styles(tmp_path / "release", lines, photo_ids=[1, 2, 3, 4, 5, 6, 7, 9])
    (source / "images" / "9.jpg").write_text("broken, but its row is dropped before")
    dataset = prepare(source, tmp_path / "set")
    assert column(dataset, "text") == {
        "1": "Be Reasonable,Do It My Way, Tee",
        "2": "Stray quote at the start",
        "3": 'Two " quotes " within',
        "4": "Quoted, with a comma",
        "5": "Feed within a name",
    }
    assert "photos have no row" not in capsys.readouterr().out
    reasons = {"repeated_photo": ["1"], "no_text": ["6", "7", "9"], "photo_missing": ["8"]}
    assert dropped(dataset) == reasons
    assert dataset.info["config"]["mended_rows"] == 1


@pytest.mark.parametrize("commas", ["", ",", ",,"])
def test_commas_at_the_end_of_lines_are_no_part_of_a_name(tmp_path, commas):
    lines = [style(1, "Turtle Blue Shirt,"), style(2, "Do It, My Way" + commas), style(3, "Plain" + commas)]
    source = write_styles(tmp_path / "release", [*lines, style(4, "Two, ,") + " "])
    table = source / "styles.csv"
    table.write_text(table.read_text().replace("productDisplayName", "productDisplayName" + commas, 1))
    dataset = prepare(source, tmp_path / "set")
    assert column(dataset, "text") == {"1": "Turtle Blue Shirt", "2": "Do It, My Way", "3": "Plain", "4": "Two"}
    assert dropped(dataset) == {} and dataset.info["config"]["mended_rows"] == 1


def test_repeated_names_of_styles_csv_all_stay_and_share_a_split(tmp_path):
    dataset = prepare(
        write_styles(tmp_path / "release", [style(number, f"Name {number % 15}") for number in range(60)]),
        tmp_path / "set",
    )
    assert dropped(dataset) == {}
    by_name = dataset.manifest.groupby("text")
    assert (by_name["group_id"].nunique() == 1).all() and (by_name["split"].nunique() == 1).all()
    assert dataset.manifest["group_id"].nunique() == 15 and dataset.manifest["split"].nunique() > 1


def test_names_that_differ_in_case_punctuation_or_the_order_of_words_share_a_split(tmp_path):
    spellings = ("Men Blue Check Shirt {}", "MEN blue  check-shirt {}", "Men Check Blue Shirt {}")
    lines = [style(number, spellings[number % 3].format(number // 3)) for number in range(60)]
    dataset = prepare(write_styles(tmp_path / "release", lines), tmp_path / "set")
    group = column(dataset, "group_id")
    assert all(group[str(number)] == group[str(number // 3 * 3)] for number in range(60))
    assert len(set(group.values())) == 20 and dataset.manifest["split"].nunique() == 3
    assert dataset.manifest["text"].nunique() == 60, "each stays as it was written"


def test_descriptions_that_are_gaps_and_photos_of_another_folder_leave_no_rows(tmp_path):
    cases = Path(__file__).parents[1] / "assets" / "cases"
    for case, photos_in in (("table_nan_descr", "images"), ("table_with_images_prefix", "images/inner")):
        source = tmp_path / case
        (source / photos_in).mkdir(parents=True)
        for number in ("10004", "10024", "10029", "10031", "10037", "10067", "10099", "10107"):
            draw(int(number)).save(source / photos_in / f"{number}.jpg")
        shutil.copyfile(cases / case / "catalog.csv", source / "catalog.csv")
        with pytest.raises(InputError, match="no rows left of 8 read"):
            prepare(source, tmp_path / "set")


def test_row_with_more_cells_than_titles_is_dropped_and_the_others_are_kept(tmp_path, capsys):
    source = write_table(tmp_path / "release", [("1.jpg", "a", "b", "c"), ("2.jpg", "d", "e", "f")])
    with (source / "data.csv").open("a") as file:
        file.write("3.jpg,soft, warm,g,h\n\n5.jpg,x,y,z,,,\n")
    draw(5).save(source / "data" / "5.jpg")
    dataset = prepare(source, tmp_path / "set")
    assert set(column(dataset, "text")) == {"1", "2", "5"} and dropped(dataset) == {"malformed": ["3"]}
    assert "1 rows are left out, such as that of line 4: 5 cells, expected 4; quote" in capsys.readouterr().out


def test_ids_that_a_program_took_for_numbers_and_names_as_macos_writes_them(tmp_path):
    source = write_styles(
        tmp_path / "release", [style("1.0", "One"), style("007", "Seven"), style("café", "Cup")], photo_ids=[1]
    )
    draw(7).save(source / "images" / "007.jpeg")
    draw(8).save(source / "images" / "cafe\u0301.JFIF")
    assert column(prepare(source, tmp_path / "set"), "text") == {"1": "One", "007": "Seven", "café": "Cup"}


def test_photos_without_a_row_are_said(tmp_path, capsys):
    prepare(write_styles(tmp_path / "release", [style(1, "Tee")], photo_ids=[1, 2, 3]), tmp_path / "set")
    assert "images: 2 of 3 photos have no row, such as '2.jpg'" in capsys.readouterr().out


def test_name_may_stand_on_two_lines_and_a_stray_quote_swallows_none(tmp_path):
    lines = [style(1, '"Soft\ncotton, white"'), style(2, '"Stray'), "x,too short", style(3, "Top"), style(4, '5" heel')]
    source = write_styles(tmp_path / "release", lines, photo_ids=[1, 2, 3, 4])
    dataset = prepare(source, tmp_path / "set")
    assert column(dataset, "text") == {"1": "Soft cotton, white", "2": "Stray", "3": "Top", "4": '5" heel'}
    table = pd.read_csv(dataset.root / "dropped.csv")
    assert table["detail"].tolist() == [f"line 5: {STRAY}"]


def write_file(folder, name, text):
    write_styles(folder, [style(1, "Tee")])
    (folder / "styles.csv").unlink()
    (folder / name).write_text(text)
    return folder


TABLE = ",".join(TABLE_HEADER)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder, "no such file or folder. Expected a folder with styles.csv .* Give its path"),
        (lambda folder: write_file(folder, "notes.txt", ""), "found 0 tables .*Name the file itself"),
        (lambda folder: write_file(write_file(folder, "a.csv", ""), "b.csv", ""), r"2 tables \['a.csv', 'b.csv'\]"),
        (lambda folder: write_file(folder, "styles.csv", ""), "styles.csv: empty. Expected a line of titles"),
        (lambda folder: write_file(folder, "styles.csv", "id,gender\n1,Men\n"), r"no column .*'usage'.*; has \['id'"),
        (lambda folder: write_file(folder, "a.csv", ""), "a.csv: empty. Expected a line of titles"),
        (
            lambda folder: write_file(folder, "a.csv", "image,category\n"),
            "no column 'description', 'display name'; has",
        ),
        (lambda folder: write_file(folder, "a.csv", f"{TABLE}\n1.jpg,a,b,c,d\n"), "line 2: 5 cells, expected 4; quote"),
        (lambda folder: write_styles(folder, []), "no rows left of 0 read; .*the table is empty. Mend dataset.source"),
        (lambda folder: write_styles(folder, [style(1, "Tee")], photo_ids=[]), "no rows left of 1 read; .*no photo"),
        (
            lambda folder: write_file(folder, "a.csv", f"{TABLE}\n1.jpg,-,b,c\n"),
            "no rows left of 1 read; .*has no description",
        ),
    ],
)
def test_unusable_source_is_one_error_with_a_remedy(tmp_path, write, message):
    with pytest.raises(InputError, match=rf"(?s){message}"):
        prepare(write(tmp_path / "release"), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_same_picture_under_two_ids_never_straddles_splits(tmp_path):
    lines = [style(number, f"Name {number}") for number in range(60)]
    source = write_styles(tmp_path / "release", lines)
    for number in range(30):  # the second half shows the first half again: re-encoded, and smaller
        photo = Image.new("RGB", (240, 320), "white")
        photo.paste(draw(number, size=(140, 210)), (50, 60))
        photo.save(source / "images" / f"{number}.jpg", quality=90)
        photo.resize((216, 288)).save(source / "images" / f"{number + 30}.jpg", quality=70)
    dataset = prepare(source, tmp_path / "set", max_side=320)
    group, split = column(dataset, "group_id"), column(dataset, "split")
    assert all(group[str(number)] == group[str(number + 30)] for number in range(30))
    assert all(split[str(number)] == split[str(number + 30)] for number in range(30))
    assert len(set(group.values())) == 30 and len(set(split.values())) == 3


def test_added_rows_move_only_what_they_join(tmp_path):
    lines = [style(number, f"Name {number}") for number in range(80)]
    before = prepare(write_styles(tmp_path / "release", lines), tmp_path / "set")
    added = [style(100 + number, f"Name {number % 10}") for number in range(30)]
    after = prepare(write_styles(tmp_path / "release", [*added, *lines]), tmp_path / "set")
    assert len(before.manifest) == 80 and len(after.manifest) == 110
    for name in ("group_id", "split"):
        old, new = column(before, name), column(after, name)
        moved = {int(image_id) for image_id in old if new[image_id] != old[image_id]}
        assert moved <= set(range(10))


def test_killed_run_goes_on_to_the_same_dataset(tmp_path, monkeypatch):
    source = write_styles(tmp_path / "release", [style(number, f"Name {number % 6}") for number in range(12)])
    whole = prepare(source, tmp_path / "whole", max_side=32)
    hashed = photos.difference_hash

    def killed(image):
        if len(list((tmp_path / ".set.fashionclip" / "new" / "images").iterdir())) > 5:
            raise KeyboardInterrupt
        return hashed(image)

    with monkeypatch.context() as patch:
        patch.setattr(photos, "difference_hash", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, tmp_path / "set", max_side=32)
    assert not (tmp_path / "set").exists()
    first = tmp_path / ".set.fashionclip" / "new" / "images" / "0.jpg"
    written = first.stat().st_mtime_ns
    again = prepare(source, tmp_path / "set", max_side=32)
    assert content(again.root) == content(whole.root)
    assert (again.root / "images" / "0.jpg").stat().st_mtime_ns == written


def test_preparation_is_repeated_only_when_source_or_settings_change(tmp_path, capsys):
    source = write_styles(tmp_path / "release", [style(number, f"Name {number}") for number in range(4)])

    def redone(**changes):
        prepare(source, tmp_path / "set", **changes)
        return "already prepared" not in capsys.readouterr().out

    assert redone() and not redone()
    draw(99, size=(50, 50)).save(source / "images" / "0.jpg")
    assert redone() and not redone()
    assert redone(max_side=32) and not redone(max_side=32)
    assert redone(seed=1, max_side=32)
    assert Image.open(tmp_path / "set" / "images" / "1.jpg").size == (24, 32)


def test_two_processes_write_the_same_dataset(tmp_path):
    source = write_styles(tmp_path / "release", [style(number, f"Name {number}") for number in range(70)])
    (source / "images" / "33.jpg").write_text("no picture")
    one, two = (prepare(source, tmp_path / f"set{workers}", max_side=40, workers=workers) for workers in (0, 2))
    assert content(one.root) == content(two.root)
    assert dropped(two) == {"photo_unreadable": ["33"]}


def test_download_without_kagglehub_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    message = (
        r"(?s)could not fetch someone/products .*fashionclip\[kaggle\].*"
        r"kaggle\.com/datasets/someone/products .*DIR/styles\.csv and DIR/images/<id>\.jpg exist.*dataset\.source=DIR"
    )
    with pytest.raises(InputError, match=message):
        prepare(Path("."), tmp_path / "set", download=True, kaggle_handle="someone/products")


def test_download_is_read_where_kagglehub_put_it(tmp_path, monkeypatch):
    source = write_styles(tmp_path / "cache" / "versions" / "1", [style(1, "Tee")])
    kagglehub = SimpleNamespace(dataset_download=lambda handle: {"someone/products": str(source)}[handle])
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    dataset = prepare(Path("."), tmp_path / "set", download=True, kaggle_handle="someone/products")
    assert column(dataset, "text") == {"1": "Tee"}


def test_source_may_be_deleted_afterwards(tmp_path):
    source = write_styles(tmp_path / "release", [style(1, "Tee")])
    prepare(source, tmp_path / "set")
    shutil.rmtree(source)
    dataset = read_dataset(tmp_path / "set")
    assert Image.open(dataset.root / dataset.manifest["path"][0]).size == (48, 64)


@pytest.mark.slow
def test_real_release_keeps_the_rows_that_have_a_photo(real_data, tmp_path):
    source = real_data / "kaggle-products"
    dataset = prepare(source, tmp_path / "set", max_side=448, workers=os.cpu_count())
    assert dataset.info["counts"]["read"] == 44_446
    assert dataset.info["config"]["mended_rows"] == 1
    assert len(dataset.manifest) == len(os.listdir(source / "images")) == 7_000
    assert dataset.manifest["group_id"].value_counts().max() < 100
    assert set(dropped(dataset)) == {"photo_missing", "no_text"}
    for name, ratio in RATIOS.items():
        assert (dataset.manifest["split"] == name).mean() == pytest.approx(ratio, abs=0.03)
