import csv
import random
import subprocess
import sys

import pytest
from PIL import Image

from fashionclip.drawing import catalog as module
from fashionclip.drawing.catalog import draw_items, draw_shot, write_demo_catalog
from fashionclip.drawing.garments import ARTICLES, COLOURS, PATTERNS, SOLID, DrawnItem, draw_texture
from fashionclip.errors import InputError

HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return write_demo_catalog(tmp_path_factory.mktemp("demo") / "raw", items=14, shots=3, workers=0)


def read_rows(folder):
    with (folder / "styles.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_item(*, pattern=SOLID, colour="Red", accent="", article="Shirts"):
    return DrawnItem(
        article=article,
        gender="Men",
        colour=colour,
        accent=accent,
        pattern=pattern,
        sleeve="Long Sleeve",
        length="",
        brand="Nordlund",
        season="Summer",
        year=2015,
    )


def test_same_seed_gives_the_same_bytes_in_one_process_and_in_two(catalog, tmp_path):
    again = write_demo_catalog(tmp_path / "again", items=14, shots=3, workers=2)
    assert read_bytes(again) == read_bytes(catalog)


def test_another_seed_gives_other_items_and_other_pictures(catalog, tmp_path):
    other = write_demo_catalog(tmp_path / "other", items=2, shots=1, seed=1)
    assert read_rows(other)[0]["productDisplayName"] != read_rows(catalog)[0]["productDisplayName"]
    item = make_item()
    assert draw_shot(item, shot=1, seed=0).tobytes() != draw_shot(item, shot=1, seed=1).tobytes()


def test_every_row_has_a_readable_photo_and_every_photo_a_row(catalog):
    ids = [row["id"] for row in read_rows(catalog)]
    assert len(ids) == len(set(ids)) == 42
    assert {path.name for path in (catalog / "images").iterdir()} == {f"{photo_id}.jpg" for photo_id in ids}
    for photo_id in ids:
        with Image.open(catalog / "images" / f"{photo_id}.jpg") as photo:
            photo.load()
            assert (photo.format, photo.mode, photo.size) == ("JPEG", "RGB", (240, 320))


def test_table_has_the_columns_of_the_release_and_no_empty_cell(catalog):
    assert (catalog / "styles.csv").read_text(encoding="utf-8").splitlines()[0] == HEADER
    assert all(value for row in read_rows(catalog) for value in row.values())


def test_shots_of_an_item_differ_in_nothing_but_the_id(catalog):
    rows = [{**row, "id": ""} for row in read_rows(catalog)]
    assert rows[0::3] == rows[1::3] == rows[2::3]
    assert len({row["productDisplayName"] for row in rows}) == 14


def test_items_are_distinct_and_spread_evenly():
    items = draw_items(count=3000, seed=0)
    assert len({item.name.removeprefix(item.brand) for item in items}) == 3000
    articles = [item.article for item in items[: 10 * len(ARTICLES)]]
    assert {articles.count(article) for article in ARTICLES} == {10}
    assert {item.pattern for item in items[:60]} == set(PATTERNS)


def test_name_tells_every_attribute():
    for item in draw_items(count=500, seed=3):
        colours = [item.colour, "and", item.accent] if item.accent else [item.colour]
        words = [item.brand, item.gender, *colours, item.pattern, item.sleeve, item.length, ARTICLES[item.article].noun]
        assert item.name == " ".join(word for word in words if word)
        assert bool(item.accent) == (item.pattern != SOLID)


def test_every_cut_of_every_article_can_be_drawn():
    cuts = {(item.article, item.gender, item.sleeve, item.length): item for item in draw_items(count=900, seed=0)}
    assert {article for article, *_ in cuts} == set(ARTICLES)
    for item in cuts.values():
        shop, user = (draw_shot(item, shot=shot, seed=0, size=(60, 80)) for shot in (0, 1))
        assert shop.size == user.size == (60, 80)
        assert shop.tobytes() != user.tobytes()


@pytest.mark.parametrize("colour", COLOURS)
def test_solid_shop_shot_shows_the_named_colour(colour):
    photo = draw_shot(make_item(colour=colour), shot=0, seed=0)
    # A piece of cloth beside the buttons and below the pocket.
    red, green, blue = photo.crop((128, 175, 150, 220)).resize((1, 1), Image.Resampling.BOX).tobytes()
    distances = {name: abs(red - rgb[0]) + abs(green - rgb[1]) + abs(blue - rgb[2]) for name, rgb in COLOURS.items()}
    assert min(distances, key=distances.__getitem__) == colour


@pytest.mark.parametrize("pattern", PATTERNS[1:-1])
def test_base_colour_covers_more_than_the_accent_and_both_are_seen(pattern):
    item = make_item(pattern=pattern, accent="White")
    cloth = draw_texture(item=item, side=200, rng=random.Random(0))
    pixels = [*zip(*[iter(cloth.convert("RGB").tobytes())] * 3, strict=True)]
    base, accent = pixels.count(COLOURS["Red"]), pixels.count(COLOURS["White"])
    assert base > 1.4 * accent
    assert accent > 0.04 * len(pixels)


def test_unfinished_catalogue_is_redone(tmp_path, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    folder = tmp_path / "raw"
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            write_demo_catalog(folder, items=6, shots=1, seed=5)
    assert not any(tmp_path.iterdir()), "whole or not at all"
    write_demo_catalog(folder, items=2, shots=2)
    assert read_bytes(folder) == read_bytes(write_demo_catalog(tmp_path / "fresh", items=2, shots=2))


def test_finished_catalogue_is_never_overwritten(catalog):
    before = read_bytes(catalog)
    with pytest.raises(InputError, match=r"styles\.csv: found a catalogue, expected none\. Remove it"):
        write_demo_catalog(catalog, items=1)
    assert read_bytes(catalog) == before


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"items": 0}, "items: got 0, expected at least 1"),
        ({"shots": 0}, "shots: got 0, expected at least 1"),
        ({"items": 1_000_000}, r"items: got 1,000,000, expected at most [\d,]+, .* Ask for fewer"),
    ],
)
def test_impossible_counts_are_refused(tmp_path, counts, message):
    with pytest.raises(InputError, match=message):
        write_demo_catalog(tmp_path / "raw", **counts)
    assert not (tmp_path / "raw").exists()


def test_photos_of_others_are_left_alone(tmp_path):
    photo = tmp_path / "images" / "1000001.jpg"
    photo.parent.mkdir()
    photo.write_text("mine")
    with pytest.raises(InputError, match=r"holds something but no catalogue .*left alone"):
        write_demo_catalog(tmp_path, items=2, shots=1)
    assert photo.read_text() == "mine"


def test_two_processes_draw_it_once(tmp_path):
    script = "import sys; from pathlib import Path; from fashionclip.drawing.catalog import write_demo_catalog\n"
    script += "write_demo_catalog(Path(sys.argv[1]), items=6, shots=2, workers=0)"
    started = [subprocess.Popen([sys.executable, "-c", script, tmp_path / "raw"]) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    expected = write_demo_catalog(tmp_path / "alone", items=6, shots=2, workers=0)
    assert read_bytes(tmp_path / "raw") == read_bytes(expected)
