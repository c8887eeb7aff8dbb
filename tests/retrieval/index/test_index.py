import csv
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fashionclip.atomic import locked
from fashionclip.errors import InputError
from fashionclip.retrieval.index import index
from fashionclip.retrieval.index.index import update_index
from fashionclip.retrieval.index.index_folder import open_store, read_facts
from fashionclip.retrieval.index.index_source import read_source
from fashionclip.retrieval.index.npz import write_npz
from fashionclip.retrieval.search.search import Searcher

CASES = Path(__file__).parents[2] / "assets" / "cases"


class Counting:
    """An encoder that counts what it encodes."""

    def __init__(self, encoder):
        self.encoder, self.encoded = encoder, 0

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def embed(self, pixels):
        self.encoded += len(pixels)
        return self.encoder.embed(pixels)


@pytest.fixture
def bring_up_to_date(tmp_path, export, encoder):
    """Indexes a shop and says what changed, and how many photos were encoded for it."""

    def run(shop, table=None, **options):
        counting = Counting(encoder)
        changes = update_index(tmp_path / "index", counting, read_source(shop, table=table), export=export, **options)
        return changes, counting.encoded

    return run


def contents(folder):
    with closing(open_store(folder, read_facts(folder))) as store:
        image_ids = sorted(store.known())
        return store.photos(image_ids), dict(zip(image_ids, store.embeddings(image_ids), strict=True))


def counts(changes):
    return (changes.added, changes.updated, changes.described, changes.unchanged, changes.deleted)


def test_the_embeddings_are_the_encoders(shop, bring_up_to_date, encoder, tmp_path):
    from fashionclip.images import load_image

    changes, encoded = bring_up_to_date(shop)
    assert counts(changes) == (12, 0, 0, 0, 0) and encoded == 12
    photos, embeddings = contents(tmp_path / "index")
    assert set(photos) == {*(f"{n:02}.png" for n in range(10)), "new/10.png", "new/11.png"}
    for image_id, photo in photos.items():
        one = encoder.images([load_image(shop / photo.path)])[0]
        np.testing.assert_allclose(embeddings[image_id], one, atol=1e-6)


def test_a_second_run_takes_over_what_has_changed(shop, bring_up_to_date, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 2)
    table = tmp_path / "table.csv"
    bring_up_to_date(shop, table)
    assert counts(bring_up_to_date(shop, table)[0]) == (0, 0, 0, 12, 0)

    photo(shop / "00.png", 100)  # other pixels
    (shop / "01.png").unlink()  # gone
    photo(shop / "extra.png", 101)  # new
    table.write_text(table.read_text().replace("Dress 2", "Coat 2").replace("03.png,s1,Dress 3", "03.png,s1,Dress 3"))
    changes, encoded = bring_up_to_date(shop, table)
    assert counts(changes) == (1, 1, 1, 9, 1) and encoded == 2
    photos, embeddings = contents(tmp_path / "index")
    assert "01.png" not in photos and photos["02.png"].text == "Coat 2"

    shutil.rmtree(tmp_path / "index")
    bring_up_to_date(shop, table)
    fresh_photos, fresh = contents(tmp_path / "index")
    assert photos == fresh_photos
    for image_id in fresh:
        np.testing.assert_allclose(embeddings[image_id], fresh[image_id], atol=1e-6)


def test_an_index_of_means_stays_right(shop, bring_up_to_date, photo, encoder, tmp_path):
    from fashionclip.images import load_image

    table = tmp_path / "table.csv"

    def assert_means(**products):
        """Compares the index with the products, each a list of photos, of which those in capitals cannot be read."""
        photos, embeddings = contents(tmp_path / "index")
        expected = {names[0]: names for names in products.values()}
        assert set(photos) == {f"{first}.png" for first in expected}
        for first, names in expected.items():
            vectors = encoder.images([load_image(shop / f"{name}.png") for name in names])
            mean = vectors.mean(axis=0)
            np.testing.assert_allclose(embeddings[f"{first}.png"], mean / np.linalg.norm(mean), atol=1e-6)

    products = {f"s{n}": [f"{2 * n:02}", f"{2 * n + 1:02}"] for n in range(5)}
    products |= {"s5": ["new/10"], "alone": ["new/11"]}
    changes, encoded = bring_up_to_date(shop, table, mean_by="item")
    assert counts(changes) == (7, 0, 0, 0, 0) and changes.indexed == 7 and encoded == 12
    assert_means(**products)

    photo(shop / "01.png", 101)  # the second photo of s0
    (shop / "02.png").unlink()  # the first of s1
    shutil.copy(shop / "00.png", shop / "06.png")  # the first of s3
    (shop / "08.png").write_bytes(b"torn")  # the first of s4
    table.write_text(table.read_text().replace("04.png,s2,Dress 4", "04.png,s2,Coat 4"))
    changes, encoded = bring_up_to_date(shop, table)
    assert counts(changes) == (2, 2, 1, 2, 2) and encoded == 2 + 1 + 2 + 1 and set(changes.unreadable) == {"08.png"}
    products |= {"s1": ["03"], "s4": ["09"]}
    assert_means(**products)
    assert contents(tmp_path / "index")[0]["04.png"].text == "Coat 4"

    changes, encoded = bring_up_to_date(shop, table, mean_by="item_id")
    assert counts(changes) == (0, 0, 0, 7, 0) and encoded == 0 and set(changes.unreadable) == {"08.png"}
    table.write_text(table.read_text().replace("07.png,s3", "07.png,s5"))  # a photo of another product now
    bring_up_to_date(shop, table)
    assert_means(**products | {"s3": ["06"], "s5": ["07", "new/10"]})
    with pytest.raises(InputError, match=r"--mean-by category: .* has one vector for each item_id"):
        bring_up_to_date(shop, table, mean_by="category")
    with pytest.raises(InputError, match="no field 'nothing' to group by"):
        bring_up_to_date(shop, table, mean_by="nothing")
    found = Searcher.open(tmp_path / "index").search_text("dress", 50)
    assert len(found) == len({hit.item_id for hit in found}) == 7


def test_a_filter_chooses_what_is_indexed(shop, bring_up_to_date, tmp_path):
    table = tmp_path / "table.csv"
    bring_up_to_date(shop, table, where="price < 12 or main_colour is null and size > 40", mean_by="item")
    assert sorted(contents(tmp_path / "index")[0]) == ["00.png", "02.png", "05.png", "08.png"]
    assert counts(bring_up_to_date(shop, table)[0]) == (0, 0, 0, 4, 0), "the filter is remembered"
    changes, _ = bring_up_to_date(shop, table, where="price < 6")
    assert (changes.unchanged, changes.deleted) == (1, 3)
    with pytest.raises(InputError, match=r"--where price > 900: no photo of .*shop passes it\. Price is from 0 to 55"):
        bring_up_to_date(shop, table, where="price > 900")
    assert bring_up_to_date(shop, table, where="")[0].indexed == 7


def test_an_index_of_photos_takes_no_means(shop, bring_up_to_date):
    bring_up_to_date(shop)
    with pytest.raises(InputError, match="has one vector for each photo"):
        bring_up_to_date(shop, mean_by="item")


def test_same_files_are_encoded_once(shop, bring_up_to_date, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 4)
    shutil.copy(shop / "00.png", shop / "00 copy.png")
    shutil.copy(shop / "00.png", shop / "zz.png")
    changes, encoded = bring_up_to_date(shop)
    assert changes.added == 14 and encoded == 12
    _, embeddings = contents(tmp_path / "index")
    np.testing.assert_array_equal(embeddings["00.png"], embeddings["zz.png"])


def test_photos_that_swap_names_or_move_are_not_mixed_up(shop, bring_up_to_date, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 1)
    bring_up_to_date(shop)
    before = contents(tmp_path / "index")[1]
    (shop / "00.png").rename(shop / "other.png")
    (shop / "01.png").rename(shop / "00.png")
    (shop / "other.png").rename(shop / "01.png")
    (shop / "02.png").rename(shop / "zz.png")  # moved: still known by its bytes
    shutil.copy(shop / "03.png", shop / "yy.png")
    photo(shop / "03.png", 103)  # and the one that had these bytes first has others now
    bring_up_to_date(shop)
    after = contents(tmp_path / "index")[1]
    for now, then in (("00.png", "01.png"), ("01.png", "00.png"), ("zz.png", "02.png"), ("yy.png", "03.png")):
        np.testing.assert_allclose(after[now], before[then], atol=1e-6)
    assert not np.allclose(after["03.png"], before["03.png"], atol=1e-3)


def test_another_text_for_a_photo_whose_twin_changed(shop, bring_up_to_date, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 1)
    table = tmp_path / "table.csv"
    shutil.copy(shop / "00.png", shop / "09.png")
    bring_up_to_date(shop, table)
    before = contents(tmp_path / "index")[1]
    for name, seed in (("00.png", 100), ("01.png", 101)):
        photo(shop / name, seed)
    table.write_text(table.read_text().replace("Dress 9", "Coat 9"))
    changes, encoded = bring_up_to_date(shop, table)
    assert (changes.updated, changes.described, encoded) == (2, 1, 2)
    np.testing.assert_array_equal(contents(tmp_path / "index")[1]["09.png"], before["09.png"])


def test_unreadable_photos_are_named_and_left_out(shop, bring_up_to_date, tmp_path):
    bring_up_to_date(shop)
    (shop / "02.png").write_bytes(b"no photo")
    (shop / "broken.jpg").write_bytes((shop / "03.png").read_bytes()[:60])
    changes, _ = bring_up_to_date(shop)
    assert set(changes.unreadable) == {"02.png", "broken.jpg"} and changes.deleted == 1
    assert "02.png" not in contents(tmp_path / "index")[0]
    with (tmp_path / "index" / "unreadable.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "reason"] and [row[0] for row in rows[1:]] == ["02.png", "broken.jpg"]
    assert rows[1][1] == "cannot identify image file"


def test_photos_of_fault_reports_are_left_out_alone_or_read(shop, bring_up_to_date):
    for name in ("torn.avif", "torn.jpg"):
        shutil.copy(CASES / "avif_damaged" / "zero_tail.avif", shop / name)
    shutil.copy(CASES / "avif_damaged" / "phone.heic", shop / "heic.jpg")
    whole = [*(CASES / "odd_exif").iterdir(), *(CASES / "modes").iterdir(), CASES / "strip" / "line.png"]
    for file in whole:
        shutil.copy(file, shop)
    changes, encoded = bring_up_to_date(shop)
    assert set(changes.unreadable) == {"torn.avif", "torn.jpg", "heic.jpg"}
    assert changes.added == 12 + len(whole) and 0 < encoded <= changes.added


def test_a_source_without_one_readable_photo_deletes_nothing(shop, bring_up_to_date, tmp_path):
    bring_up_to_date(shop)
    for path in shop.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of 12 photos can be read"):
        bring_up_to_date(shop)
    assert len(contents(tmp_path / "index")[0]) == 12


def test_names_of_unreadable_photos_are_no_formulas(shop, bring_up_to_date, tmp_path):
    (shop / "=cmd|x.png").write_bytes(b"torn")
    bring_up_to_date(shop)
    with (tmp_path / "index" / "unreadable.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["'=cmd|x.png"]


def test_another_export_is_refused(shop, bring_up_to_date, other_export, tmp_path):
    from fashionclip.retrieval.encoder import load_encoder

    bring_up_to_date(shop)
    with pytest.raises(InputError, match="made by another export"):
        update_index(tmp_path / "index", load_encoder(other_export), read_source(shop), export=other_export)


def test_a_second_indexer_is_refused(shop, bring_up_to_date, tmp_path):
    (tmp_path / "index").mkdir()
    with (
        locked(tmp_path / "index" / "lock", name=shop),
        pytest.raises(InputError, match="another indexer is at it"),
    ):
        bring_up_to_date(shop)
    assert bring_up_to_date(shop)[0].added == 12


def test_photos_of_an_unknown_export_are_refused(shop, bring_up_to_date, tmp_path):
    bring_up_to_date(shop)
    (tmp_path / "index" / "index.json").unlink()
    with pytest.raises(InputError, match=r"has photos\.sqlite but no index\.json"):
        bring_up_to_date(shop)


@pytest.mark.parametrize("milvus", ["photos", "sub/photos.db", "/photos.db"])
def test_where_milvus_may_be(milvus, shop, bring_up_to_date):
    with pytest.raises(InputError, match="plain file name that ends in"):
        bring_up_to_date(shop, milvus=milvus)


def test_a_full_disk_asks_for_room(shop, bring_up_to_date, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 2)
    connect = sqlite3.connect

    def nearly_full(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("pragma page_size = 512")
        database.execute("pragma max_page_count = 6")
        return database

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", nearly_full)
        with pytest.raises(InputError, match=r"photos\.sqlite: database or disk is full\. Make room, then run the"):
            bring_up_to_date(shop)
    changes, _ = bring_up_to_date(shop)
    assert 0 < changes.added < 12 == changes.indexed, "goes on from where there was no more room"


def test_an_index_stays_in_its_store(shop, bring_up_to_date):
    bring_up_to_date(shop)
    with pytest.raises(InputError, match="a store of its own"):
        bring_up_to_date(shop, milvus="photos.db")


def test_milvus_is_remembered(shop, bring_up_to_date, tmp_path):
    bring_up_to_date(shop, milvus="photos.db")
    assert bring_up_to_date(shop)[0].unchanged == 12
    assert not (tmp_path / "index" / "photos.sqlite").exists()


def test_what_a_stopped_run_has_written_can_be_filtered(shop, tmp_path, export, encoder, monkeypatch):
    monkeypatch.setattr(index, "BATCH", 5)

    class Stopping(Counting):
        def embed(self, pixels):
            if self.encoded:
                raise KeyboardInterrupt
            return super().embed(pixels)

    with pytest.raises(KeyboardInterrupt):
        source = read_source(shop, table=tmp_path / "table.csv")
        update_index(tmp_path / "index", Stopping(encoder), source, export=export)
    searcher = Searcher.open(tmp_path / "index")
    assert len(searcher) == 5 and len(searcher.search_text("dress", where="price < 10")) == 2


def test_fields_are_those_of_the_indexed_photos(shop, bring_up_to_date, tmp_path):
    (shop / "08.png").write_bytes(b"no photo")
    bring_up_to_date(shop, tmp_path / "table.csv")
    fields = read_facts(tmp_path / "index").fields
    assert fields["Price"] == {"kind": "number", "range": [0.0, 55.0]}
    assert fields["Size"] == {"kind": "number", "range": [36, 46]}
    assert fields["Main Colour"] == {"kind": "text", "values": ["Red", "Blue"]}
    assert fields["code"]["values"][0] == "00", "a code keeps its zeros"
    assert fields["category"] == {"kind": "text", "values": ["Dresses"]}
    assert set(fields) == {"Price", "Size", "Main Colour", "code", "category"}


def test_arrays_load_without_pickle(shop, bring_up_to_date, tmp_path):
    bring_up_to_date(shop, tmp_path / "table.csv")
    write_npz(tmp_path / "index", tmp_path / "index.npz")
    _, embeddings = contents(tmp_path / "index")
    with np.load(tmp_path / "index.npz", allow_pickle=False) as arrays:
        assert arrays["image_names"].tolist() == sorted(embeddings)
        np.testing.assert_array_equal(arrays["embeddings"], [embeddings[name] for name in arrays["image_names"]])
        assert arrays["embeddings"].dtype == np.float32
        assert arrays["text"][1] == "Dress 1" and arrays["Main Colour"].tolist()[:3] == ["Red", "Blue", ""]
        assert arrays["Price"][:2].tolist() == [0.0, 5.5] and np.isnan(arrays["Price"][-1])
