import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.retrieval.index import sqlite_store
from fashionclip.retrieval.index.index import update_index
from fashionclip.retrieval.index.index_source import read_source
from fashionclip.retrieval.search.search import NEGATIVE_WEIGHT, Hit, Query, Searcher

SERVER = os.environ.get("FASHIONCLIP_MILVUS")  # see test_stores.py
STRIP = Path(__file__).parents[2] / "assets" / "cases" / "strip" / "line.png"
STORES = {"faiss": None, "milvus-lite": "photos.db"} | ({"milvus-server": SERVER} if SERVER else {})


@pytest.fixture(params=list(STORES.values()), ids=list(STORES), scope="module")
def searcher(request, shared_shop, tmp_path_factory, encoder, export):
    for name in ("a.png", "b.png"):  # as 05.png
        shutil.copy(shared_shop / "05.png", shared_shop / name)
    source = read_source(shared_shop, table=shared_shop.parent / "table.csv")
    folder = tmp_path_factory.mktemp("indexes")
    update_index(folder, encoder, source, export=export, milvus=request.param)
    searcher = Searcher.open(folder)
    yield searcher
    searcher.store.close()


def unit(vector):
    return vector / np.linalg.norm(vector)


def slow_scores(searcher, vector):
    """Cosine of each photo, encoded one by one."""
    ids = sorted(searcher.store.known())
    photos = [searcher.encoder.images([load_image(searcher.photo(one))])[0] for one in ids]
    return {one: round(float(np.dot(unit(vector), photo)), 5) for one, photo in zip(ids, photos, strict=True)}


def assert_nearest(searcher, hits, vector, *, without=()):
    scores = slow_scores(searcher, vector)
    expected = sorted((one for one in scores if one not in without), key=lambda one: (-scores[one], one))
    assert [hit.image_id for hit in hits] == expected[: len(hits)]
    np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.image_id] for hit in hits], atol=2e-5)


def test_every_kind_of_query(searcher, shared_shop):
    shop = shared_shop
    text, negative, photo = (
        searcher.encoder.texts(["red dress"])[0],
        searcher.encoder.texts(["blue"])[0],
        searcher.encoder.images([load_image(shop / "07.png")])[0],
    )
    picture = load_image(shop / "07.png")
    asked = {
        "text": (Query(text="red dress"), text),
        "photo": (Query(image=picture), photo),
        "both": (Query(text="red dress", image=picture, image_weight=0.3), 0.7 * text + 0.3 * photo),
        "only the photo": (Query(text="red dress", image=picture, image_weight=1.0), photo),
        "like": (Query(like="07.png"), photo),
        "negative": (Query(text="red dress", negative="blue"), text - NEGATIVE_WEIGHT * negative),
        "all": (
            Query(text="red dress", like="07.png", negative="blue"),
            unit((text + photo) / 2) - NEGATIVE_WEIGHT * negative,
        ),
    }
    together = searcher.search_many([query for query, _ in asked.values()], top_k=14)
    for (kind, (query, vector)), hits in zip(asked.items(), together, strict=True):
        alone = searcher.search(query, top_k=14)
        assert [hit.image_id for hit in alone] == [hit.image_id for hit in hits], kind
        without = [query.like] if query.like else []
        assert len(hits) == 14 - len(without), kind
        assert_nearest(searcher, hits, vector, without=without)
    assert searcher.search_text("red dress", 3) == searcher.search(Query(text="red dress"), 3)
    for image in (picture, shop / "07.png", str(shop / "07.png")):
        assert searcher.search_image(image, 2)[0].image_id == "07.png"


def test_equal_photos_come_by_image_id(searcher):
    found = searcher.search(Query(like="05.png"), 2)
    assert [hit.image_id for hit in found] == ["a.png", "b.png"] and found[0].score == found[1].score
    assert [hit.image_id for hit in searcher.search_image(searcher.photo("b.png"), 1)] == ["05.png"]


def test_filters(searcher):
    queries = [
        Query(text="dress", where="price < 20"),
        Query(text="dress"),
        Query(text="coat", where="PRICE < 20"),
        Query(text="dress", where="main_colour = 'Red' and not size in (36, 39)"),
        Query(text="dress", where=" "),
        Query(text="dress", where="price > 1000"),
        Query(like="00.png", where="main_colour = 'Red'"),
    ]
    found = [sorted(hit.image_id for hit in hits) for hits in searcher.search_many(queries, 100)]
    assert found[0] == found[2] == ["00.png", "01.png", "02.png", "03.png"]
    assert len(found[1]) == len(found[4]) == 14
    assert found[3] == ["06.png", "09.png"] and found[5] == []
    assert found[6] == ["03.png", "06.png", "09.png"], "a photo is not like itself"


def test_a_hit_says_what_is_known(searcher, shared_shop):
    hit = searcher.hit("06.png")
    assert hit == Hit(
        "06.png", "s3", 1.0, "Dress 6", "Dresses", {"Price": 33.0, "Size": 42, "Main Colour": "Red", "code": "06"}
    )
    assert searcher.photo("new/11.png") == (shared_shop / "new" / "11.png").resolve()
    assert len(searcher) == 14
    for ask in (searcher.hit, searcher.photo):
        with pytest.raises(KeyError):
            ask("nobody")
    fields = searcher.fields
    assert fields["Price"] == (0.0, 55.0) and fields["Main Colour"] == ["Red", "Blue"]
    assert "text" not in fields and "image_id" not in fields


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(), "empty query"),
        (Query(text="  ", negative="blue"), "empty query"),
        (Query(text="a", where="price <"), "cannot be read"),
        (Query(text="a", where="nothing = 1"), "no field 'nothing'"),
        (Query(like="nobody"), "no photo of that image_id"),
        (Query(text="a", image_weight=1.5), "between 0 and 1"),
        (Query(text="a", group_by="nothing"), r"no field 'nothing' to group by; has \['Main Colour', "),
    ],
)
def test_wrong_queries_are_refused(searcher, query, message):
    with pytest.raises(InputError, match=message):
        searcher.check(query)
    with pytest.raises(InputError, match=message):
        searcher.search_many([Query(text="fine"), query])
    with pytest.raises(InputError, match="top_k=0"):
        searcher.search_text("a", 0)


def test_products_are_found_by_their_best_photos(searcher):
    hits = searcher.search_text("red dress", 50)
    values = {"item": lambda hit: hit.item_id, "main colour": lambda hit: hit.attributes.get("Main Colour")}
    for name, value in values.items():
        firsts = {}
        for hit in hits:
            firsts.setdefault(value(hit) or hit.image_id, hit)
        for top_k in (1, 3, 50):
            found = searcher.search(Query(text="red dress", group_by=name), top_k)
            assert found == list(firsts.values())[:top_k]
    like = [hit.item_id for hit in searcher.search(Query(like="02.png", group_by="item_id"), 50)]
    assert "s1" not in like and len(like) == len({hit.item_id for hit in hits}) - 1, "a product is not like itself"
    queries = [Query(text="red dress", group_by="item"), Query(text="red dress")]
    assert searcher.search_many(queries, 5) == [searcher.search(query, 5) for query in queries]


def test_threads_may_share_a_searcher(searcher):
    words = [f"{colour} {kind}" for colour in ("red", "blue") for kind in ("dress", "shirt", "coat", "shoe")]
    one_by_one = [searcher.search_text(word, 5, where="price < 40") for word in words]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda word: searcher.search_text(word, 5, where="price < 40"), words)) == one_by_one


@pytest.fixture
def made(shop, tmp_path, encoder, export):
    update_index(tmp_path / "index", encoder, read_source(shop), export=export)
    return tmp_path / "index"


def test_the_export_must_be_the_one_that_made_the_index(made, export, other_export, tmp_path):
    with pytest.raises(InputError, match="was not made by"):
        Searcher.open(made, export=other_export)
    shutil.copytree(export, tmp_path / "moved")
    assert len(Searcher.open(made, export=tmp_path / "moved")) == 12
    facts = json.loads((made / "index.json").read_text())
    (made / "index.json").write_text(json.dumps(facts | {"export": str(other_export)}))
    with pytest.raises(InputError, match="was not made by"):
        Searcher.open(made)
    (made / "index.json").write_text(json.dumps(facts | {"export": str(tmp_path / "gone")}))
    with pytest.raises(InputError, match="no export there"):
        Searcher.open(made)


def test_an_index_must_be_one(made, tmp_path):
    with pytest.raises(InputError, match="no index there"):
        Searcher.open(tmp_path)
    facts = json.loads((made / "index.json").read_text())
    (made / "index.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        Searcher.open(made)


def test_photos_deleted_meanwhile_are_left_out(made, shop, encoder, export):
    searcher = Searcher.open(made)
    assert len(searcher.search_text("dress", 50)) == 12
    (shop / "00.png").unlink()
    update_index(made, encoder, read_source(shop), export=export)
    assert len(searcher.search_text("dress", 50)) == 11


def test_what_is_indexed_meanwhile_is_found(made, shop, encoder, export, tmp_path, monkeypatch):
    searcher = Searcher.open(made)
    assert len(searcher.search_text("dress", 50)) == 12
    Image.new("RGB", (60, 80), "red").save(shop / "new.png")
    (tmp_path / "prices.csv").write_text("image,price\nnew.png,30\n")
    update_index(made, encoder, read_source(shop, table=tmp_path / "prices.csv"), export=export)
    assert "price" in searcher.fields
    assert len(searcher.search_text("dress", 50)) == 12, "not looked at again at once"
    monkeypatch.setattr(sqlite_store, "FRESH", 0.0)
    assert len(searcher.search_text("dress", 50)) == 13
    assert [hit.image_id for hit in searcher.search_text("dress", 50, where="price < 50")] == ["new.png"]
    (shop / "new.png").unlink()
    update_index(made, encoder, read_source(shop), export=export)
    assert "new.png" not in [hit.image_id for hit in searcher.search_text("dress", 50)]


def test_a_large_photo_may_be_asked_with(made, tmp_path):
    Image.new("RGB", (900, 600), "red").save(tmp_path / "large.jpg")
    searcher = Searcher.open(Path(made))
    assert len(searcher.search_image(tmp_path / "large.jpg", 3)) == 3
    assert len(searcher.search_image(STRIP, 3)) == 3
