"""`fashionclip index` and `fashionclip search`, with a model that is a stand-in: its embedding of a photo is its mean
colour, and of a text the colour that it names."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from fashionclip.app.cli import main

pytestmark = pytest.mark.usefixtures("colours")


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, colour in {"rose": "red", "cherry": "#dd1111", "leaf": "green", "sky": "#2222ee"}.items():
        Image.new("RGB", (60, 80), colour).save(folder / f"{name}.png")
    (tmp_path / "table.csv").write_text(
        "image,title,category,price\nrose.png,Rose [red] dress,Dress,30\ncherry.png,Cherry :) top,Top,60\n"
        "leaf.png,Leaf,Dress,10\n"
    )
    return folder


@pytest.fixture
def index(tmp_path, shop):
    (shop / "torn.jpg").write_bytes(b"torn")
    to = tmp_path / "index"
    main(["index", str(tmp_path), str(shop), "--to", str(to), "--table", str(tmp_path / "table.csv")])
    return to


def test_index_says_what_it_did(index, shop, tmp_path, capsys):
    capsys.readouterr()
    main(["index", str(tmp_path), str(shop), "--to", str(index)])
    out = capsys.readouterr().out
    assert "unreadable: torn.jpg: cannot identify image file\n" in out and f"{index / 'unreadable.csv'}" in out
    assert "(4 photos: 0 added, 0 with other pixels, 3 with another text" in out
    (shop / "torn.jpg").unlink()
    (shop / "sky.png").unlink()
    arrays = tmp_path / "arrays.npz"
    main(
        [
            "index",
            str(tmp_path),
            str(shop),
            "--to",
            str(index),
            "--table",
            str(tmp_path / "table.csv"),
            "--npz",
            str(arrays),
        ]
    )
    out = capsys.readouterr().out
    assert "3 with another text or attributes, 0 unchanged; 1 deleted" in out and "unreadable" not in out
    with np.load(arrays) as loaded:
        assert loaded["image_names"].tolist() == ["cherry.png", "leaf.png", "rose.png"]


def test_the_table_of_hits(index, capsys):
    capsys.readouterr()
    main(["search", str(index), "red", "-k", "2"])
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if ".png" in line]
    assert [line.split("│")[3].strip() for line in lines] == ["rose.png", "cherry.png"]
    main(["search", str(index), "red", "-k", "1", "--group-by", "item"])
    assert "item_id" not in out and "item_id" in capsys.readouterr().out
    assert "Rose [red] dress" in out and "Cherry :) top" in out and "Dress" in lines[0]


def search_json(capsys, *arguments):
    capsys.readouterr()
    main(["search", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def test_json_and_nothing_else(index, shop, capsys):
    hits = search_json(capsys, index, "red", "-k", "9")
    assert [hit["image_id"] for hit in hits][:2] == ["rose.png", "cherry.png"] and len(hits) == 4
    assert hits[0] == {
        "rank": 1,
        "image_id": "rose.png",
        "item_id": "rose.png",
        "score": pytest.approx(1.0, abs=1e-3),
        "text": "Rose [red] dress",
        "category": "Dress",
        "attributes": {"price": 30},
        "photo": str((shop / "rose.png").resolve()),
    }


def test_all_that_can_be_asked(index, shop, capsys):
    def found(*arguments):
        return [hit["image_id"] for hit in search_json(capsys, index, *arguments)]

    assert found("red", "--where", "price < 50 and category = 'Dress'") == ["rose.png", "leaf.png"]
    assert found("--image", shop / "sky.png")[0] == "sky.png"
    assert found("--like", "rose.png")[0] == "cherry.png"
    assert found("red", "--image", shop / "leaf.png", "--image-weight", "0.9")[0] == "leaf.png"
    assert found("red green", "--negative", "red")[0] == "leaf.png"
    assert found("red", "--group-by", "category", "-k", "3") == ["rose.png", "cherry.png", "sky.png"]
    assert found("--image-weight", "0.9", "--like", "rose.png", "green")[0] == "cherry.png", "a text behind options"


def test_the_grid_shows_photos_and_captions(index, shop, tmp_path, capsys):
    picture = tmp_path / "grid.png"
    main(["search", str(index), "red $x$", "--image", str(shop / "leaf.png"), "-k", "6", "--grid", str(picture)])
    with Image.open(picture) as drawn:
        pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    for colour in ((255, 0, 0), (0xDD, 0x11, 0x11), (0, 128, 0), (0x22, 0x22, 0xEE)):
        share = (np.abs(pixels.astype(int) - colour).max(axis=1) < 4).mean()
        assert share > 0.03, colour
    for place in (tmp_path / "nowhere" / "grid.png", tmp_path, tmp_path / "grid"):
        with pytest.raises(SystemExit, match=r"--grid .*: expected a picture's name, such as found\.png, in a folder"):
            main(["search", str(index), "red", "--grid", str(place)])


@pytest.mark.parametrize("end", ["", "exit", " Quit "])
def test_without_a_query_it_asks(end, index, capsys, monkeypatch):
    lines = iter(["red", "nothing = here", "green", end])
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return next(lines)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    capsys.readouterr()
    main(["search", str(index), "-k", "1"])
    out = capsys.readouterr().out
    assert asked == ["Query: "] * 4
    assert [name for name in ("rose.png", "leaf.png") if name in out] == ["rose.png", "leaf.png"]


def test_a_mistake_does_not_end_the_prompt(index, capsys, monkeypatch):
    def answer(prompt, lines=iter(["red", "green"])):  # noqa: B008
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    capsys.readouterr()
    main(["search", str(index), "--where", "colour = 'Red'"])
    assert capsys.readouterr().err.count("error: filter: no field 'colour'") == 2


def test_mistakes_are_one_message(index, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    for arguments, message in {
        (str(index),): "empty query",
        (str(tmp_path), "red"): "no index there",
        (str(index), "red", "--image", "none.jpg"): "no such photo",
        (str(index), "--like", "nobody"): "no photo of that image_id",
    }.items():
        with pytest.raises(SystemExit, match=message):
            main(["search", *arguments])


def test_what_milvus_says_of_a_filter_is_one_message(tmp_path, shop, monkeypatch):
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    def search(*arguments, **named):
        error = MilvusException(65535, "cannot parse expression: it, error: unsupported pattern: %it")
        raise error from error  # as its client does

    index = str(tmp_path / "index")
    main(["index", str(tmp_path), str(shop), "--to", index, "--milvus", "photos.db"])
    monkeypatch.setattr(MilvusClient, "search", search)
    with pytest.raises(SystemExit, match=r"error: filter: Milvus .* cannot evaluate it \(unsupported pattern: %it\)"):
        main(["search", index, "red", "--where", "image_id like '%it'"])
    with pytest.raises(SystemExit, match=r"error: .*photos\.db: Milvus gives no answer \(unsupported pattern"):
        main(["search", index, "red"])


def test_names_and_texts_give_the_terminal_no_commands(tmp_path, shop, capsys):
    Image.new("RGB", (60, 80), "red").save(shop / "a\x1b[2Jb.png")
    (shop / "c\x1b]0;x\x07.png").write_bytes(b"torn")
    (tmp_path / "table.csv").write_text("image,title\n" + "".join(f"{one.name},Rose\x9b2J\n" for one in shop.iterdir()))
    index = str(tmp_path / "index")
    main(["index", str(tmp_path), str(shop), "--to", index, "--table", str(tmp_path / "table.csv")])
    main(["search", index, "red", "-k", "9"])
    main(["search", index, "red", "-k", "9", "--json"])
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x07", "\x9b"}
    assert r"unreadable: c\u001b]0;x\u0007.png" in out and r"a\u001b[2Jb.png" in out and r"Rose\u009b2J" in out
    hits = json.loads(out[out.rindex("\n[") :])
    assert "a\x1b[2Jb.png" in [hit["image_id"] for hit in hits] and hits[0]["text"] == "Rose\x9b2J"


def test_a_filter_that_lets_nothing_through_says_what_there_is(index, capsys):
    capsys.readouterr()
    main(["search", str(index), "red", "--where", "category = 'dress' and (price > 99 or text like 'x')"])
    assert capsys.readouterr().out.splitlines() == [
        "nothing found: the filter lets no photo through",
        "category has 'Dress', 'Top'",
        "price is from 10 to 60",
        "text has too many values to list; like 'A%' finds those that begin so",
    ]
    fields = r"\['category', 'image_id', 'item_id', 'price', 'text'\]"
    with pytest.raises(SystemExit, match=rf"no field 'colour'; has {fields}"):
        main(["search", str(index), "red", "--where", "colour = 'Red'"])


def test_photos_of_another_folder_take_no_place_unasked(index, shop, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (60, 80), "blue").save(other / "ink.png")
    kept = (index / "index.json").read_text()
    with pytest.raises(SystemExit, match=rf"is an index of {shop}, whose photos would be deleted .* --other-photos"):
        main(["index", str(tmp_path), str(other), "--to", str(index)])
    assert (index / "index.json").read_text() == kept
    assert len(search_json(capsys, index, "red", "-k", "9")) == 4
    main(["index", str(tmp_path), str(other), "--to", str(index), "--other-photos"])
    assert [hit["image_id"] for hit in search_json(capsys, index, "red", "-k", "9")] == ["ink.png"]


def test_a_folder_of_something_else_is_left_alone(shop, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letters.txt").write_text("mine")
    for to, message in {
        foreign: r"holds \['letters.txt'\] and is no index",
        shop: "and is no index, so it is left alone",
        tmp_path / "table.csv": "is a file. Expected a folder",
    }.items():
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(SystemExit, match=message):
            main(["index", str(tmp_path), str(shop), "--to", str(to)])
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "empty").mkdir()
    main(["index", str(tmp_path), str(shop), "--to", str(tmp_path / "empty")])


def test_devices_and_arrays_are_checked_before_the_work(shop, tmp_path):
    command = ["index", str(tmp_path), str(shop), "--to", str(tmp_path / "new")]
    for device in ("foo", "cuda:99", "meta", ""):
        with pytest.raises(
            SystemExit, match=rf"error: --device {device}: no device of this machine. Expected one of auto, cpu"
        ):
            main([*command, "--device", device])
    for file in (tmp_path / "nowhere" / "a.npz", tmp_path / "a.npy", tmp_path):
        with pytest.raises(SystemExit, match=r"error: --npz .*: expected a file that ends in \.npz"):
            main([*command, "--npz", str(file)])
    assert not (tmp_path / "new").exists()


def test_an_index_of_a_dataset_that_the_model_was_not_trained_on_says_so(colours, demo_dataset, tmp_path, capsys):
    own = {"fingerprint": demo_dataset.info["fingerprint"]}
    for number, data in enumerate((own, {"fingerprint": "other"}, "odd", None)):
        colours.facts["data"] = data
        main(["index", str(tmp_path), str(demo_dataset.root), "--to", str(tmp_path / str(number))])
        said = "another dataset than the model was trained on" in capsys.readouterr().out
        assert said == (number == 1)
