import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.retrieval.judge import judge_csv
from fashionclip.retrieval.judge.judge import Judge
from fashionclip.retrieval.judge.judge_csv import judge_table

STRIP = Path(__file__).parents[2] / "assets" / "cases" / "strip" / "line.png"
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class ColourEncoder:
    """Photos and texts to colours, as an `Encoder` would; keeps what it was asked."""

    decode_size = 32
    digest = "a"

    def __init__(self, **judge):
        self.facts = {"judge": {"threshold": 0.5, "scale": 8.0, "bias": -4.0} | judge}
        self.seen = []

    def texts(self, texts):
        self.seen.append(("texts", len(texts)))
        return np.array([COLOURS[text.split()[0].lower()] for text in texts], dtype=np.float32) / 255

    def images(self, images):
        self.seen.append(("images", len(images)))
        return np.array([image.getpixel((0, 0)) for image in images], dtype=np.float32) / 255


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 50), colour).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "broken.png").write_text("no photo")
    return tmp_path


def write(folder, rows, *, header=("image_path", "text"), name="in.csv", separator=",", encoding="utf-8"):
    with (folder / name).open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=separator).writerows([header, *rows])
    return folder / name


def read(file, separator=","):
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream, delimiter=separator))


def test_one_judgement_by_hand(photos):
    judge = Judge(ColourEncoder())
    right, wrong = (judge.one(photos / "photos" / "red.png", text) for text in ("Red shirt", "blue shirt"))
    assert (right.verdict, right.score, right.threshold) == ("match", 1.0, 0.5)
    assert right.probability == pytest.approx(1 / (1 + math.exp(-4)))
    assert (wrong.verdict, wrong.score) == ("mismatch", 0.0)
    assert judge.of_score(0.5).verdict == "match" and judge.of_score(0.49999).verdict == "mismatch"
    assert Judge(ColourEncoder(scale=-1e6)).of_score(1.0).probability == pytest.approx(0), "and no overflow"
    with pytest.raises(InputError, match="text: empty"):
        judge.one(photos / "photos" / "red.png", " \n")
    with pytest.raises(InputError, match=r"broken\.png: cannot be decoded"):
        judge.one(photos / "photos" / "broken.png", "red")


@pytest.mark.parametrize("facts", [{}, {"judge": None}, {"judge": {"threshold": math.nan, "scale": 1.0, "bias": 0.0}}])
def test_without_a_threshold_it_says_which_training_makes_one(facts):
    encoder = ColourEncoder()
    encoder.facts = facts
    with pytest.raises(InputError, match=r"loss=match-mismatch.*fashionclip export"):
        Judge(encoder)


def test_verdicts_are_written_under_the_longest_name_too(photos):
    table = write(photos, [("photos/red.png", "red", "a", "match")], header=("image_path", "text", "id", "label"))
    out = photos / "out" / f"{'o' * 251}.csv"
    assert judge_table(Judge(ColourEncoder()), table, out).rows == 1
    assert [file.name for file in out.parent.iterdir()] == [out.name]


def test_a_table_comes_back_with_verdicts_and_what_was_wrong(photos):
    rows = [
        ("photos/red.png", "Red  shirt,\nwith blue dots", "a", "Match"),
        ("photos\\green.png", "blue shirt", "b", "mismatch"),
        ("photos/blue.png", "red shirt", "c", "match"),
        ("photos/broken.png", "red", "d", "match"),
        ("photos/none.png", "red", "e", "match"),
        ("", "", "f", "match"),
        ("../red.png", "red", "g", "match"),
        ("photos/" + "long" * 100, "red", "h", "match"),
        ("photos/red.png", "Red", "i", "perhaps"),
    ]
    table = write(photos, rows, header=("Image_Path", "text", "id", "Label"))
    table.write_text(table.read_text() + "photos/red.png,red\n" + 'photos/red.png,"never closed,x,match\n')
    done = judge_table(Judge(ColourEncoder()), table, photos / "out" / "out.csv")
    out = read(photos / "out" / "out.csv")
    assert list(out[0]) == ["Image_Path", "text", "id", "Label", "score", "probability", "verdict", "error"]
    assert [tuple(row.values())[:4] for row in out[:9]] == rows, "the columns that came are as they were"
    assert list(out[9].values())[:4] == ["photos/red.png", "red", "", ""], "what a short line lacks is empty"
    assert [row["verdict"] for row in out] == ["match", "mismatch", "mismatch", *[""] * 5, "match", "", ""]
    assert (out[0]["score"], out[0]["probability"]) == ("1.000000", f"{1 / (1 + math.exp(-4)):.6f}")
    errors = [row["error"] for row in out]
    assert [bool(error) for error in errors] == [False] * 3 + [True] * 5 + [False, True, True]
    for error, says in zip(
        [*errors[3:8], *errors[9:]],
        (
            "broken.png: cannot be decoded",
            "none.png: no such photo",
            "line 8: image_path, text is empty",
            "lies outside",
            "cannot be decoded",
            "line 12: 2 cells, expected 4",
            "line 13: not readable as CSV",
        ),
        strict=True,
    ):
        assert says in error
    assert (done.rows, done.errors, done.mismatches) == (11, 7, 2)
    assert done.labelled == {"match": 2, "mismatch": 1} and done.right == {"match": 1, "mismatch": 1}
    assert done.accuracy == 0.75, "the mean of a half and all"
    assert sorted(file.name for file in (photos / "out").iterdir()) == ["out.csv"]


@pytest.mark.parametrize(("separator", "encoding"), [(";", "cp1252"), ("\t", "utf-16"), ("|", "utf-8-sig")])
def test_any_usual_csv_comes_back_in_utf8_with_its_separator(photos, separator, encoding):
    table = write(photos, [("photos/red.png", "Red für; |Ärzte\t", "a")], header=("image_path", "text", "id"),
                  separator=separator, encoding=encoding)  # fmt: skip
    judge_table(Judge(ColourEncoder()), table, photos / "out.csv")
    assert read(photos / "out.csv", separator)[0]["text"] == "Red für; |Ärzte\t"
    marked = (photos / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert marked == (encoding != "cp1252"), "a spreadsheet that wrote a mark wants one"


def test_cells_that_are_formulas_become_texts(photos):
    rows = [("photos/red.png", "red", "-5", "=cmd|'/c calc'!A0"), ("=1+1.png", "red", "+2e3", "@x")]
    table = write(photos, rows, header=("image_path", "text", "price", "+more"))
    judge_table(Judge(ColourEncoder()), table, photos / "out.csv")
    first, second = read(photos / "out.csv")
    assert (first["price"], first["'+more"]) == ("-5", "'=cmd|'/c calc'!A0")
    assert (second["image_path"], second["price"], second["'+more"]) == ("'=1+1.png", "+2e3", "'@x")


def test_each_distinct_photo_and_text_of_a_group_is_encoded_once(photos, monkeypatch):
    monkeypatch.setattr(judge_csv, "ROWS", 4)
    rows = [(f"photos/{photo}.png", f"{text} x") for photo in COLOURS for text in COLOURS]
    encoder = ColourEncoder()
    judge_table(Judge(encoder), write(photos, rows), photos / "out.csv")
    assert encoder.seen == [("images", 2), ("texts", 3), ("images", 2), ("texts", 3), ("images", 1), ("texts", 1)]
    assert [row["verdict"] for row in read(photos / "out.csv")].count("match") == 3


def test_a_stopped_run_goes_on_where_it_was_unless_something_changed(photos, monkeypatch):
    monkeypatch.setattr(judge_csv, "ROWS", 2)
    rows = [(f"photos/{photo}.png", f"{text} x", "match") for photo in COLOURS for text in COLOURS]
    table = write(photos, [*rows, ("photos/none.png", "red", "match")], header=("image_path", "text", "label"))
    out = photos / "out.csv"
    whole = judge_table(Judge(ColourEncoder()), table, out)
    expected = out.read_bytes()
    out.unlink()

    def stopped(encoder, after):
        judge = Judge(encoder)
        many = judge.many

        def some(questions):
            if len(encoder.seen) >= after:
                raise KeyboardInterrupt
            return many(questions)

        judge.many = some
        with pytest.raises(KeyboardInterrupt):
            judge_table(judge, table, out)
        assert not out.exists(), "whole or not at all"
        with (photos / ".out.csv.fashionclip-new").open("ab") as half:
            half.write(b"photos/red.png,half a li")  # as a killed run leaves it

    def went_on(**changes):
        encoder = ColourEncoder(**changes)
        done = judge_table(Judge(encoder), table, out)
        assert out.read_bytes() == expected or changes
        assert not list(photos.glob(".out.csv*"))
        out.unlink()
        return sum(count for what, count in encoder.seen if what == "texts"), done

    stopped(ColourEncoder(), 6)
    seen, done = went_on()
    assert seen == 4 and done == whole, "four of ten rows were left, and one has no photo"
    stopped(ColourEncoder(), 6)
    assert went_on(threshold=0.6)[0] == 10, "another threshold"
    stopped(ColourEncoder(), 6)
    table.write_text(table.read_text().replace("red x", "red y"))
    expected = expected.replace(b"red x", b"red y")
    assert went_on()[0] == 10, "another table"
    (photos / ".out.csv.fashionclip-state").write_text("{}")
    assert went_on()[0] == 10


@pytest.mark.parametrize("content", ["my thesis", "a,b\n1,2\n", "\n", "score,probability,verdict\n"])
def test_a_file_of_somebody_s_own_is_left_alone(photos, content):
    table, out = write(photos, [("photos/red.png", "red")]), photos / "keep.txt"
    out.write_text(content)
    others = {photos / f"keep.txt{end}": content for end in (".partial", ".partial.json", ".tmp")}
    for path in others:
        path.write_text(content)
    with pytest.raises(InputError, match=r"keep\.txt: holds something else than verdicts, so it is left alone"):
        judge_table(Judge(ColourEncoder()), table, out)
    assert out.read_text() == content
    out.write_text("")
    for _ in range(2):  # into an empty file, and over what was written there
        judge_table(Judge(ColourEncoder()), table, out)
        assert len(read(out)) == 1
    assert {path: path.read_text() for path in others} == others


def test_memory_does_not_grow_with_the_table(photos, monkeypatch):
    """Rows are taken a group at a time: never more of them are held than are judged together."""
    monkeypatch.setattr(judge_csv, "ROWS", 8)
    encoder = ColourEncoder()
    judge_table(Judge(encoder), write(photos, [("photos/red.png", "red")] * 1000), photos / "out.csv")
    assert encoder.seen == [("images", 1), ("texts", 1)] * 125
    assert len(read(photos / "out.csv")) == 1000


@pytest.mark.parametrize("inside", ["set/datasets/in.csv", "set/in.csv"])
def test_paths_begin_at_the_tables_folder_or_the_one_above(photos, inside):
    (photos / "set" / "datasets").mkdir(parents=True)
    (photos / "photos").rename(photos / "set" / "photos")
    table = photos / inside
    write(table.parent, [("photos/red.png", "red"), (str(photos / "set" / "photos" / "red.png"), "red")])
    judge_table(Judge(ColourEncoder()), table, photos / "out.csv")
    assert [row["verdict"] for row in read(photos / "out.csv")] == ["match", "match"]


def test_photos_elsewhere_are_taken_only_when_allowed(photos):
    (photos / "sub" / "tables").mkdir(parents=True)
    table = write(photos / "sub" / "tables", [("../../photos/red.png", "red"), (str(photos / "photos/red.png"), "red")])
    judge = Judge(ColourEncoder())
    for settings, verdict in (
        ({}, ""),
        ({"allow_outside_root": True}, "match"),
        ({"image_root": photos / "x" / "y"}, ""),
    ):
        judge_table(judge, table, photos / "out.csv", **settings)
        assert [row["verdict"] for row in read(photos / "out.csv")] == [verdict] * 2
    write(photos, [("red.png", "red")])
    judge_table(judge, photos / "in.csv", photos / "out.csv", image_root=photos / "photos")
    assert read(photos / "out.csv")[0]["verdict"] == "match"


@pytest.mark.parametrize(
    ("header", "to", "message"),
    [
        (("image", "text"), "out.csv", r"no column image_path; has \['image', 'text'\]"),
        (("a", "b"), "out.csv", "no column image_path and text"),
        (("image_path", "text", "Score", "error"), "out.csv", "has error, score already"),
        (("image_path", "text"), "in.csv", "the table itself"),
        (("image_path", "text"), "photos", "a folder"),
    ],
)
def test_a_table_that_cannot_be_judged_is_one_error(photos, header, to, message):
    table = write(photos, [], header=header)
    with pytest.raises(InputError, match=message):
        judge_table(Judge(ColourEncoder()), table, photos / to)
    with pytest.raises(InputError, match="no such file"):
        judge_table(Judge(ColourEncoder()), photos / "none.csv", photos / "out.csv")
    assert not (photos / "out.csv").exists()


def test_an_empty_table_has_no_verdicts(photos):
    done = judge_table(Judge(ColourEncoder()), write(photos, []), photos / "out.csv")
    assert done.rows == 0 and done.accuracy is None and read(photos / "out.csv") == []


def test_the_command_judges_with_an_export(photos, capsys, monkeypatch):
    from fashionclip.app.cli import main
    from fashionclip.models.load import load_backbone
    from fashionclip.retrieval.encoder import load_encoder
    from fashionclip.retrieval.export.export import write_export

    chosen = {"threshold": 0.05, "scale": 4.0, "bias": -0.2}
    backbone = load_backbone(name="fashionclip-tiny").eval()
    model, photo = photos / "model", photos / "photos" / "red.png"
    write_export(model, backbone, facts={"label": "tiny", "judge": chosen})
    main(["judge", str(model), str(photo), "a red shirt", "--json"])
    said = json.loads(capsys.readouterr().out)
    encoder = load_encoder(model)
    cosine = float(encoder.images([load_image(photo)])[0] @ encoder.texts(["a red shirt"])[0])
    assert said["score"] == pytest.approx(cosine, abs=1e-6) and said["threshold"] == 0.05
    assert said["probability"] == pytest.approx(1 / (1 + math.exp(-(4 * cosine - 0.2))))
    assert said["verdict"] == ("match" if cosine >= 0.05 else "mismatch")
    main(["judge", str(model), str(photo), "a red shirt"])
    assert capsys.readouterr().out.startswith(f"{said['verdict']}: probability of a match {said['probability']:.3f}, ")
    main(["judge", str(model), str(STRIP), "a red shirt"])
    assert "probability of a match" in capsys.readouterr().out

    table = write(photos, [("photos/red.png", "a red shirt", said["verdict"]), ("photos/none.png", "red", "match")],
                  header=("image_path", "text", "label"))  # fmt: skip
    main(["judge", str(model), "--csv", str(table), "--to", str(photos / "out.csv")])
    printed = capsys.readouterr().out
    assert "2 rows" in printed and "1 could not be judged" in printed and f"1 of 1 {said['verdict']}" in printed
    assert float(read(photos / "out.csv")[0]["score"]) == pytest.approx(cosine, abs=1e-5)
    main(["judge", str(model), "--csv", str(table), "--to", str(photos / "out.csv"), "--json"])
    assert json.loads(capsys.readouterr().out)["errors"] == 1

    write_export(model, backbone, facts={"label": "tiny", "judge": None})
    for arguments, message in (
        ([str(model), str(photo), "red"], "Train with loss=match-mismatch"),
        ([str(model), str(photo)], "expected a photo and a text"),
        ([str(model), str(photo), "red", "--csv", "x"], "expected a photo and a text"),
        ([str(model), "--csv", "x"], "expected a photo and a text"),
        ([str(Path("no/such")), str(photo), "red"], "no export there"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["judge", *arguments])
        assert message in str(end.value.code)
