import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import drawn_photos
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from fashionclip.app.datasets import prepare as run_config
from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.manifest import read_dataset
from fashionclip.prepare.conversion import Conversion
from fashionclip.prepare.deepfashion2 import convert, crops, release
from fashionclip.prepare.deepfashion2.convert import prepare_deepfashion2_sku
from fashionclip.prepare.deepfashion2.standin import write_deepfashion2_fixture

CONFIGS = Path(__file__).parents[3] / "configs"
SIZE = (120, 160)
draw = partial(drawn_photos.draw, size=SIZE)


def item(**changed):
    """An item as the release writes it."""
    written = {
        "segmentation": [[10, 20, 90, 20, 90, 140]],
        "scale": 2,
        "viewpoint": 2,
        "zoom_in": 1,
        "landmarks": [50, 60, 2],
        "style": 1,
        "bounding_box": [10, 20, 90, 140],
        "category_id": 1,
        "occlusion": 1,
        "category_name": "short sleeve top",
    }
    return {key: value for key, value in {**written, **changed}.items() if value is not ...}


def write(source, split, number, *items, shop=False, pair=1, **image):
    """A photo with its annotation."""
    folder = source / split
    for name in ("image", "annos"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    draw(f"{split}/{number}").save(folder / "image" / f"{number:06d}.jpg", **image)
    numbered = {f"item{k}": one for k, one in enumerate(items, start=1)}
    annotation = {"source": "shop" if shop else "user", "pair_id": pair, **numbered}
    (folder / "annos" / f"{number:06d}.json").write_text(json.dumps(annotation))


def write_pairs(source, split, pairs, *, first=1, **changed):
    """Two photos a pair: a user's, then a shop's."""
    for pair in range(1, pairs + 1):
        for shop in (False, True):
            write(source, split, first + 2 * (pair - 1) + shop, item(**changed), shop=shop, pair=pair)
    return source


def prepare(source, root, **changes):
    settings = {"splits": "train", "dev_split": 0, "workers": 0, **changes}
    return prepare_deepfashion2_sku(source=source, root=root, **settings)


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def crops_below(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))


def dropped(dataset):
    """Ids by reason, after checking that dropped.csv and the counts of dataset.json say the same."""
    table = pd.read_csv(dataset.root / "dropped.csv", dtype=str, keep_default_na=False)
    assert table["detail"].all()
    counts = json.loads((dataset.root / "dataset.json").read_text())["counts"]
    assert counts["dropped"] == table["reason"].value_counts().to_dict()
    assert counts["read"] == counts["kept"] + len(table) and counts["kept"] == len(dataset.manifest)
    assert crops_below(dataset.root) == sorted(dataset.manifest["path"]), "what is not kept is not on disk"
    return {reason: sorted(rows["image_id"]) for reason, rows in table.groupby("reason")}


def test_every_field_of_both_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, root = Path("release"), Path("skus")
    first = item(occlusion=3, viewpoint=3, bounding_box=[5, 6, 115, 150])
    write(source, "train", 1, first, item(style=0, category_id=8), pair=7)
    write(source, "train", 2, item(style=2, category_id=8), item(occlusion=2, viewpoint=1), shop=True, pair=7)
    dataset = prepare(source, root)
    product = {"pair_id": 7, "style": 1, "category_id": 1, "category_name": "short sleeve top"}
    query = {
        "orig_image_path": "train/image/000001.jpg",
        "image_id": "000001",
        "item_idx": 1,
        "bbox": [5, 6, 115, 150],
        "occlusion": 3,
        "viewpoint": 3,
    }
    catalog = {
        "orig_image_path": "train/image/000002.jpg",
        "image_id": "000002",
        "item_idx": 2,
        "bbox": [10, 20, 90, 140],
        "occlusion": 2,
        "viewpoint": 1,
    }
    query_path, catalog_path = (
        "train/query/000007_01_01/000001_item1.jpg",
        "train/catalog/000007_01_01/000002_item2.jpg",
    )
    metadata = json.loads((root / "train_sku_metadata.json").read_text())
    assert metadata == {
        "split": "train",
        "df2_root": str(tmp_path / "release"),
        "out_root": "skus",
        "num_skus": 1,
        "skus": {
            "000007_01_01": {
                **product,
                "catalog": [{"crop_path": catalog_path, **catalog}],
                "query": [{"crop_path": query_path, **query}],
            }
        },
    }
    samples = [json.loads(line) for line in (root / "train_image_text.jsonl").read_text().splitlines()]
    shared = {"split": "train", "sku_id": "000007_01_01", **product}
    assert samples == [
        {
            **shared,
            "domain": "catalog",
            "image_path": catalog_path,
            **catalog,
            "text": "A shop photo of a moderately occluded short sleeve top with no wearer.",
        },
        {
            **shared,
            "domain": "query",
            "image_path": query_path,
            **query,
            "text": "A user photo of a person wearing a heavily occluded short sleeve top from the side or back.",
        },
    ]
    keys = ["split", "sku_id", "pair_id", "style", "category_id", "category_name", "domain", "image_path"]
    keys += ["orig_image_path", "image_id", "item_idx", "bbox", "occlusion", "viewpoint", "text"]
    assert list(samples[0]) == keys, "in the document's order"
    assert crops_below(root) == [catalog_path, query_path] and load_image(root / query_path).size == (110, 144)

    expected = {
        "image_id": ["train/000001_item1", "train/000002_item2"],
        "path": [query_path, catalog_path],
        "split": ["train"] * 2,
        "domain": ["query", "catalog"],
        "item_id": ["train/000007_01_01"] * 2,
        "group_id": ["train/000007"] * 2,
        "text": [samples[1]["text"], samples[0]["text"]],
        "category": ["short sleeve top"] * 2,
        "garment": ["top"] * 2,
        "sleeve": ["short sleeve"] * 2,
        "release_split": ["train"] * 2,
        "sku_id": ["000007_01_01"] * 2,
        "pair_id": [7, 7],
        "style": [1, 1],
        "category_id": [1, 1],
        "occlusion": [3, 2],
        "viewpoint": [3, 1],
        "scale": [2, 2],
        "zoom_in": [1, 1],
        "box": ["5,6,115,150", "10,20,90,140"],
        "item_idx": [1, 2],
        "orig_image_path": ["train/image/000001.jpg", "train/image/000002.jpg"],
        "paired": [True, True],
    }
    assert read_dataset(root).manifest.drop(columns="photo_hash").to_dict("list") == expected
    assert dropped(dataset) == {"style_zero": ["train/000001_item2"], "unpaired": ["train/000002_item1"]}


def test_whatever_is_wrong_is_counted_by_reason_and_listed(tmp_path):
    source = write_pairs(tmp_path / "release", "train", 2)
    annos, images = source / "train" / "annos", source / "train" / "image"
    bad_items = [
        ("style_zero", item(style=0)),
        ("unknown_category", item(category_id=14)),
        ("unknown_category", item(category_id="1")),
        ("unknown_category", item(category_id=...)),
        ("bad_label", item(style=...)),
        ("bad_label", item(style=-1)),
        ("bad_label", item(style=10**20)),
        ("no_box", item(bounding_box=[0, 0, 10**400, 50])),
        ("bad_label", item(style=float("inf"))),
        ("unknown_category", item(category_id=[1])),
        ("bad_label", item(occlusion={})),
        ("bad_label", item(occlusion=4)),
        ("bad_label", item(viewpoint=None)),
        ("no_box", item(bounding_box=...)),
        ("no_box", item(bounding_box=[1, 2, 3])),
        ("no_box", item(bounding_box=[1, 2, "3", 4])),
        ("no_box", item(bounding_box=[1, 2, float("nan"), 4])),
        ("box_empty", item(bounding_box=[10, 20, 10, 140])),
        ("box_empty", item(bounding_box=[90, 140, 10, 20])),
        ("box_empty", item(bounding_box=[200, 20, 290, 140])),
        ("box_too_small", item(bounding_box=[10, 20, 41, 140])),
        ("box_too_small", item(bounding_box=[-60, 20, 31, 140])),
        ("item_unreadable", []),
    ]
    for shop in (False, True):  # so that none is dropped for want of a fellow
        write(source, "train", 5 + shop, *(one for _, one in bad_items), shop=shop, pair=3)
    expected = {}
    for photo in ("train/000005", "train/000006"):
        for number, (reason, _) in enumerate(bad_items, start=1):
            expected.setdefault(reason, []).append(f"{photo}_item{number}")

    def spoil(number, reason, act):
        write(source, "train", number, item(), pair=1)
        act(images / f"{number:06d}.jpg", annos / f"{number:06d}.json")
        expected.setdefault(reason, []).append(f"train/{number:06d}")

    spoil(10, "image_missing", lambda image, anno: image.unlink())
    spoil(11, "annotation_missing", lambda image, anno: anno.unlink())
    spoil(12, "annotation_unreadable", lambda image, anno: anno.write_text('{"source": "us'))
    spoil(13, "annotation_unreadable", lambda image, anno: anno.write_text("[1]"))
    spoil(14, "annotation_unreadable", lambda image, anno: anno.write_bytes(b"\xff\xfe\x00"))
    spoil(15, "annotation_incomplete", lambda image, anno: anno.write_text('{"source": "user", "item1": {}}'))
    spoil(16, "annotation_incomplete", lambda image, anno: anno.write_text('{"source": "film", "pair_id": 1}'))
    spoil(18, "annotation_incomplete", lambda image, anno: anno.write_text('{"source": "user", "pair_id": 1e30}'))
    spoil(19, "annotation_incomplete", lambda image, anno: anno.write_text('{"source": ["user"], "pair_id": 1}'))
    numbered = {"source": "user", "pair_id": 1, "item" + 5000 * "1": item()}
    spoil(23, "no_items", lambda image, anno: anno.write_text(json.dumps(numbered)))
    spoil(17, "no_items", lambda image, anno: anno.write_text('{"source": "user", "pair_id": 1, "items": []}'))
    write(source, "train", 20, item(), item(), pair=1)
    (images / "000020.jpg").write_bytes((images / "000020.jpg").read_bytes()[:300])
    write(source, "train", 21, item(style=5), pair=1)
    (images / "000021.jpg").write_bytes(b"")
    write(source, "train", 22, item(style=5), pair=1, shop=True)
    write(source, "train", 24, item(), pair=1)
    (images / "000024.jpg").unlink()
    (images / "000024.jpg").symlink_to("nowhere.jpg")
    unreadable = ("000020_item1", "000020_item2", "000021_item1", "000024_item1")
    expected["image_unreadable"] = [f"train/{name}" for name in unreadable]
    expected["unpaired"] = ["train/000022_item1"]  # its only fellow could not be decoded
    (images / "Thumbs.db").write_text("no photo")
    dataset = prepare(source, tmp_path / "set")
    assert dropped(dataset) == {reason: sorted(ids) for reason, ids in expected.items()}
    assert dataset.info["counts"]["kept"] == 4


def test_missing_scale_and_zoom_are_no_reason_to_drop(tmp_path):
    dataset = prepare(write_pairs(tmp_path / "release", "train", 1, scale=..., zoom_in=9), tmp_path / "set")
    assert dataset.manifest[["scale", "zoom_in"]].to_numpy().tolist() == [[0, 0]] * 2


def test_boxes_are_clamped_and_margins_stay_within_the_photo(tmp_path):
    source = write_pairs(tmp_path / "release", "train", 1, bounding_box=[-30, 40.4, 60.0, 500])
    dataset = prepare(source, tmp_path / "set")
    assert set(dataset.manifest["box"]) == {"0,40,60,160"}
    assert load_image(dataset.root / dataset.manifest["path"][0]).size == (60, 120)
    wider = prepare(source, tmp_path / "wider", margin=0.1)
    assert set(wider.manifest["box"]) == {"0,40,60,160"}, "without margin"
    assert load_image(wider.root / wider.manifest["path"][0]).size == (66, 132)


def test_a_crop_shows_what_is_in_its_box_and_is_no_larger_than_asked(tmp_path):
    source = write_pairs(tmp_path / "release", "train", 1)
    dataset = prepare(source, tmp_path / "set")
    truth = draw("train/1").crop((10, 20, 90, 140))
    assert np.abs(np.asarray(load_image(dataset.root / dataset.manifest["path"][0]), float) - truth).mean() < 6
    small = prepare(source, tmp_path / "small", max_side=60)
    assert load_image(small.root / small.manifest["path"][0]).size == (40, 60)


def test_boxes_are_those_of_the_upright_photo(tmp_path):
    source = write_pairs(tmp_path / "release", "train", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = draw("train/1").transpose(Image.Transpose.ROTATE_90)
    lying.save(source / "train" / "image" / "000001.jpg", exif=exif)
    dataset = prepare(source, tmp_path / "set")
    truth = draw("train/1").crop((10, 20, 90, 140))
    crop = load_image(dataset.root / dataset.manifest["path"][0])
    assert np.abs(np.asarray(crop, float) - truth).mean() < 6


def test_pairs_distractors_and_all(tmp_path):
    source = write_pairs(tmp_path / "release", "train", 1)
    write(source, "train", 10, item(style=2), shop=True)
    write(source, "train", 11, item(style=3))
    write(source, "train", 12, item(style=0), shop=True)

    def styles(**changes):
        dataset = prepare(source, tmp_path / "-".join(changes), **changes)
        dropped(dataset)
        num_skus = json.loads((dataset.root / "train_sku_metadata.json").read_text())["num_skus"]
        found = dict(zip(dataset.manifest["style"], dataset.manifest["paired"], strict=True))
        assert num_skus == len(found)
        return found

    assert styles(only_pairs=True) == {1: True}
    assert styles(keep_distractors=True) == {1: True, 2: False}
    assert styles(only_pairs=False) == {1: True, 2: False, 3: False}


def test_splits_never_merge_though_their_pairs_have_the_same_numbers(tmp_path):
    source = tmp_path / "release"
    for split in ("train", "validation"):
        write_pairs(source, split, 2)
    (source / "test" / "image").mkdir(parents=True)
    draw(0).save(source / "test" / "image" / "000001.jpg")
    dataset = prepare(source, tmp_path / "set", splits="train validation test")
    assert len(dataset.manifest) == 8 and dataset.manifest["item_id"].nunique() == 4
    assert dataset.manifest["sku_id"].nunique() == 2
    assert dict(zip(dataset.manifest["release_split"], dataset.manifest["split"], strict=True)) == {
        "train": "train",
        "validation": "val",
    }
    assert not (dataset.root / "test_sku_metadata.json").exists()
    assert {path.name for path in dataset.root.iterdir() if path.is_dir()} == {"train", "validation"}


def test_a_photo_of_two_splits_of_the_release_is_told_as_a_twin(tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "release", "train", 2)
    write_pairs(source, "validation", 1)
    photo = drawn_photos.draw(1, size=SIZE)
    for split in ("train", "validation"):
        photo.save(source / split / "image" / "000001.jpg")
    settings = {"splits": "train validation", "check_counts": False}
    twins = prepare(source, tmp_path / "set", **settings).info["twins"]
    assert twins["pairs"] == [["validation/000001_item1", "train/000001_item1"]]
    with monkeypatch.context() as patch:
        patch.setattr(Conversion, "finish", lambda self, **given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(source, tmp_path / "again", **settings)
    assert prepare(source, tmp_path / "again", **settings).info["twins"] == twins, "what a stopped run has cut, too"


def test_the_dev_part_is_cut_from_train_by_pair(tmp_path):
    source = write_pairs(tmp_path / "release", "train", 40)
    write_pairs(source, "validation", 3)
    dataset = prepare(source, tmp_path / "set", splits="train validation", dev_split=0.25)
    manifest = dataset.manifest
    assert (manifest.groupby("group_id")["split"].nunique() == 1).all()
    of_train = manifest[manifest["release_split"] == "train"]
    assert set(of_train["split"]) == {"train", "val"} and 4 <= of_train["split"].eq("val").sum() <= 40
    assert set(manifest.loc[manifest["release_split"] == "validation", "split"]) == {"test"}
    assert set(of_train["path"].str.split("/").str[0]) == {"train"}, "files keep the release's splits"


@pytest.mark.parametrize("inner", ["train/train", "DeepFashion2/train", "archive/train/train"])
def test_folders_as_archives_unzip(tmp_path, inner):
    made = write_pairs(tmp_path / "made", "train", 1)
    (tmp_path / "release" / inner).parent.mkdir(parents=True)
    (made / "train").rename(tmp_path / "release" / inner)
    dataset = prepare(tmp_path / "release", tmp_path / "set")
    assert dataset.manifest["orig_image_path"][0] == f"{inner}/image/000001.jpg"


def test_environment_and_overrides_name_source_root_and_splits(tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "release", "train", 2)
    monkeypatch.setenv("DF2_ROOT", str(source))
    monkeypatch.setenv("SKU_ROOT", str(tmp_path / "skus"))
    monkeypatch.setenv("SPLITS", "train")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        by_environment = compose("prepare", ["dataset=df2", "dataset.workers=0"])
        by_override = compose("prepare", ["dataset=deepfashion2-sku", "dataset.splits=[train]", "dataset.root=other"])
        for name in ("DF2_ROOT", "SKU_ROOT", "SPLITS"):
            monkeypatch.delenv(name)
        bare = compose("prepare", ["dataset=df2"])
        assert (bare.dataset.source, bare.dataset.root) == ("data/DeepFashion2_original", "data/DeepFashion2_SKU")
        assert bare.dataset.splits == "train validation test" and by_override.dataset.root == "other"
        assert by_override.dataset.splits == ["train"]
    GlobalHydra.instance().clear()
    monkeypatch.setenv("DF2_ROOT", str(source))
    monkeypatch.setenv("SKU_ROOT", str(tmp_path / "skus"))
    monkeypatch.setenv("SPLITS", "train")
    dataset = run_config(by_environment.dataset)
    assert dataset.root == tmp_path / "skus" and len(dataset.manifest) == 4
    assert dataset.info["config"]["name"] == "deepfashion2-sku"


def test_stopped_anywhere_it_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "release", "train", 8)
    write(source, "train", 50, item(style=9), shop=True)
    (source / "train" / "image" / "000003.jpg").write_text("no picture")
    monkeypatch.setattr(convert, "PHOTOS_A_JOB", 3)
    root = tmp_path / "set"
    whole = content(prepare(source, root).root)
    root.rename(tmp_path / "whole")

    def stop_at(number):
        decoded = []

        def load(path):
            decoded.append(path.name)
            if len(decoded) == number:
                raise KeyboardInterrupt
            return load_image(path)

        monkeypatch.setattr(crops, "load_image", load)
        return decoded

    for number in (1, 2, 8, 10):
        stop_at(number)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, root)
        assert not root.exists()
    decoded = stop_at(0)
    assert content(prepare(source, root).root) == whole
    assert decoded == ["000016.jpg"], "jobs that were recorded are not done again, and unpaired items never"


def test_a_record_that_is_not_whole_or_of_other_items_is_not_believed(tmp_path, monkeypatch):
    source, root = write_pairs(tmp_path / "release", "train", 6), tmp_path / "set"
    monkeypatch.setattr(convert, "PHOTOS_A_JOB", 3)
    whole = content(prepare(source, root).root)
    root.rename(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_split_files", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(source, root)
    records = sorted((tmp_path / ".set.fashionclip" / "new" / "records" / "train").iterdir())
    records[0].write_text("")
    records[1].write_text(records[2].read_text())
    assert content(prepare(source, root).root) == whole


@pytest.mark.slow
def test_processes_killed_at_any_moment_go_on_to_the_same_bytes(tmp_path, demo_dataset):
    source, root = tmp_path / "release", tmp_path / "set"
    write_deepfashion2_fixture(source, photos=demo_dataset.root / "images", images=1200)
    command = [sys.executable, "prepare.py", "dataset=df2", f"dataset.source={source}", "dataset.workers=2"]

    def start(to):
        return subprocess.Popen([*command, f"dataset.root={to}"], cwd=CONFIGS.parent, stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    for seconds in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5):
        process = start(root)
        time.sleep(seconds)
        process.kill()
        process.wait()
    assert start(root).wait() == 0

    def without_root(folder):
        return {name: data.replace(str(folder).encode(), b"") for name, data in content(folder).items()}

    assert without_root(root) == without_root(tmp_path / "whole")


def test_stopped_between_the_crops_and_the_tables(tmp_path, monkeypatch):
    source, root = write_pairs(tmp_path / "release", "train", 3), tmp_path / "set"
    whole = content(prepare(source, root).root)
    root.rename(tmp_path / "whole")
    for owner, name in ((convert, "write_split_files"), (Conversion, "finish")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                prepare(source, root)
    assert content(prepare(source, root).root) == whole
    assert [path.name for path in tmp_path.iterdir() if "set" in path.name] == ["set"]


def test_processes_write_the_same_bytes_and_a_photo_is_decoded_once(tmp_path, monkeypatch):
    source, root = tmp_path / "release", tmp_path / "set"
    for number in range(1, 11):
        write(source, "train", number, item(), item(category_id=8), shop=number % 2 == 0, pair=(number + 1) // 2)
    monkeypatch.setattr(convert, "PHOTOS_A_JOB", 2)
    monkeypatch.setattr(convert, "ANNOTATIONS_A_JOB", 2)
    spread = content(prepare(source, root, workers=2).root)
    root.rename(tmp_path / "spread")
    decoded = []
    monkeypatch.setattr(crops, "load_image", lambda path: (decoded.append(path), load_image(path))[1])
    assert content(prepare(source, root).root) == spread and len(decoded) == 10


def test_a_second_run_does_nothing_until_something_changes(tmp_path, capsys):
    source = write_pairs(tmp_path / "release", "train", 2)
    prepare(source, tmp_path / "set")
    prepare(source, tmp_path / "set")
    assert "already prepared" in capsys.readouterr().out
    write(source, "train", 9, item(), pair=1)
    assert len(prepare(source, tmp_path / "set").manifest) == 5


def test_an_incomplete_release_is_refused_unless_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "RELEASE_PHOTOS", {"train": 41})
    source = write_pairs(tmp_path / "release", "train", 20)
    with pytest.raises(InputError, match=r"40 photos, expected the 41 of the release.*check_counts=false"):
        prepare(source, tmp_path / "set")
    assert len(prepare(source, tmp_path / "set", check_counts=False).manifest) == 40
    write(source, "train", 41, item(), pair=20)
    assert len(prepare(source, tmp_path / "set").manifest) == 41
    monkeypatch.setattr(release, "RELEASE_PHOTOS", {"train": 191_961})
    prepare(source, tmp_path / "other")  # clearly a part


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "none"}, "dataset.source=none: no such folder. Expected DeepFashion2 .*DF2_ROOT"),
        ({"splits": "train valid"}, "dataset.splits: got 'train valid', expected some of train validation test"),
        ({"splits": ""}, "dataset.splits: got ''"),
        ({"splits": "train,validation"}, "validation: no folders image and annos .*SPLITS"),
        ({"splits": "test"}, "none of the splits 'test' has annotations. Name train"),
        ({"dev_split": 1.0}, r"dev_split=1.0.*expected dev_split in \[0, 1\)"),
        ({"margin": -0.1}, "margin of 0 or more"),
        ({"margin": float("inf")}, "margin of 0 or more"),
        ({"workers": -1}, r"dataset.workers=-1: expected 0 \(none\)"),
        ({"min_side": 200}, "no rows left of 2 read; dropped {'box_too_small': 2}"),
    ],
)
def test_unusable_settings_are_one_error_with_a_remedy(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    write_pairs(Path("release"), "train", 1)
    settings = {"source": Path("release"), "root": Path("set"), **changes}
    with pytest.raises(InputError, match=rf"(?s){message}"):
        prepare(settings.pop("source"), settings.pop("root"), **settings)
    assert not Path("set").exists()
