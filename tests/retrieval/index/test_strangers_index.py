"""An index that somebody else has made, and not to be searched."""

import json
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from fastapi.testclient import TestClient

from fashionclip.app.cli import main
from fashionclip.app.page.app import create_app
from fashionclip.errors import InputError
from fashionclip.images import UnreadableImageError
from fashionclip.retrieval.index.store import StoreUnavailable
from fashionclip.retrieval.search.search import Searcher


def rewrite(index, **facts):
    file = index / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def execute(index, *statements):
    with closing(sqlite3.connect(index / "photos.sqlite")) as database, database:
        for statement in statements:
            database.execute(statement)


def test_an_export_is_compared_before_it_is_loaded(index, other_export, monkeypatch):
    def load(*args, **named):
        raise AssertionError("loaded")

    monkeypatch.setattr("fashionclip.retrieval.encoder.load_backbone", load)
    with pytest.raises(InputError, match="was not made by"):
        Searcher.open(index, export=other_export)
    rewrite(index, export=str(other_export))
    with pytest.raises(InputError, match="was not made by"):
        Searcher.open(index)


def test_photos_outside_of_their_folder_are_nobodys(index, shop, photo, tmp_path):
    photo(tmp_path / "private" / "secret.png", 99)
    (shop / "link.png").symlink_to(tmp_path / "private" / "secret.png")
    (shop / "folder").symlink_to(tmp_path / "private")
    (shop / "circle.png").symlink_to(shop / "circle.png")
    paths = ["../private/secret.png", str(tmp_path / "private" / "secret.png"), "new/../../private/secret.png"]
    paths += ["link.png", "folder/secret.png", "circle.png", "zero\0.png"]
    for number, path in enumerate(paths):
        with closing(sqlite3.connect(index / "photos.sqlite")) as database, database:
            database.execute("update photos set path = ? where image_id = ?", [path, f"{number:02}.png"])
    searcher = Searcher.open(index, photos=shop)
    with TestClient(create_app(searcher)) as client:
        for number, path in enumerate(paths):
            with pytest.raises(UnreadableImageError, match="Index again"):
                searcher.photo(f"{number:02}.png")
            answer = client.get(f"/images/{number:02}.png")
            assert answer.status_code == 404 and str(tmp_path) not in answer.text, path
        assert client.get("/images/08.png").status_code == 200
    (shop / "inner.png").symlink_to(shop / "08.png")
    execute(index, "update photos set path = 'inner.png' where image_id = '09.png'")
    assert Searcher.open(index).photo("09.png") == (shop / "08.png").resolve()
    with pytest.raises(SystemExit, match=r"error: .* lies outside of .*Index again"):
        main(["search", str(index), "--like", "08.png", "-k", "12"])


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n)"


@pytest.mark.parametrize(
    "statements",
    [
        [
            "alter table photos rename to theirs",
            f"create view photos as {ENDLESS} select i as row, 'a' as image_id, 'a' as item_id, 'a' as path, 'a' as "
            "text, '' as category, '{}' as attributes, 'a' as content, 'a' as digest, x'00' as embedding from n",
        ],
        ["create trigger t before delete on photos begin select 1; end"],
        ["create table other (a)"],
        ["alter table photos add column more as (hex(zeroblob(100000000)))"],
        ["drop table photos", "create table photos (row, image_id, embedding)"],
    ],
)
def test_a_file_with_anything_but_the_table_is_refused(index, statements):
    execute(index, *statements)
    with pytest.raises(StoreUnavailable, match=r"photos\.sqlite: cannot be used"):
        Searcher.open(index)
    with pytest.raises(SystemExit, match=r"error: .*photos\.sqlite: cannot be used"):
        main(["search", str(index), "dress"])


@pytest.mark.parametrize(
    "statement",
    [
        "update photos set embedding = x'0000' where image_id = '03.png'",
        "update photos set embedding = 'text' where image_id = '03.png'",
        f"update photos set embedding = x'{np.full(16, np.nan, '<f4').tobytes().hex()}' where image_id = '03.png'",
        "update photos set attributes = '{' where image_id = '03.png'",
        "update photos set attributes = '[1]' where image_id = '03.png'",
        "update photos set attributes = '{\"price\": [1]}' where image_id = '03.png'",
        "update photos set attributes = '{\"price\": NaN}' where image_id = '03.png'",
        "update photos set text = x'ff' where image_id = '03.png'",
    ],
)
def test_rows_that_are_not_as_they_must_be_are_one_message(index, statement):
    execute(index, statement)
    with pytest.raises(SystemExit, match=r"error: .*photos\.sqlite: cannot be used"):
        main(["search", str(index), "dress", "-k", "12"])


def test_a_torn_file_is_one_message(index):
    file = index / "photos.sqlite"
    data = bytearray(file.read_bytes())
    data[len(data) // 3 :] = b"\xff" * (len(data) - len(data) // 3)
    for torn in (b"no database at all" * 100, bytes(data)):
        file.write_bytes(torn)
        with pytest.raises(SystemExit, match=r"error: .*photos\.sqlite: cannot be used"):
            main(["search", str(index), "dress", "-k", "12"])


@pytest.mark.parametrize(
    "facts",
    [
        {"size": "16"},
        {"size": 10**9},
        {"source": None},
        {"milvus": "../elsewhere.db"},
        {"milvus": "/etc/photos.db"},
        {"milvus": "file:///etc/photos.db"},
        {"milvus": "http://user:password@host"},
        {"collection": 'a"b'},
        {"fields": {"price": {"kind": "number", "range": [1, float("nan")]}}},
        {"fields": {"price": {"kind": "other"}}},
        {"fields": {"price": {}}},
        {"fields": ["price"]},
        {"more": 1},
    ],
)
def test_facts_that_nobody_wrote_are_refused(index, facts):
    rewrite(index, **facts)
    with pytest.raises(SystemExit, match=r"error: .*index\.json: is not as `fashionclip index` writes it"):
        main(["search", str(index), "dress"])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"format": 7}'])
def test_a_broken_index_json_is_one_message(index, text):
    (index / "index.json").write_text(text)
    with pytest.raises(SystemExit, match=r"error: .*index\.json: (cannot be read|format)"):
        main(["search", str(index), "dress"])


@pytest.mark.parametrize("harm", ["gone", "broken", "strange", "folder gone"])
def test_an_index_lost_while_it_is_served_says_so_without_its_place(index, shop, harm, tmp_path):
    with TestClient(create_app(Searcher.open(index, photos=shop))) as client:
        assert client.get("/api/search", params={"q": "dress"}).status_code == 200
        file = index / "index.json"
        kept = file.read_text()
        if harm == "folder gone":
            shutil.rmtree(index)
        elif harm == "gone":
            file.unlink()
        else:
            file.write_text({"broken": "{", "strange": '{"format": 1}'}[harm])
        for path in ("/api/search?q=dress", "/?q=dress", "/", "/api/search?q=dress&where=category%20is%20null"):
            answer = client.get(path)
            assert answer.status_code == 503, (path, answer.text)
            assert str(tmp_path) not in answer.text and "index cannot be read just now" in answer.text
        if harm != "folder gone":
            file.write_text(kept + " ")
            assert client.get("/?q=dress").status_code == 200
