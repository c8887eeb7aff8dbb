import csv
import io
import json
import re
from functools import partial

import drawn_photos
import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.prepare.kaggle_products import prepare_kaggle_products
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
        ("Foto", "Bezeichnung", "Artikelnummer", "Farbe", "Größe in cm"),
        ("1.jpg", "Rotes Kleid", "007", "rot", "90"),
        ("2.jpg", "Blaues Hemd", "008.0", "blau", "NA"),
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
        "colour": ["rot", "blau"],
        "größe_in_cm": ["90", ""],
    }
    said = (
        "guessed from its titles: image: 'Foto', texts: title 'Bezeichnung', item: 'Artikelnummer', attributes: 'Farbe'"
    )
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
        ({"path": "name"}, "got 'path' as the name of a text or an attribute, which the manifest has already"),
        ({"texts": {"category": "name"}}, "got 'category' as the name of a text or an attribute"),
        (
            {"image": "image", "texts": {"title": "name"}, "title": "image"},
            "got 'title' as the name of a text or an attribute",
        ),
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


TWO = [("1.jpg", "Dress"), ("2.jpg", "Shirt")]


@pytest.mark.parametrize(
    ("names", "photos", "found"),
    [
        (["1.jpg|2.jpg", '["3.jpg", "4.jpg"]', "['5.jpg', '6.jpg']"], "123456", ["12", "34", "56"]),
        (["1.jpg; 2.jpg", "3.jpg, 4.jpg", "5.jpg"], "12345", ["12", "34", "5"]),
        (["images/1.jpg", r".\images\2.jpg", "./3.JPG"], "123", ["1", "2", "3"]),
        (["1", "shop/images/2.jpeg", "3.0"], "123", ["1", "2", "3"]),
        (["1.jpg", "1.jpg", "None"], "1", ["1"]),
    ],
    ids=["parted", "with-blanks", "paths", "names", "repeated"],
)
def test_photos_are_found_however_they_are_named(tmp_path, names, photos, found):
    rows = [("photo", "name"), *((name, f"Name {number}") for number, name in enumerate(names))]
    source = write_shop(tmp_path / "shop", rows, photos=[f"{one}.jpg" for one in photos])
    items = prepare(source, tmp_path / "set").manifest.groupby("item_id")["image_id"].agg("".join)
    assert items.tolist() == found


def test_a_name_means_the_photo_of_the_uppermost_folder_or_the_only_one(tmp_path):
    rows = [("photo", "name"), ("1", "Dress"), ("2", "Shirt"), ("3", "Hat")]
    source = write_shop(tmp_path / "shop", rows, photos=["1.jpg"])
    for path in ("small/1.jpg", "small/2.jpg", "large/3.jpg", "small/3.jpg"):
        (source / "images" / path).parent.mkdir(exist_ok=True)
        draw(path).save(source / "images" / path)
    dataset = prepare(source, tmp_path / "set")
    assert column(dataset, "text") == {"1": "Dress", "small/2": "Shirt"}
    detail = pd.read_csv(dataset.root / "dropped.csv")["detail"].tolist()
    assert detail == ["line 4: 2 photos are called '3', such as ['large/3.jpg', 'small/3.jpg']"]


def test_numbered_columns_and_rows_of_one_item_are_photos_of_one_product(tmp_path):
    rows = [
        ("SKU", "Image 1", "Image 2", "image_alt", "Title", "Colour"),
        ("A", "1.jpg", "2.jpg", "front", "Dress", "red"),
        ("A", "3.jpg", "", "", "", "blue"),
        ("B", "4.jpg", "4.jpg", "", "Shirt", ""),
    ]
    dataset = prepare(write_shop(tmp_path / "shop", rows, photos=[f"{n}.jpg" for n in range(1, 6)]), tmp_path / "set")
    assert column(dataset, "item_id") == {"1": "A", "2": "A", "3": "A", "4": "B"}
    assert column(dataset, "text") == {"1": "Dress", "2": "Dress", "3": "Dress", "4": "Shirt"}
    assert column(dataset, "colour") == {"1": "red", "2": "red", "3": "blue", "4": ""}
    assert dataset.manifest["group_id"].nunique() == 2
    assert dataset.info["counts"]["dropped"] == {"repeated_photo": 1}


def test_photos_outside_are_taken_only_where_that_is_allowed(tmp_path, capsys):
    source = write_shop(tmp_path / "shop", [("image", "title"), *TWO], photos=["1.jpg"])
    draw(2).save(tmp_path / "2.jpg")
    table = source / "shop.csv"
    table.write_text(table.read_text().replace("2.jpg", (tmp_path / "2.jpg").as_uri()))
    dataset = prepare(source, tmp_path / "set")
    assert list(column(dataset, "text")) == ["1"]
    detail = pd.read_csv(dataset.root / "dropped.csv")["detail"][0]
    assert detail.startswith("line 3: 'file:///") and detail.endswith("allow_outside_root=true takes it")
    assert (
        "dropped {'photo_missing': 1} (listed in dropped.csv)\n  photo_missing, such as 'file:"
        in capsys.readouterr().out
    )
    assert len(prepare(source, tmp_path / "set", allow_outside_root=True).manifest) == 2


def test_photos_by_address_are_downloaded(tmp_path, monkeypatch):
    asked = []

    def download(urls, *, cache, max_bytes, retries, timeout):
        asked.append((list(urls), cache, max_bytes, retries, timeout))
        cache.mkdir(exist_ok=True)
        draw(1).save(cache / "of_hash.jpg")
        return {url: "HTTP 404" if "lost" in url else cache / "of_hash.jpg" for url in urls}

    monkeypatch.setattr("fashionclip.prepare.products.convert.download_photos", download)
    rows = [
        ("image_link", "title"),
        ("https://shop.test/a/main.jpg?v=1,2", "Dress"),
        ("https://shop.test/lost.jpg, HTTPS://shop.test/b/2.JPG", "Shirt"),
    ]
    source = write_shop(tmp_path / "shop", rows)
    dataset = prepare(source, tmp_path / "set", cache=tmp_path / "cache", max_bytes=9, retries=1, timeout=2.5)
    urls = [rows[1][0], "https://shop.test/lost.jpg", "HTTPS://shop.test/b/2.JPG"]
    assert asked == [(urls, tmp_path / "cache", 9, 1, 2.5)]
    texts = {re.sub("-[0-9a-f]{12}$", "", image_id): text for image_id, text in column(dataset, "text").items()}
    assert texts == {"main": "Dress", "2": "Shirt"}
    dropped = pd.read_csv(dataset.root / "dropped.csv").to_dict("list")
    assert dropped == {"image_id": [urls[1]], "reason": ["download_failed"], "detail": ["line 3: HTTP 404"]}


def test_subfolders_are_categories_and_their_words_texts(tmp_path, capsys):
    for path in ("train/long_dresses/1.jpg", "train/T-Shirts/1.JPG", "test/long_dresses/3.webp", "test/4.jpg"):
        (tmp_path / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        draw(path).save(tmp_path / "photos" / path)
    dataset = prepare(tmp_path / "photos", tmp_path / "set", ratios={"train": 0.9, "val": 0.0, "test": 0.1})
    known = {
        "train/long_dresses/1": "long dresses",
        "train/T-Shirts/1": "T Shirts",
        "test/long_dresses/3": "long dresses",
    }
    assert column(dataset, "text") == column(dataset, "category") == {**known, "test/4": ""}
    assert column(dataset, "split") == {name: name.partition("/")[0] for name in (*known, "test/4")}
    assert "1 of 4 photos have no text" in capsys.readouterr().out


def test_twins_across_splits_are_said_and_recorded(tmp_path, capsys):
    photo = drawn_photos.draw_garment(0)
    for name, shown in {"train/1": photo, "train/2": draw(2), "test/3": drawn_photos.on_wider_canvas(photo)}.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shown.save(tmp_path / "photos" / f"{name}.jpg")
    dataset = prepare(tmp_path / "photos", tmp_path / "set", max_side=300)
    twins = json.loads((dataset.root / "dataset.json").read_text())["twins"]
    assert twins["pairs"] == [["test/3", "train/1"]] and twins["photos"] == {"val": 0, "test": 1}
    assert twins["max_distance"] == 12 and "DCT" in twins["hash"]
    said = "by a hash that did not split: 1 photo(s) of val and test, such as 'test/3', which looks like 'train/1'"
    assert said in capsys.readouterr().out


def test_a_dataset_within_its_source_is_not_read_again(tmp_path):
    for name in ("a/1.jpg", "b/2.jpg"):
        (tmp_path / name).parent.mkdir()
        draw(name).save(tmp_path / name)
    one = prepare(tmp_path, tmp_path / "set", cache=tmp_path / "cache")
    two = prepare(tmp_path, tmp_path / "set", cache=tmp_path / "cache", seed=1)
    assert list(column(one, "text")) == list(column(two, "text")) == ["a/1", "b/2"]


def test_given_splits_are_kept_and_what_straddles_them_is_said(tmp_path, capsys):
    rows = [("image", "title", "split")]
    rows += [(f"{number}.jpg", f"Name {number % 40}", "TRAIN" if number < 40 else "dev") for number in range(60)]
    source = write_shop(tmp_path / "shop", rows, photos=[f"{number}.jpg" for number in range(60)])
    dataset = prepare(source, tmp_path / "set")
    split = column(dataset, "split")
    assert {split[str(number)] for number in range(40)} == {"train"}
    assert {split[str(number)] for number in range(40, 60)} == {"val", "test"}, "val is divided"
    said = "20 pairs of photos that belong together lie in two of the given splits, such as '0' and '40'"
    printed = capsys.readouterr().out
    assert said in printed and "the catalogue gives no test; a part of its val becomes test" in printed


def test_a_text_of_many_photos_does_not_keep_them_together(tmp_path):
    rows = [("image", "title"), *((f"{number}.jpg", "Shirt" if number < 30 else "Dress") for number in range(40))]
    source = write_shop(tmp_path / "shop", rows, photos=[f"{number}.jpg" for number in range(40)])
    group = column(prepare(source, tmp_path / "set"), "group_id")
    assert len({group[str(number)] for number in range(30)}) == 30
    assert len({group[str(number)] for number in range(30, 40)}) == 1


def table_file(folder, form):
    """Two products in each form of a table."""
    records = [
        {"sku": 7.0, "photos": ["1.jpg", "2.jpg"], "title": "Dress", "price": 9.5},
        {"sku": 8, "photos": ["3.jpg"], "title": "Shirt", "price": None},
    ]
    if form == "parquet":
        pd.DataFrame(records).to_parquet(folder / "shop.parquet")
    elif form == "json":
        (folder / "shop.json").write_text(json.dumps(records, indent=1))
    elif form == "jsonl":
        (folder / "shop.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    elif form == "xlsx":
        openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed, with which workbooks are read")
        book = openpyxl.Workbook()
        for row in (["sku", "photos", "title", "price"], [7.0, "1.jpg|2.jpg", "Dress", 9.5], [8, "3.jpg", "Shirt"]):
            book.active.append(row)
        book.save(folder / "shop.xlsx")
    elif form == "tsv":
        (folder / "shop.tsv").write_text("sku\tphotos\ttitle\tprice\n7.0\t1.jpg,2.jpg\tDress\t9.5\n8\t3.jpg\tShirt\n")


@pytest.mark.parametrize("form", ["parquet", "json", "jsonl", "tsv", "xlsx"])
def test_every_form_of_a_table_is_the_same_catalogue(tmp_path, form):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "images").symlink_to(tmp_path / "elsewhere")
    for number in "123":
        draw(number).save(tmp_path / "elsewhere" / f"{number}.jpg")
    table_file(tmp_path / "shop", form)
    dataset = prepare(tmp_path / "shop", tmp_path / "set")
    assert column(dataset, "item_id") == {"1": "7", "2": "7", "3": "8"}
    assert column(dataset, "text") == {"1": "Dress", "2": "Dress", "3": "Shirt"}
    assert column(dataset, "price") == {"1": "9.5", "2": "9.5", "3": ""}


def test_photos_are_objects_as_shops_export_them(tmp_path):
    for number in "123":
        draw(number).save(tmp_path / f"{number}.jpg")
    rows = [{"images": [{"id": 5, "src": "1.jpg"}, {"url": "2.jpg"}]}, {"images": ["3.jpg"]}]
    (tmp_path / "shop.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = prepare(tmp_path / "shop.jsonl", tmp_path / "set")
    assert column(dataset, "item_id") == {"1": "1", "2": "1", "3": "3"}


def test_photo_outside_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    draw("1").save(tmp_path / "1.jpg")
    (tmp_path / "here" / "shop.csv").write_text("image\n../1.jpg\n")
    monkeypatch.chdir(tmp_path / "here")
    dataset = prepare("shop.csv", "set", allow_outside_root=True)
    assert dataset.manifest["path"].str.fullmatch(r"images/outside/\w+/1.jpg").all()


def test_what_was_prepared_beside_a_table_is_not_its_photos(tmp_path):
    draw("1").save(tmp_path / "1.jpg")
    (tmp_path / "data" / "checked").mkdir(parents=True)
    draw("2").save(tmp_path / "data" / "checked" / "contact_sheet.png")
    (tmp_path / "shop.csv").write_text("image,name\n1,hat\n")
    assert column(prepare(tmp_path / "shop.csv", tmp_path / "data" / "set"), "text") == {"1": "hat"}


def test_hugging_face_dataset_on_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "name": datasets.Value("string"), "label": datasets.ClassLabel(names=["a b", "c"])}
    )
    parts = {
        split: datasets.Dataset.from_list(
            [{"image": draw(f"{split}{number}"), "name": f"{split} {number}", "label": number} for number in range(2)],
            features=features,
        )
        for split in ("train", "validation", "test")
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    dataset = prepare(tmp_path / "saved", tmp_path / "set", cache=tmp_path / "cache")
    assert dataset.manifest["split"].tolist() == ["train", "train", "val", "val", "test", "test"]
    assert dataset.manifest["text"].tolist()[:3] == ["train 0", "train 1", "validation 0"]
    assert dataset.manifest["category"].tolist() == ["a b", "c"] * 3 and "hf_split" not in dataset.manifest


def test_parquet_with_photos_in_it(tmp_path):
    pytest.importorskip("datasets")
    stored = io.BytesIO()
    draw(1).save(stored, "PNG")
    rows = [
        {"image": {"bytes": stored.getvalue(), "path": "a/1.png"}, "name": "Dress"},
        {"image": None, "name": "Shirt"},
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "shop.parquet")
    dataset = prepare(tmp_path / "shop.parquet", tmp_path / "set", cache=tmp_path / "cache")
    assert dataset.manifest["text"].tolist() == ["Dress"] and dataset.info["counts"]["dropped"] == {"no_photo": 1}


def test_a_dataset_of_the_hub_is_read_by_name(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"image": [draw(1)], "caption": ["A red dress"]})
    named = one.cast_column("image", datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", {"shop/dresses": named}.__getitem__)
    dataset = prepare("hf:shop/dresses", tmp_path / "set", cache=tmp_path / "cache")
    assert dataset.manifest["text"].tolist() == ["A red dress"]
    with pytest.raises(InputError, match=r"hf:shop/none: cannot be read as a Hugging Face dataset \(KeyError"):
        prepare("hf:shop/none", tmp_path / "set2", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no such file or folder. Expected a table, a folder with one, a folder of photos by class"),
        ({"a.csv": "", "b.tsv": ""}, r"found 2 tables \['a.csv', 'b.tsv'\], expected one\. Name the file itself"),
        ({}, "no table, no subfolders with photos, and 0 photos"),
        ({"a.csv": "image,title\n"}, r"no rows left of 0 read"),
        ({"a.csv": "1.jpg,Dress\n2.jpg,Shirt\n"}, r"its first line names a photo, '1\.jpg'\. Expected titles there"),
        ({"a.csv": "who,what\nx,y\n"}, r"no column names photos; has \['who', 'what'\]\. Say which does: dataset\.col"),
        ({"a.csv": "image,title\n1.jpg,Dress\n"}, r"no rows left of 1 read; .*line 2: no photo '1\.jpg'"),
        ({"a.json": "[1, 2]"}, r"a\.json: JSON without objects"),
        ({"a.parquet": "PAR1 torn"}, r"a\.parquet: Parquet that cannot be read"),
    ],
)
def test_unusable_source_is_one_error_with_a_remedy(tmp_path, files, message):
    if files is not None:
        (tmp_path / "shop").mkdir()
        for name, text in files.items():
            (tmp_path / "shop" / name).write_text(text)
    with pytest.raises(InputError, match=rf"(?s){message}"):
        prepare(tmp_path / "shop", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
def test_real_release_of_kaggle_is_the_same_as_any_catalogue(real_data, tmp_path):
    source = real_data / "kaggle-products"
    one = prepare_kaggle_products(source=source, root=tmp_path / "kaggle").manifest
    other = prepare_products(source=source, root=tmp_path / "any").manifest
    shared = ["image_id", "item_id", "group_id", "split", "text", "category", "gender", "colour", "photo_hash"]
    assert len(one) == 7_000 and one[shared].equals(other[shared])


@pytest.mark.slow
def test_real_photos_of_users(real_data, tmp_path):
    columns = {"texts": "label", "group": "sender_id", "kids": "kids"}
    source = real_data / "clothing-dataset"
    dataset = prepare_products(source=source, root=tmp_path / "set", columns=columns, max_side=64)
    assert len(dataset.manifest) == 1_372 and dataset.info["counts"]["dropped"] == {"photo_missing": 5}
    senders = pd.read_csv(source / "images.csv").set_index("image")["sender_id"].loc[dataset.manifest["image_id"]]
    assert (dataset.manifest.groupby(senders.to_numpy())["split"].nunique() == 1).all()
