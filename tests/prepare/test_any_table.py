"""One behaviour of all that read a table of photos: each odd table, once for each reader."""

import csv
import io
import shutil
import unicodedata
from pathlib import Path

import drawn_photos
import pytest

from fashionclip.errors import InputError
from fashionclip.images import SUFFIXES
from fashionclip.prepare.find_photos import read_groups
from fashionclip.prepare.judgements.read_csv import COLUMNS, read_tables
from fashionclip.prepare.kaggle_products import STYLES_HEADER, TABLE_HEADER, prepare_kaggle_products
from fashionclip.prepare.products.convert import prepare_products
from fashionclip.retrieval.index.index_source import read_source

CASES = Path(__file__).parents[1] / "assets" / "cases"


def prepared(prepare):
    def read(table):
        dataset = prepare(source=table, root=table.parent / "set", max_side=16, workers=0)
        return dict(zip(dataset.manifest["image_id"], dataset.manifest["text"], strict=True))

    return read


def groups(table):
    folder = table.parent / "images"
    photos = {path.name: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    found = read_groups(
        table,
        image_column="image",
        group_column="title" if table.name == "table.csv" else "sender_id",
        photos=photos,
        folder=folder,
    )
    return {Path(base).stem: group.removeprefix("group ") for base, group in found.items() if group[:5] == "group"}


def indexed(table):
    return {Path(photo.path).stem: photo.text for photo in read_source(table.parent / "images", table=table).photos()}


def judged(table):
    rows, _ = read_tables({"": table}, columns=COLUMNS)
    return dict(zip((Path(path.replace("\\", "/")).stem for path in rows["image_path"]), rows["text"], strict=True))


# name: titles, a row of a photo and its text, and what reads the texts of photos
READERS = {
    "products": (("image", "colour", "title"), lambda photo, text: (photo, "red", text), prepared(prepare_products)),
    "kaggle": (TABLE_HEADER, lambda photo, text: (photo, text, "", "Tops"), prepared(prepare_kaggle_products)),
    "styles": (STYLES_HEADER, lambda photo, text: (photo, *["x"] * 8, text), prepared(prepare_kaggle_products)),
    "groups": (("image", "title", "price"), lambda photo, text: (photo, text, "1"), groups),
    "index": (("image", "title", "price"), lambda photo, text: (photo, text, "1"), indexed),
    "judgements": (("image_path", "text", "label"), lambda photo, text: (photo, text, "match"), judged),
}
ANY = tuple(reader for reader in READERS if reader != "kaggle")  # whose tables are read as those of "products"
SEARCHING = ANY[:-1]  # which find a photo by more than its path
NOT_MENDED = ("products", "kaggle", "groups", "index")


def texts_of(folder, reader, rows, write):
    """What a reader takes of a table of (photo, text), with photos 1.jpg, 2.jpg and 007.jpg beside it."""
    titles, cells, read = READERS[reader]
    lines = [list(titles), *(list(cells(*row)) for row in rows)]
    (folder / "images").mkdir()
    for name in ("1.jpg", "2.jpg", "007.jpg", unicodedata.normalize("NFD", "é.jpg")):
        drawn_photos.draw(name, size=(8, 8)).save(folder / "images" / name)
    table = folder / ("styles.csv" if reader == "styles" else "table.csv")
    table.write_bytes(write(lines))
    return {photo: text for photo, text in read(table).items() if text}


def as_csv(lines, *, encoding="utf-8", change=lambda text: text, **style):
    text = io.StringIO(newline="")
    csv.writer(text, **style).writerows(lines)
    return change(text.getvalue()).encode(encoding)


TWO = (("1.jpg", "Café dress"), ("2.jpg", "Shirt"))
READ = {"1": "Café dress", "2": "Shirt"}
LONG = "x " * 70_000


def written(**style):
    return lambda lines: as_csv(lines, **style)


def with_lines(*more):
    return lambda lines: as_csv(lines) + "".join(line + "\n" for line in more).encode()


TABLES = {  # rows, how they are written, texts by photo, and the readers that it is for
    "utf-8": (TWO, written(), READ, ANY),
    "utf-8-sig": (TWO, written(encoding="utf-8-sig"), READ, ANY),
    "utf-16": (TWO, written(encoding="utf-16"), READ, ANY),
    "windows-1252": (TWO, written(encoding="cp1252"), READ, ANY),
    "semicolons": (TWO, written(delimiter=";"), READ, ANY),
    "tabs": (TWO, written(delimiter="\t", lineterminator="\n"), READ, ANY),
    "excel-sep-line": (TWO, lambda lines: b"sep=|\n" + as_csv(lines, delimiter="|"), READ, ANY),
    "trailing-comma": (TWO, written(change=lambda text: text.replace("\r\n", ",\n")), READ, ANY),
    "trailing-comma-of-rows": (TWO, lambda lines: as_csv([lines[0], *([*row, ""] for row in lines[1:])]), READ, ANY),
    "blank-lines": (TWO, written(change=lambda text: "\n" + text.replace("\r\n", "\n\n")), READ, ANY),
    "upper-case-titles": (TWO, lambda lines: as_csv([map(str.upper, lines[0]), *lines[1:]]), READ, ANY),
    "short-row": (TWO, with_lines("007.jpg"), READ, SEARCHING),
    "long-row": (TWO, with_lines("007.jpg" + ",a" * 12), READ, NOT_MENDED),
    "text-on-two-lines": ((("1.jpg", "Café\ndress"), TWO[1]), written(), READ, ANY),
    "long-cell": ((("1.jpg", LONG), TWO[1]), written(), {"1": LONG.strip(), "2": "Shirt"}, ANY),
    "stray-quote": (
        (("1.jpg", 'Café 5" dress'), TWO[1]), written(quoting=csv.QUOTE_NONE, quotechar=None),
        {"1": 'Café 5" dress', "2": "Shirt"}, ANY,
    ),
    "gaps": ((*TWO, ("007.jpg", "nan"), ("é.jpg", " N/A ")), written(), READ, SEARCHING),
    "gaps-of-photos": ((*TWO, ("None", "Lost"), ("NA", "Lost")), written(), READ, SEARCHING),
    "slashes": (((r".\images\1.jpg", "Café dress"), ("./images/2.jpg", "Shirt")), written(), READ, ANY),
    "suffixes": ((("1.JPG", "Café dress"), ("2.jpe", "Shirt")), written(), READ, SEARCHING),
    "ids": ((("1.0", "Café dress"), ("2", "Shirt"), ("007", "Seven")), written(), {**READ, "007": "Seven"}, SEARCHING),
    "composed-names": ((*TWO, ("é.jpg", "Cup")), written(), {**READ, "é": "Cup"}, SEARCHING),
    "repeated": ((*TWO, ("2.jpg", "Shirt")), written(), READ, SEARCHING),
}  # fmt: skip


@pytest.mark.parametrize(("table", "reader"), [(table, reader) for table, case in TABLES.items() for reader in case[3]])
def test_odd_table_is_read_alike_by_all(tmp_path, table, reader):
    rows, write, expected, _ = TABLES[table]
    found = texts_of(tmp_path, reader, rows, write)
    assert {unicodedata.normalize("NFC", photo): text for photo, text in found.items()} == expected


@pytest.mark.parametrize("reader", SEARCHING)
def test_empty_table_is_one_sentence(tmp_path, reader):
    with pytest.raises(InputError, match=r"csv: empty\. Expected a line of titles"):
        texts_of(tmp_path, reader, TWO, lambda lines: b"")


@pytest.mark.parametrize("reader", ["products", "kaggle", "groups", "index"])
def test_what_does_not_match_is_counted_and_said(tmp_path, capsys, reader):
    rows = (("1.jpg", "Café dress"), ("lost.jpg", "Lost"), *TWO[1:])
    texts_of(tmp_path, reader, rows, with_lines("007.jpg" + ",a" * 12))
    said = capsys.readouterr().out
    assert "1 rows are left out, such as that of line 5: 13 cells, expected" in said
    assert "2 of 4 photos have no row, such as '007.jpg'" in said
    assert "'photo_missing': 1" in said or "1 of 3 rows name none of the photos, such as 'lost.jpg'" in said


CASE_PHOTOS = ("10004", "10024", "10029", "10031", "10037", "10067", "10099", "10107")
EIGHT = {photo: f"Red top {number}" for number, photo in enumerate(CASE_PHOTOS)}
BOTH = {photo: f"Top {n}. A red top number {n}" for n, photo in enumerate(CASE_PHOTOS)}
FAULTS = [  # of tests/assets/cases, by reader; photos lie in the named folder beside the table
    *((reader, "styles_null_names/styles.csv", "images", {"10099": "Red top"}) for reader in ("products", "styles")),
    *((reader, "styles_utf16/styles.csv", "images", EIGHT) for reader in ("products", "styles")),
    ("products", "table_nan_descr/catalog.csv", "images", {photo: f"Top {n}" for n, photo in enumerate(CASE_PHOTOS)}),
    *((reader, "table_utf16/catalog.csv", "images", BOTH) for reader in ("products", "kaggle")),
    *((reader, "table_with_images_prefix/catalog.csv", "images", BOTH) for reader in ("products", "kaggle")),
    ("products", "table_backslash/table.csv", "shop", {"10004": "Red dress"}),
    ("products", "table_cp1252/table.csv", "images", {"10004": "Robe dété rouge"}),
    ("products", "table_partial/table.csv", "images", {"10004": "Red dress"}),
    ("products", "table_trailing/table.csv", "images", {"10004": "Red dress"}),
    ("products", "table_utf16/table.csv", "images", {"10004": "Red dress"}),
    ("groups", "groups_cp1252/groups.csv", "images", {"10004": "Café"}),
    ("groups", "groups_utf16/groups.csv", "images", {"10004": "a"}),
]


@pytest.mark.parametrize(("reader", "case", "photos_in", "texts"), FAULTS)
def test_table_of_a_fault_report(tmp_path, reader, case, photos_in, texts):
    (tmp_path / photos_in).mkdir()
    for photo in CASE_PHOTOS:
        drawn_photos.draw(photo, size=(8, 8)).save(tmp_path / photos_in / f"{photo}.jpg")
    shutil.copyfile(CASES / case, tmp_path / Path(case).name)
    found = {Path(photo).name: text for photo, text in READERS[reader][2](tmp_path / Path(case).name).items() if text}
    assert texts.items() <= found.items()
