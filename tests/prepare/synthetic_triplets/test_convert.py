import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_photos import draw, draw_garment
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.manifest import read_dataset
from fashionclip.prepare.synthetic_triplets import families
from fashionclip.prepare.synthetic_triplets.captions import caption_distance
from fashionclip.prepare.synthetic_triplets.convert import prepare_synthetic_triplet
from fashionclip.prepare.synthetic_triplets.overlays import LogoOverlay, TextOverlay, inset, safe_box

RATIOS = {"train": 0.6, "val": 0.2, "test": 0.2}
FEW = {"captions_per_photo": 1, "logo_sets_per_photo": 1, "positives": 1, "semipositives": 1}  # 6 variants a photo


def write_photos(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(folder / name)
    return folder


def numbered(folder, count):
    return write_photos(folder, [f"{number:02}.jpg" for number in range(count)])


def prepare(source, root, **changes):
    settings = {"ratios": RATIOS, "workers": 0, **changes}
    return prepare_synthetic_triplet(source=source, root=root, **settings)


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def boxes_of(manifest):
    return np.array([list(map(int, box.split(","))) for box in manifest["box"]])


def distance(one, other):
    """The largest gap between two empirical distributions (Kolmogorov-Smirnov), or of the shares of some names."""
    if isinstance(one[0], str):
        shares = pd.Series(one).value_counts(normalize=True), pd.Series(other).value_counts(normalize=True)
        return float(shares[0].subtract(shares[1], fill_value=0).abs().sum() / 2)
    values = np.sort(np.concatenate([one, other]))
    below = [np.searchsorted(np.sort(part), values, side="right") / len(part) for part in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    return prepare(numbered(folder / "photos", 40), folder / "set")


def test_base_photos_that_are_twins_across_splits_are_recorded(tmp_path):
    (tmp_path / "photos").mkdir()
    photo = draw_garment(0)
    for number in range(12):  # which the hash that splits takes for 12 pictures
        moved = Image.new("RGB", (280, 260), "white")
        moved.paste(photo, (9 * (number % 6), 20 * (number // 6)))
        moved.save(tmp_path / "photos" / f"{number:02}.jpg")
    logo = {"overlays": {"logo": LogoOverlay()}}
    twins = prepare(tmp_path / "photos", tmp_path / "set", **FEW, **logo).info["twins"]
    assert sum(twins["photos"].values()) > 0 and all(one != other for one, other in twins["pairs"])


def test_a_base_photo_has_the_variants_asked_for(dataset):
    manifest = read_dataset(dataset.root).manifest
    assert len(manifest) == 40 * 3 * 5 and dataset.info["counts"]["dropped"] == {}
    families = manifest.groupby(["base_id", "overlay", "caption"])
    assert len(families) == 40 * 3
    counts = families["kind"].value_counts().unstack()
    assert (counts[["anchor", "positive", "semipositive"]] == (1, 2, 2)).all(axis=None)
    assert manifest["image_id"][:3].tolist() == [f"00/text0_{name}" for name in ("anchor", "positive0", "positive1")]
    assert manifest["semipos_distance"].dtype == "float64" and manifest["size"].dtype == "int64"
    for path in manifest["path"][::37]:
        assert Image.open(dataset.root / path).size == (160, 200)


def test_content_and_distance_are_what_is_shown(dataset):
    text = dataset.manifest[dataset.manifest["overlay"] == "text"]
    same = text["caption"] == text["rendered_caption"]
    assert (same == (text["kind"] != "semipositive")).all() and (same == (text["edit"] == "none")).all()
    assert (text["text"] == text["rendered_caption"]).all() and (text["category"] == "text").all()
    truth = [caption_distance(*pair) for pair in zip(text["caption"], text["rendered_caption"], strict=True)]
    assert text["semipos_distance"].tolist() == truth
    assert text.loc[text["edit"] == "edited", "semipos_distance"].max() <= 0.5
    shares = text.loc[~same, "edit"].value_counts(normalize=True)
    assert shares["replaced"] == pytest.approx(0.5, abs=0.02)


def test_logo_sets_and_their_boxes(dataset):
    logo = dataset.manifest[dataset.manifest["overlay"] == "logo"]
    boxes = pd.read_parquet(dataset.root / "boxes.parquet")
    shown = boxes.groupby("image_id")["class"].agg(set)
    assert set(shown.index) == set(logo["image_id"])
    assert {len(classes) for classes in shown} == {1, 2}
    for row in logo.itertuples():
        given, rendered = row.caption.split(", "), row.rendered_caption.split(", ")
        assert shown[row.image_id] == set(rendered) and row.font == row.colour == ""
        assert row.semipos_distance == len(set(given) - set(rendered)) / len(given)
        assert (row.semipos_distance > 0) == (row.kind == "semipositive")
    assert set(logo["semipos_distance"]) == {0.0, 0.5, 1.0}
    edges = boxes.merge(logo[["image_id", "box"]], on="image_id")
    outer = boxes_of(edges)
    assert (edges[["x0", "y0"]].to_numpy() >= outer[:, :2]).all()
    assert (edges[["x1", "y1"]].to_numpy() <= outer[:, 2:]).all()


def test_item_id_is_the_content_of_a_base_photo(dataset):
    manifest = dataset.manifest
    key = manifest["base_id"] + manifest["overlay"]
    key += manifest["rendered_caption"].map(lambda text: ", ".join(sorted(text.split(", "))))
    assert (pd.factorize(key)[0] == pd.factorize(manifest["item_id"])[0]).all()


def test_overlays_lie_in_the_centre_crop(dataset):
    left, top, right, bottom = safe_box((160, 200), keep_in_centre_crop=True)
    boxes = boxes_of(dataset.manifest)
    assert (boxes[:, :2] >= (left, top)).all() and (boxes[:, 2:] <= (right, bottom)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize("overlay", ["text", "logo"])
def test_nuisances_of_positives_and_semipositives_come_from_one_distribution(dataset, overlay):
    """Else a model could tell them apart without reading what is shown."""
    manifest = dataset.manifest[dataset.manifest["overlay"] == overlay]
    boxes = boxes_of(manifest)
    sides = {"x": boxes[:, 0], "y": boxes[:, 1], "size": manifest["size"].to_numpy()}
    names = {"font": manifest["font"].to_numpy(), "colour": manifest["colour"].to_numpy()}
    anchor = manifest[manifest["kind"] == "anchor"].set_index(["base_id", "caption"])
    mates = anchor.loc[list(zip(manifest["base_id"], manifest["caption"], strict=True))]
    places = boxes_of(mates)
    sides |= {f"moved {axis}": np.abs(boxes - places)[:, k] for k, axis in enumerate("xy")}
    names |= {f"same {c}": (mates[c].to_numpy() == manifest[c].to_numpy()).astype(str) for c in ("font", "colour")}
    positive, semipositive = (manifest["kind"] == kind for kind in ("positive", "semipositive"))
    limit = 2.2 * (2 / positive.sum()) ** 0.5  # chance exceeds it in less than one of 1,000 draws
    for name, values in {**sides, **names}.items():
        assert distance(values[positive.to_numpy()], values[semipositive.to_numpy()]) < limit, name
    assert len(set(boxes_of(manifest[positive])[:, 1])) > 20
    if overlay == "text":
        assert manifest["font"].nunique() > 5 and manifest["colour"].nunique() > 5


def test_train_never_shows_the_captions_logos_and_fonts_that_are_held_out(dataset):
    manifest = dataset.manifest
    train = manifest[manifest["split"] == "train"]
    assert not train["unseen"].any()
    families = manifest[(manifest["split"] != "train") & (manifest["kind"] == "anchor")]
    assert families.groupby("overlay")["unseen"].mean().to_dict() == pytest.approx({"text": 0.5, "logo": 0.5}, abs=0.2)
    text, logo = (manifest[manifest["overlay"] == overlay] for overlay in ("text", "logo"))
    for part, shown in (
        (text, lambda rows: set(rows["caption"]) | set(rows.loc[rows["edit"] == "replaced", "rendered_caption"])),
        (text, lambda rows: set(rows["font"])),
        (logo, lambda rows: {name for names in rows["rendered_caption"] for name in names.split(", ")}),
    ):
        unseen, seen = shown(part[part["unseen"]]), shown(part[~part["unseen"]])
        assert len(unseen) >= 2 and not unseen & seen
        assert shown(part[part["split"] == "train"]) == seen & shown(part[part["split"] == "train"])
    assert logo.loc[logo["unseen"], "rendered_caption"].str.contains(", ").any(), "as many logos as elsewhere"
    triplets = pd.read_parquet(dataset.root / "triplets.parquet")
    unseen = manifest.set_index("image_id")["unseen"]
    for role in ("anchor", "positive", "semipositive"):
        assert (unseen.loc[triplets[role]].to_numpy() == triplets["unseen"].to_numpy()).all()
    assert 0.2 < triplets["unseen"].mean() < 0.8


def test_nothing_is_held_out_where_it_is_not_wanted(tmp_path, capsys):
    dataset = prepare(numbered(tmp_path / "photos", 6), tmp_path / "set", held_out=0.0, **FEW)
    assert not dataset.manifest["unseen"].any()
    assert "logos: 8 in all splits\n" in capsys.readouterr().out


def test_splits_share_no_base_photo_and_triplets_keep_to_a_split(dataset):
    manifest = dataset.manifest.set_index("image_id")
    assert (dataset.manifest.groupby("base_id")["split"].nunique() == 1).all()
    assert set(manifest["split"]) == {"train", "val", "test"}
    triplets = pd.read_parquet(dataset.root / "triplets.parquet")
    evaluated = dataset.manifest[dataset.manifest["split"] != "train"]
    assert (triplets["anchor"].value_counts() == 2).all()
    assert set(triplets["anchor"]) == set(evaluated.loc[evaluated["kind"] == "anchor", "image_id"])
    anchor, positive, semipositive, negative = (
        manifest.loc[triplets[role]].reset_index() for role in ("anchor", "positive", "semipositive", "negative")
    )
    for mate in (positive, semipositive):
        assert (mate[["base_id", "overlay", "caption"]] == anchor[["base_id", "overlay", "caption"]]).all(axis=None)
    assert (positive["item_id"] == anchor["item_id"]).all() and (semipositive["item_id"] != anchor["item_id"]).all()
    assert (negative["base_id"] != anchor["base_id"]).all()
    assert (negative[["split", "overlay"]] == anchor[["split", "overlay"]]).all(axis=None)
    assert (triplets["semipos_distance"] == semipositive["semipos_distance"]).all()
    assert (triplets[["edit", "overlay"]] == semipositive[["edit", "overlay"]]).all(axis=None)
    assert negative["kind"].nunique() == 3


def test_two_processes_write_the_same_dataset_and_another_seed_another(tmp_path):
    source = numbered(tmp_path / "photos", 17)
    (source / "05.jpg").write_text("no picture")
    one, two = (prepare(source, tmp_path / f"set{workers}", workers=workers, **FEW) for workers in (0, 2))
    assert content(one.root) == content(two.root)
    assert one.info["counts"]["dropped"] == {"photo_unreadable": 6}
    other = prepare(source, tmp_path / "other", seed=1, **FEW)
    assert not one.manifest["rendered_caption"].equals(other.manifest["rendered_caption"])


def test_stopped_run_goes_on_where_it_was_and_ends_the_same(tmp_path, monkeypatch):
    source, root = numbered(tmp_path / "photos", 8), tmp_path / "set"
    load, loaded = families.load_image, []

    def stopping(path, **settings):
        if len(loaded) == 8 + 5:  # all are looked at first
            raise KeyboardInterrupt
        loaded.append(path)
        return load(path, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(families, "load_image", stopping)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, root, **FEW)
    assert not root.exists()
    again = []
    monkeypatch.setattr(families, "load_image", lambda path, **s: again.append(path) or load(path, **s))
    prepare(source, root, **FEW)
    assert len(again) == 8 + 3 and not set(again[8:]) & set(loaded[8:])
    assert content(root) == content(prepare(source, tmp_path / "fresh", **FEW).root)
    again.clear()
    prepare(source, root, **FEW)
    assert again == [], "a finished dataset is not prepared again"


def test_names_may_repeat_in_other_folders_and_with_other_suffixes(tmp_path):
    names = ["a/1.jpg", "b/1.png", "b/1.jpg", "1.webp", "b/c/1.JPEG"]
    source = write_photos(tmp_path / "photos", names)
    (source / "notes.txt").write_text("no photo")
    dataset = prepare(source, tmp_path / "set", **FEW)
    assert set(dataset.manifest["base_id"]) == {"1", "a/1", "b/1.jpg", "b/1.png", "b/c/1"}


def test_groups_and_same_pictures_share_a_split(tmp_path):
    source = numbered(tmp_path / "photos", 30)
    draw(0).save(source / "29.jpg", quality=60)
    table = tmp_path / "images.csv"
    senders = {number: f"sender {number % 4}" for number in range(20)}
    table.write_text("image,sender_id\n" + "".join(f"{number:02},{name}\n" for number, name in senders.items()))
    manifest = prepare(source, tmp_path / "set", groups_file=str(table), **FEW).manifest
    group = manifest.groupby("base_id")["group_id"].first()
    assert all(group[f"{number:02}"] == group[f"{number % 4:02}"] for number in range(20))
    assert group["29"] == group["00"] and group.nunique() == 4 + 9
    assert (manifest.groupby("group_id")["split"].nunique() == 1).all()
    picture = manifest.groupby("base_id")["picture_id"].first()
    assert picture["29"] == picture["00"] and picture.nunique() == 29, (
        "of a sender's photos each is a picture by itself"
    )


def test_same_picture_is_no_negative(tmp_path):
    source = numbered(tmp_path / "photos", 3)
    draw(0).save(source / "2.jpg", quality=60)
    draw(0).save(source / "2.png")
    dataset = prepare(source, tmp_path / "set", ratios={"train": 0.0, "val": 1.0, "test": 0.0})
    triplets = pd.read_parquet(dataset.root / "triplets.parquet")
    same = {"00", "2.jpg", "2.png"}
    bases = [{row.anchor.split("/")[0], row.negative.split("/")[0]} for row in triplets.itertuples()]
    assert len(bases) == 5 * 3 * 2 and not any(pair <= same for pair in bases)


def test_too_small_photos_and_captions_without_glyphs_are_counted_drops(tmp_path):
    source = numbered(tmp_path / "photos", 6)
    draw(99, size=(20, 20)).save(source / "small.png")
    captions = tmp_path / "captions.txt"
    captions.write_text("New coats\n新しい服\n", encoding="utf-8")
    dataset = prepare(source, tmp_path / "set", captions=str(captions))
    dropped = dataset.info["counts"]["dropped"]
    assert dropped["no_glyphs"] >= 7 and dropped["too_small"] >= 2 and dropped["no_anchor"] >= 7 * 4
    assert "small" not in set(dataset.manifest["base_id"])
    counts = dataset.info["counts"]
    assert counts["read"] == counts["kept"] + sum(dropped.values()) == 7 * 15
    assert (dataset.manifest["rendered_caption"] != "新しい服").all()


def test_one_kind_of_overlay(tmp_path):
    source = numbered(tmp_path / "photos", 6)
    for kind, overlays in (("text", {"text": TextOverlay(), "logo": None}), ("logo", {"logo": LogoOverlay()})):
        assert set(prepare(source, tmp_path / kind, overlays=overlays).manifest["overlay"]) == {kind}


def test_default_source_is_the_demo_catalogue(tmp_path):
    demo = {"demo_source": str(tmp_path / "raw"), "demo_items": 4, **FEW}
    dataset = prepare(None, tmp_path / "set", **demo)
    assert dataset.manifest["base_id"].nunique() == 4
    assert len(prepare(None, tmp_path / "again", **demo).manifest) == len(dataset.manifest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "none"}, "no such folder. Give a folder of photos"),
        ({"limit": 1}, "found 3 photos .* and took 1; expected at least two base photos .*dataset.limit"),
        ({"source": "photos/empty"}, "found 0 photos"),
        ({"root": "photos/set"}, "lies in dataset.source.*Choose another dataset.root"),
        ({"captions": "empty.txt"}, "0 of 0 lines are usable"),
        ({"positives": 0}, "expected positives and semipositives of 1 or more"),
        ({"held_out": 1.0}, r"dataset\.held_out=1\.0: expected a share in \[0, 1\)"),
        ({"max_edited_share": 0.0}, r"max_edited_share in \(0, 1\]"),
        ({"overlays": {"text": None, "logo": None}}, "overlays: got .*expected text, logo or both"),
        ({"groups_file": "none.csv"}, "no such file. Give a CSV"),
        ({"groups_file": "other.csv"}, r"no column 'image', 'sender_id'; has \['photo'\]"),
        ({"groups_file": "strangers.csv"}, "names none of the photos"),
        ({"ratios": {"train": 0.5, "val": 0.2, "test": 0.2}}, "sum to 1"),
    ],
)
def test_unusable_settings_are_one_error_with_a_remedy(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    numbered(Path("photos"), 3)
    Path("photos/empty").mkdir()
    Path("empty.txt").touch()
    Path("other.csv").write_text("photo\n1\n")
    Path("strangers.csv").write_text("image,sender_id\nelsewhere,1\n")
    settings = {"source": "photos", "root": "set", **changes}
    with pytest.raises(InputError, match=rf"(?s){message}"):
        prepare(Path(settings.pop("source")), Path(settings.pop("root")), **settings)
    assert not Path("set").exists()


def test_one_base_photo_left_after_drops_is_an_error(tmp_path):
    source = numbered(tmp_path / "photos", 1)
    (source / "broken.jpg").write_text("no picture")
    with pytest.raises(InputError, match="variants of only one base photo, '00'; expected at least two"):
        prepare(source, tmp_path / "set")


def test_a_photo_shows_one_logo_of_each_named_position(tmp_path, capsys):
    for number, name in enumerate(("age/3.png", "age/7.png", "age/12.JPG", "age/18.png", "buy.png", "box.jpeg")):
        (tmp_path / "logos" / "age").mkdir(parents=True, exist_ok=True)
        draw(number).resize((60, 30)).save(tmp_path / "logos" / name)
    positions = {"age": [0, 0, 0.5, 0.3], "buy": [0.5, 0.5, 1, 1], "box": [100, 10, 140, 40]}
    overlay = LogoOverlay(folder=tmp_path / "logos", per_photo=[3, 3], positions=positions, min_size=10)
    settings = {"overlays": {"logo": overlay}, "logo_sets_per_photo": 2, "max_side": 200}
    dataset = prepare(numbered(tmp_path / "photos", 12), tmp_path / "set", **settings)
    manifest, boxes = dataset.manifest, pd.read_parquet(dataset.root / "boxes.parquet")
    assert dataset.info["counts"]["dropped"] == {} and len(manifest) == 12 * 2 * 5
    boxes["position"] = boxes["class"].str.partition("/")[0]
    assert (boxes.groupby("image_id")["position"].agg(sorted).map(tuple) == ("age", "box", "buy")).all()
    left, top, right, bottom = inset(safe_box((160, 200), keep_in_centre_crop=True), overlay.padding)
    for name, (x0, y0, x1, y1) in positions.items():
        unit = (1, 1) if name == "box" else (right - left, bottom - top)
        of = boxes[boxes["position"] == name]
        assert (of["x0"] >= left + int(x0 * unit[0])).all() and (of["x1"] <= left + x1 * unit[0] + 1).all()
        assert (of["y0"] >= top + int(y0 * unit[1])).all() and (of["y1"] <= top + y1 * unit[1] + 1).all()
    assert set(boxes["class"]) == {"age/3", "age/7", "age/12", "age/18", "buy", "box"}
    other = manifest[manifest["kind"] == "semipositive"]
    assert (other["semipos_distance"] == 1 / 3).all(), "only the first of the three has another to show"
    assert (other["caption"] != other["rendered_caption"]).all()
    assert "logos at named positions leave nothing to chance: a positive equals its anchor" in capsys.readouterr().out
    anchor, positive = (dataset.root / f"images/00/logo0_{kind}.jpg" for kind in ("anchor", "positive0"))
    assert anchor.read_bytes() == positive.read_bytes()


def test_held_out_logos_of_named_positions(tmp_path):
    for number in range(12):
        (tmp_path / "logos" / "age").mkdir(parents=True, exist_ok=True)
        draw(number).resize((60, 30)).save(tmp_path / "logos" / f"age/{number}.jpg")
    draw(20).resize((60, 60)).save(tmp_path / "logos" / "buy.jpg")
    positions = {"age": [0, 0, 0.5, 0.3], "buy": [0.5, 0.5, 1, 1]}
    overlay = LogoOverlay(folder=tmp_path / "logos", per_photo=[2, 2], positions=positions, min_size=10)
    settings = {"overlays": {"logo": overlay}, "logo_sets_per_photo": 2}
    manifest = prepare(numbered(tmp_path / "photos", 12), tmp_path / "set", **settings).manifest
    shown = [set(names.split(", ")) for names in manifest["rendered_caption"]]
    train = set().union(*(names for names, split in zip(shown, manifest["split"], strict=True) if split == "train"))
    unseen = set().union(*(names for names, unseen in zip(shown, manifest["unseen"], strict=True) if unseen))
    assert "buy" in train and unseen and not train & unseen


@pytest.mark.parametrize(
    ("overlay", "changes", "message"),
    [
        (LogoOverlay, {"scales": {"star": [0.05, 0.06]}}, "logo: star in none of 20 ways on 320x320, an empty"),
        (LogoOverlay, {"scale": [0.7, 0.9]}, "bolt and cross in none"),
        (LogoOverlay, {"padding": 150}, "overlays.logo: bolt in none"),
        (LogoOverlay, {"positions": {"star": [0, 0, 0.6, 0.6], "disc": [0.5, 0.5, 1, 1], "bolt": [0, 0.7, 0.3, 1]}},
         "star and disc in none|disc and star in none"),
        (LogoOverlay, {"positions": {"star": [0, 0, 40, 40], "disc": [290, 9, 400, 99], "bolt": [0, 99, 40, 140]}},
         "disc in none"),
        (TextOverlay, {"padding": 0.5}, r"overlays\.text: '.*' does not fit in 10 px on 320x320, an empty photo"),
        (TextOverlay, {"max_height": 5}, "does not fit in 10 px"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_hold_are_refused_before_anything_is_drawn(tmp_path, overlay, changes, message):
    kind = "logo" if overlay is LogoOverlay else "text"
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "photos", tmp_path / "set", overlays={kind: overlay(**changes)})
    assert not (tmp_path / "set").exists()


def test_hugging_face_dataset_loads_from_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    dataset = prepare(numbered(tmp_path / "photos", 12), tmp_path / "set", save_hf=True, **FEW)
    loaded = datasets.load_from_disk(str(dataset.root / "hf"))
    manifest = dataset.manifest.assign(file=[str(dataset.root / path) for path in dataset.manifest["path"]])
    manifest = manifest.set_index("file")
    assert {*loaded} == {*manifest["split"]} and loaded.num_rows["train"] > 0
    assert sum(loaded.num_rows.values()) == 2 * 2 * (dataset.manifest["kind"] == "anchor").sum()
    for split, of in loaded.items():
        assert of.column_names == ["anchor", "pos", "neg", "semipos", "caption"]
        rows = of.to_pandas()
        assert (rows["semipos"][::2] == 0).all() and (rows["semipos"][1::2] > 0).all()
        assert (manifest.loc[rows["pos"], "semipos_distance"].to_numpy() == rows["semipos"]).all()
        assert (manifest.loc[rows["anchor"], "caption"].to_numpy() == rows["caption"]).all()
        assert (manifest.loc[rows["neg"], "split"] == split).all() and (
            manifest.loc[rows["pos"], "split"] == split
        ).all()
    assert loaded["train"].cast_column("anchor", datasets.Image())[0]["anchor"].size == (160, 200)


def test_hugging_face_dataset_needs_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"save_hf=true: needs the package 'datasets'.*fashionclip\[hf\]"):
        prepare(numbered(tmp_path / "photos", 2), tmp_path / "set", save_hf=True)
    assert not (tmp_path / "set").exists()
