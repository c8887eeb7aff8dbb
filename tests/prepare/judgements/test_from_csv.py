import csv
import itertools
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import drawn_photos
import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.manifest import read_dataset, read_judgements
from fashionclip.prepare.judgements.from_csv import prepare_judgements_csv
from fashionclip.prepare.judgements.read_csv import COLUMNS
from fashionclip.prepare.judgements.report import print_report, write_report
from fashionclip.prepare.judgements.rules import JudgementLimits
from fashionclip.prepare.judgements.validate import validate_judgements

draw = partial(drawn_photos.draw, size=(240, 320))

HEADER = ("image_path", "text", "label")
LIMITS = JudgementLimits(context_length=77, min_rows=4)


class WordTokenizer:
    """A token a word."""

    context_length = 77

    def encode(self, text):
        return list(range(len(text.split())))


def text_of(number):
    return f"Cotton shirt number {number} with round neck"


def sound(count=6):
    """Rows without a flaw, two a photo."""
    right = [(f"images/{number}.jpg", text_of(number), "match") for number in range(count)]
    wrong = [(f"images/{number}.jpg", text_of(number + 100), "mismatch") for number in range(count)]
    return [row for pair in zip(right, wrong, strict=True) for row in pair]


def write(folder, rows, *, header=HEADER, name="pairs.csv"):
    """A CSV, and beside it a photo for each path of the form images/N.jpg, drawn from seed N."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    for path in {row[0] for row in rows if row and Path(row[0]).stem.isdigit() and not row[0].startswith(("/", ".."))}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        draw(int(Path(path).stem)).save(folder / path)
    return folder / name


def prepare(source, root, **changes):
    settings = {
        "report": root.parent / "validation.json",
        "limits": LIMITS,
        "tokenizer": WordTokenizer(),
        "max_side": 256,
        "ratios": {"train": 0.6, "val": 0.2, "test": 0.2},
        "workers": 0,
        **changes,
    }
    return prepare_judgements_csv(source=source, root=root, **settings)


def findings(report):
    return {finding["check"]: finding for finding in json.loads(report.read_text(encoding="utf-8"))["findings"]}


def checked(source, **changes):
    """The findings of the checks by name, which they print, too."""
    found = validate_judgements(source, **{"limits": LIMITS, "tokenizer": WordTokenizer(), "workers": 0, **changes})
    print_report(found)
    write_report(found, source.parent / "validation.json")
    return findings(source.parent / "validation.json")


def test_a_sound_table_passes_every_check(tmp_path, capsys):
    assert checked(write(tmp_path, sound())) == {}
    said = capsys.readouterr().out
    assert (
        "all checks passed" in said
        and "12 judgements: 6 match, 6 mismatch; checks with errors: 0, with warnings: 0" in said
    )
    report = json.loads((tmp_path / "validation.json").read_text())
    assert report["valid"] and report["labels"] == {"match": 6, "mismatch": 6}


def broken(change):
    """Sound rows with some cells changed, by row and column."""
    rows = [list(row) for row in sound()]
    for row, cells in change.items():
        for column, value in cells.items():
            rows[row][column] = value
    return [tuple(row) for row in rows]


# name, level, rows (row n is line n + 2), and a message it must print
CHECKS = [
    ("malformed_line", "error", [*sound(), ("images/0.jpg", "no label")], "pairs.csv:14: 2 cells, expected 3"),
    ("empty_cell", "error", broken({1: {0: "", 1: " "}}), "pairs.csv:3: image_path, text is empty"),
    ("empty_cell", "error", [*sound(), ("images/1.jpg", text_of(9), "")], "pairs.csv:14: label is empty"),
    ("invalid_label", "error", [*sound(), ("images/1.jpg", text_of(9), "Maybe")], "label 'maybe', expected match or"),
    ("missing_image", "error", broken({3: {0: "images/none.jpg"}}), "pairs.csv:5: no file 'images/none.jpg'"),
    ("missing_image", "error", broken({3: {0: "images"}}), "pairs.csv:5: no file 'images'"),
    ("missing_image", "error", broken({3: {0: "name/" * 90}}), "pairs.csv:5: no file 'name/name/"),
    ("missing_image", "error", broken({3: {0: "n" * 300}}), "pairs.csv:5: no file 'nnn"),
    ("outside_root", "error", broken({3: {0: "../../0.jpg"}}), "pairs.csv:5: '../../0.jpg' lies outside the root"),
    ("outside_root", "error", broken({3: {0: "/no/such.jpg"}}), "pairs.csv:5: '/no/such.jpg' lies outside the root"),
    (
        "contradiction",
        "error",
        [*sound(), ("images/0.jpg", text_of(0).upper() + "!", "mismatch")],
        "pairs.csv:14: same photo and text as pairs.csv:2, which has the other label",
    ),
    (
        "duplicate",
        "warning",
        [*sound(), ("images/0.jpg", text_of(0).replace(" ", ",  "), "MATCH")],
        "pairs.csv:14: same photo, text and label as pairs.csv:2",
    ),
    (
        "unbalanced",
        "warning",
        [*sound(9), *[(f"images/{n}.jpg", text_of(n), "mismatch") for n in range(20, 30)]],
        "all: 9 of 28 match (32%), expected 40% to 60%",
    ),
    ("few_rows", "warning", sound(1), "all: 2 judgements, under 4"),
    ("short_text", "warning", broken({3: {1: "Cotton shirt no 9"}}), "pairs.csv:5: 4 words, under 5: 'Cotton shirt"),
    ("long_text", "warning", broken({3: {1: "very " * 101}}), "pairs.csv:5: 101 words, over 100"),
    ("over_context", "warning", broken({3: {1: "very " * 76}}), "78 tokens, over the model's 77; the rest is never"),
]


@pytest.mark.parametrize(("name", "level", "rows", "message"), CHECKS)
def test_each_check_names_what_breaks_it_and_nothing_else(tmp_path, capsys, name, level, rows, message):
    limits = replace(LIMITS, context_length=200) if name == "long_text" else LIMITS  # else it is over both
    found = checked(write(tmp_path / "data" / "set", rows), limits=limits)
    assert set(found) == {name}
    assert found[name]["level"] == level and found[name]["remedy"]
    said = capsys.readouterr().out
    assert any(message in line for line in said.splitlines())
    assert any(message in line for line in found[name]["first"])


def test_the_context_is_the_tokenizers_own_unless_it_is_set(tmp_path):
    tokenizer = WordTokenizer()
    tokenizer.context_length = 9
    rows = broken({3: {1: "one two three four five six seven eight"}})
    found = checked(write(tmp_path, rows), tokenizer=tokenizer, limits=replace(LIMITS, context_length=None))
    assert found["over_context"]["first"] == ["pairs.csv:5: 10 tokens, over the model's 9; the rest is never read"]


def test_a_small_photo_is_found(tmp_path, capsys):
    source = write(tmp_path, sound())
    draw(1, size=(223, 400)).save(tmp_path / "images" / "1.jpg")
    found = checked(source)
    assert set(found) == {"small_image"} and found["small_image"]["count"] == 2
    message = "pairs.csv:4: 'images/1.jpg': shorter side 223 pixels, under 224"
    assert message in found["small_image"]["first"] and message in capsys.readouterr().out


def test_an_unreadable_photo_is_found(tmp_path, capsys):
    source = write(tmp_path, sound())
    whole = (tmp_path / "images" / "2.jpg").read_bytes()
    for content in (b"no photo", b"", whole[: len(whole) // 2]):
        (tmp_path / "images" / "2.jpg").write_bytes(content)
        found = checked(source)
        assert set(found) == {"unreadable_image"} and found["unreadable_image"]["count"] == 2
        assert "2.jpg: cannot be decoded" in found["unreadable_image"]["first"][0]
        assert "error: unreadable_image: pairs.csv:6: " in capsys.readouterr().out


def test_what_lies_at_a_limit_passes(tmp_path):
    rows = broken({1: {1: "one two three four five"}, 3: {1: "very " * 75 + "red"}, 5: {2: "match"}})
    source = write(tmp_path, rows)  # 78 tokens with start and end, 7 of 12 rows match
    draw(1, size=(224, 400)).save(tmp_path / "images" / "1.jpg")
    limits = replace(LIMITS, context_length=78, max_words=76, min_rows=12, match_share=(0.4, 7 / 12))
    assert checked(source, limits=limits) == {}
    for name, bound in (
        ("over_context", {"context_length": 77}),
        ("long_text", {"max_words": 75}),
        ("short_text", {"min_words": 6}),
        ("few_rows", {"min_rows": 13}),
        ("unbalanced", {"match_share": (0.4, 0.58)}),
        ("small_image", {"min_side": 225}),
    ):
        assert set(checked(source, limits=replace(limits, **bound))) == {name}


@pytest.mark.parametrize(
    ("header", "lacks"), [(("image", "text", "label"), "'image_path'"), (("x", "y", "z"), "'image_path', 'text'")]
)
def test_missing_columns_are_named_with_what_there_is(tmp_path, capsys, header, lacks):
    found = checked(write(tmp_path, sound(), header=header))
    assert set(found) == {"missing_column"}
    assert found["missing_column"]["first"][0].startswith(f"pairs.csv:1: no column {lacks}")
    assert str(list(header)) in found["missing_column"]["first"][0]
    assert f"no column {lacks}" in capsys.readouterr().out
    (tmp_path / "pairs.csv").write_text("")
    assert "the file is empty" in checked(tmp_path / "pairs.csv")["missing_column"]["first"][0]


SPLIT_HEADER = (*HEADER, "product", "split")
SPLIT_COLUMNS = {name: name for name in SPLIT_HEADER}


def with_splits():
    splits = ["train", "train", "train", "train", "VAL", "test"]
    return [(*row, f"p{number // 2}", splits[number // 2]) for number, row in enumerate(sound())]


@pytest.mark.parametrize(
    ("name", "level", "row", "message"),
    [
        ("invalid_split", "error", (7, "p7", "later"), "pairs.csv:14: split 'later', expected train, val or test"),
        ("photo_in_two_splits", "error", (0, "p9", "val"), "'images/0.jpg' in val, its photo is also at pairs.csv:2"),
        ("product_in_two_splits", "error", (7, "p0", "val"), "product 'p0' in val, it is also at pairs.csv:2"),
        ("picture_in_two_splits", "warning", (8, "p8", "val"), "'images/8.jpg' in val looks the same as the photo at"),
    ],
)
def test_what_lies_in_two_splits_is_found(tmp_path, capsys, name, level, row, message):
    number, product, split = row
    rows = [*with_splits(), (f"images/{number}.jpg", text_of(77), "mismatch", product, split)]
    source = write(tmp_path, rows, header=SPLIT_HEADER)
    draw(0).save(tmp_path / "images" / "8.jpg", quality=80)
    found = checked(source, columns=SPLIT_COLUMNS, limits=replace(LIMITS, match_share=(0.0, 1.0)))
    assert set(found) == {name} and found[name]["level"] == level
    assert message in found[name]["first"][0] and message in capsys.readouterr().out


def test_one_photo_product_or_picture_in_train_csv_and_val_csv_is_found(tmp_path, capsys):
    rows = [(*row, f"p{number // 2}") for number, row in enumerate(sound(10))]
    header, columns = (*HEADER, "product"), {**COLUMNS, "product": "product"}
    write(tmp_path, rows[:10], header=header, name="train.csv")
    for number, product, copied, name, message in (
        (0, "p9", None, "photo_in_two_splits", "'images/0.jpg' in val, its photo is also at train.csv:2"),
        (8, "p9", 0, "photo_in_two_splits", "'images/8.jpg' in val, its photo is also at train.csv:2"),
        (7, "P0", None, "product_in_two_splits", "product 'P0' in val, it is also at train.csv:2"),
    ):
        val = [
            (f"images/{number}.jpg", text_of(70 + n), label, product) for n, label in enumerate(("match", "mismatch"))
        ]
        write(tmp_path, [*rows[18:], *val], header=header, name="val.csv")
        if copied is not None:
            draw(copied).save(tmp_path / "images" / f"{number}.jpg")
        root = tmp_path / "out"
        with pytest.raises(InputError, match=name):
            prepare(tmp_path, root, columns=columns)
        found = findings(tmp_path / "validation.json")
        assert set(found) == {name} and found[name]["first"][0] == f"val.csv:4: {message}"
        assert message in capsys.readouterr().out


def test_balance_is_that_of_each_split_too(tmp_path, capsys):
    rows = [row for n, row in enumerate(with_splits()) if n != 8]  # of val, a mismatch is left
    found = checked(write(tmp_path, rows, header=SPLIT_HEADER), columns=SPLIT_COLUMNS)
    assert set(found) == {"unbalanced"}
    assert found["unbalanced"]["first"] == ["val: 0 of 1 match (0%), expected 40% to 60%"]
    assert "val: 0 of 1 match (0%), expected 40% to 60%" in capsys.readouterr().out


def test_a_text_that_matches_in_two_splits_is_a_warning(tmp_path, capsys):
    rows = [*with_splits(), ("images/7.jpg", text_of(0), "match", "p7", "test")]
    source = write(tmp_path, rows, header=SPLIT_HEADER)
    found = checked(source, columns=SPLIT_COLUMNS, limits=replace(LIMITS, match_share=(0.0, 1.0)))
    assert set(found) == {"text_in_two_splits"}
    assert "in test also matches a photo at pairs.csv:2" in found["text_in_two_splits"]["first"][0]
    assert "in test also matches a photo at pairs.csv:2" in capsys.readouterr().out


def test_errors_end_in_one_message_and_warnings_do_not(tmp_path):
    source = write(tmp_path, broken({3: {0: "none.jpg"}}))
    with pytest.raises(InputError, match=r"missing_image \(1\); the table above .*dataset\.drop_errors=true"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert checked(write(tmp_path, sound(1))) and prepare(source, tmp_path / "out")


def judgements(dataset):
    assert dataset is not None
    return pd.read_parquet(dataset.root / "judgements.parquet")


def test_a_sound_table_becomes_a_dataset(tmp_path):
    dataset = prepare(write(tmp_path, sound(20)), tmp_path / "out")
    judged = judgements(dataset)
    manifest = read_dataset(tmp_path / "out").manifest
    assert len(manifest) == 20 and len(judged) == 40
    assert manifest["image_id"].tolist()[:2] == ["images/0", "images/1"]
    assert dict(zip(manifest["image_id"], manifest["text"], strict=True))["images/3"] == text_of(3)
    assert all((tmp_path / "out" / path).is_file() for path in manifest["path"])
    assert judged["split"].value_counts().to_dict() == {"train": 24, "val": 8, "test": 8}
    assert (judged.groupby(["split", "label"]).size().unstack()["match"] == [4, 12, 4]).all()
    split = dict(zip(manifest["image_id"], manifest["split"], strict=True))
    assert (judged["image_id"].map(split) == judged["split"]).all()
    assert set(judged["kind"]) == {"match", "given"}
    assert json.loads((tmp_path / "out" / "validation.json").read_text())["valid"]


def test_rows_with_errors_are_left_out_and_listed_when_asked(tmp_path):
    rows = [*broken({3: {0: "none.jpg"}}), sound()[0], ("images/5.jpg", "lost")]
    dataset = prepare(write(tmp_path, rows), tmp_path / "out", drop_errors=True)
    assert dataset is not None and len(judgements(dataset)) == 11
    dropped = pd.read_csv(tmp_path / "out" / "dropped.csv", keep_default_na=False)
    assert dropped["reason"].tolist() == ["missing_image", "duplicate", "malformed_line"]
    assert dropped["detail"].str.startswith("pairs.csv:").all()


def test_a_table_without_any_usable_row_is_one_error(tmp_path):
    with pytest.raises(InputError, match="no rows left of 2 read"):
        rows = [("none.jpg", text_of(0), "match"), ("none.jpg", text_of(1), "mismatch")]
        prepare(write(tmp_path, rows), tmp_path / "out", drop_errors=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("settings", [{}, {"drop_errors": True}])
def test_a_table_without_rows_or_with_one_label_is_an_error(tmp_path, capsys, settings):
    with pytest.raises(InputError, match=r"pairs\.csv: no_rows \(1\); the table above .* Mend them\.$"):
        prepare(write(tmp_path, []), tmp_path / "out", **settings)
    assert "error: no_rows: pairs.csv:1: no judgement below the header" in capsys.readouterr().out
    for label in ("match", "mismatch"):
        rows = [row for row in sound() if row[2] == label]
        with pytest.raises(InputError, match=r"pairs\.csv: one_label \(1\); the table above .* Mend them\.$"):
            prepare(write(tmp_path, rows), tmp_path / "out", **settings)
        assert f"{len(rows) if label == 'match' else 0} of 6 match, expected both labels" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_one_label_in_train_is_an_error_and_in_other_splits_is_said(tmp_path, capsys):
    def rows(split):
        return [row for row in with_splits() if row[4].lower() != split or row[2] == "match"]

    found = checked(write(tmp_path, rows("train"), header=SPLIT_HEADER), columns=SPLIT_COLUMNS)
    assert found["one_label"]["level"] == "error" and found["one_label"]["first"][0].startswith("train: ")
    source = write(tmp_path, rows("val"), header=SPLIT_HEADER)
    dataset = prepare(source, tmp_path / "out", columns=SPLIT_COLUMNS)
    assert "val has 1 match and 0 mismatch, training needs both labels in each split" in capsys.readouterr().out
    assert dataset is not None
    with pytest.raises(InputError, match=r"val has 1 match and 0 mismatch, training needs both .* Add judgements"):
        read_judgements(dataset)


def test_rows_that_are_left_out_may_not_leave_one_label(tmp_path):
    rows = [row if row[2] == "match" else ("none.jpg", *row[1:]) for row in sound()]
    with pytest.raises(InputError, match=r"train has \d match and 0 mismatch, training needs both labels"):
        prepare(write(tmp_path, rows), tmp_path / "out", drop_errors=True)


def test_a_missing_image_root_is_one_message(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.image_root=.*none: no such folder"):
        prepare(write(tmp_path, sound()), tmp_path / "out", image_root=tmp_path / "none")


def test_preparation_is_repeated_only_when_the_table_or_settings_change(tmp_path, capsys):
    source = write(tmp_path, sound())

    def redone(**changes):
        prepare(source, tmp_path / "out", **changes)
        return "already prepared" not in capsys.readouterr().out

    assert redone() and not redone()
    assert redone(max_side=100) and not redone(max_side=100)
    write(tmp_path, sound(7))
    assert redone(max_side=100)


EXAMPLE = """image_path,text,label
datasets/images/red_shirt.jpg,Red cotton t-shirt with round neck,match
datasets/images/blue_jeans.jpg,Blue denim jeans with slim fit,match
datasets/images/black_shoes.jpg,Black leather formal shoes,match
datasets/images/red_shirt.jpg,Blue denim jeans with slim fit,mismatch
datasets/images/blue_jeans.jpg,Green cotton dress,mismatch
"""


@pytest.mark.parametrize("given", ["training", "training/datasets", "training/datasets/train.csv"])
def test_the_documents_folder_and_table_work_as_they_stand(tmp_path, given):
    images = tmp_path / "training" / "datasets" / "images"
    images.mkdir(parents=True)
    for number, name in enumerate(("red_shirt", "blue_jeans", "black_shoes", "green_dress", "grey_cap")):
        draw(number).save(images / f"{name}.jpg")
    (images.parent / "README.md").write_text("A data set.")
    (images.parent / "train.csv").write_text(EXAMPLE)
    (images.parent / "val.csv").write_text(
        "image_path,text,label\n"
        "datasets/images/green_dress.jpg,Green cotton dress with short sleeves,match\n"
        "datasets/images/grey_cap.jpg,Pink silk scarf with white dots,mismatch\n"
    )
    assert validate_judgements(tmp_path / given, workers=0).errors == {}
    dataset = prepare(tmp_path / given, tmp_path / "out")
    judged = judgements(dataset)
    if given.endswith(".csv"):
        assert len(judged) == 5 and set(findings(tmp_path / "validation.json")) == {"short_text"}
    else:
        assert len(judged) == 7 and (judged["split"] == "train").sum() == 5
        assert sorted(judged["split"])[:2] == ["test", "train"], "val is divided, so that there is something to test on"


ODD = [
    ("images/0.jpg", 'A 5" heel; red,\nwith "bows"', "Match"),
    ("images/1.jpg", "Señorita blouse für Ärzte", "MISMATCH"),
]


def test_any_usual_csv_is_read(tmp_path):
    source = write(tmp_path, [*ODD, *sound(1)])
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        for separator, line_end in itertools.product((",", ";", "\t", "|"), ("\n", "\r\n")):
            with source.open("w", newline="", encoding=encoding) as file:
                writer = csv.writer(file, delimiter=separator, lineterminator=line_end)
                writer.writerows([("Label", "extra", " text ", "image_path"), *((r[2], "x", r[1], r[0]) for r in ODD)])
                writer.writerow([])
                writer.writerow(["match", "y", "A third text", "no_such.jpg"])
            found = validate_judgements(source, limits=LIMITS, workers=0)
            missing = found.faults[found.faults["check"] == "missing_image"]
            assert missing["where"].tolist() == ["pairs.csv:6"], "the second row has two lines"
            assert missing["says"].tolist() == ["no file 'no_such.jpg'"]
            kept = found.rows.drop(index=found.left_out["row"])
            assert kept["text"].tolist() == ['A 5" heel; red, with "bows"', "Señorita blouse für Ärzte"]
            assert kept["label"].tolist() == ["match", "mismatch"]
        judged = judgements(prepare(source, tmp_path / encoding, drop_errors=True))
        assert judged["text"].tolist() == kept["text"].tolist() and judged["label"].tolist() == kept["label"].tolist()


def test_a_quote_that_is_never_closed_is_found_where_it_begins(tmp_path):
    source = write(tmp_path, sound())
    source.write_text(source.read_text() + 'images/0.jpg,"never closed,match\nimages/1.jpg,swallowed,match\n')
    found = checked(source)
    assert found["malformed_line"]["first"][0].startswith("pairs.csv:14: not readable as CSV")


def test_what_is_no_text_is_one_error(tmp_path):
    source = write(tmp_path, sound())
    source.write_bytes(source.read_text().encode("utf-16-le"))  # without a mark
    with pytest.raises(InputError, match=r"pairs\.csv: holds zero bytes.*Save it as UTF-8"):
        prepare(source, tmp_path / "out")


def test_paths_are_taken_as_they_are_with_either_slash_and_blanks(tmp_path):
    rows = broken({0: {0: "images\\0.jpg"}, 2: {0: " images/../images/1.jpg"}, 4: {0: "images/my  photo.jpg"}})
    write(tmp_path, sound())
    source = write(tmp_path, rows)
    draw(9).save(tmp_path / "images" / "my  photo.jpg")
    assert checked(source) == {}
    dataset = prepare(source, tmp_path / "out")
    assert dataset is not None and {"images/0", "images/1", "images/my  photo"} <= set(dataset.manifest["image_id"])


def test_a_table_named_like_markup_is_named_in_full(tmp_path, capsys):
    checked(write(tmp_path, broken({3: {0: "none.jpg"}}), name="a[red].csv"))
    assert "a[red].csv:5 " in capsys.readouterr().out


def test_another_header_is_mapped(tmp_path):
    source = write(tmp_path, sound(), header=("Photo", "Beschreibung", "Urteil"))
    mapped = {"image_path": "photo", "text": "Beschreibung", "label": "Urteil", "product": None, "split": None}
    assert checked(source, columns=mapped) == {}
    with pytest.raises(InputError, match=r"dataset\.columns: got .*expected a header for each of image_path"):
        prepare(source, tmp_path / "out", columns={"image_path": "photo", "text": None, "caption": "x"})


def test_photos_outside_the_root_are_taken_only_when_allowed(tmp_path):
    write(tmp_path / "elsewhere", sound(2))
    inside = [(str(tmp_path / "data" / "set" / row[0]), *row[1:]) for row in sound(2)]
    outside = [(str(tmp_path / "elsewhere" / row[0]), f"{row[1]} too", row[2]) for row in sound(1)]
    up = [(f"../../elsewhere/images/{1}.jpg", "Up and away and on again", "match")]
    source = write(tmp_path / "data" / "set", [*sound(2)])
    write(tmp_path / "data" / "set", [*inside, *outside, *up])
    assert checked(source)["outside_root"]["count"] == 3
    assert "outside_root" not in checked(source, allow_outside_root=True)
    dataset = prepare(source, tmp_path / "out", allow_outside_root=True)
    assert dataset is not None and len(dataset.manifest) == 4
    assert dataset.manifest["path"].str.startswith("images/").all()


def test_link_that_leads_out_of_the_root_is_outside_and_one_within_is_not(tmp_path):
    rows = sound(4)
    write(tmp_path / "elsewhere", rows)
    source = write(tmp_path / "set", rows)
    first, second = (tmp_path / "set" / row[0] for row in rows[:4:2])
    for link, target in ((first, tmp_path / "elsewhere" / rows[0][0]), (second, tmp_path / "set" / "moved.jpg")):
        link.rename(tmp_path / "set" / "moved.jpg")
        link.symlink_to(target)
    assert checked(source)["outside_root"]["count"] == sum(row[0] == rows[0][0] for row in rows)
    assert "outside_root" not in checked(source, allow_outside_root=True)
    (tmp_path / "linked").symlink_to(tmp_path / "set")
    assert checked(tmp_path / "linked" / source.name)["outside_root"]["count"], "the root itself may be a link"


def test_rows_of_a_photo_a_product_or_a_text_share_a_split(tmp_path):
    rows = [(f"images/{n}.jpg", text_of(n % 10), "match") for n in range(40)]
    rows += [(f"images/{n}.jpg", text_of(n % 10 + 50), "mismatch") for n in range(40)]
    by_text = prepare(write(tmp_path, rows), tmp_path / "out")
    assert by_text is not None and by_text.manifest.groupby("text")["split"].nunique().max() == 1
    assert by_text.manifest["split"].nunique() == 3
    learned = {row[0] for row in rows[:4]}
    for name, wanted in (("train", True), ("val", False)):
        part = [row for row in rows if (row[0] in learned) == wanted]
        write(tmp_path / "parts", part, name=f"{name}.csv")
    divided = prepare(tmp_path / "parts", tmp_path / "three", image_root=tmp_path)
    assert divided is not None and set(divided.manifest["split"]) == {"train", "val", "test"}
    held_out = divided.manifest[divided.manifest["split"] != "train"]
    assert held_out.groupby("text")["split"].nunique().max() == 1, "val is divided between texts, not within one"
    with_product = [(*row, f"p{int(Path(row[0]).stem) // 4}") for row in rows]
    source = write(tmp_path, with_product, header=(*HEADER, "product"))
    by_product = prepare(source, tmp_path / "two", columns={**COLUMNS, "product": "product"})
    assert by_product is not None and by_product.manifest.groupby("item_id")["split"].nunique().max() == 1
    assert by_product.manifest["item_id"].nunique() == 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: folder / "none.csv",
            "no such file or folder. Expected a CSV with the columns image_path",
        ),
        (lambda folder: folder, "no CSV in it"),
        (
            lambda folder: (write(folder, sound(1), name="a.csv"), write(folder, [], name="b.csv"))[0].parent,
            "exactly one",
        ),
    ],
)
def test_an_unusable_source_is_one_error_with_a_remedy(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        prepare(make(tmp_path), tmp_path / "out")
