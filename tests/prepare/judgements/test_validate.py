import json

import pandas as pd
import pytest
from drawn_photos import draw

from fashionclip.errors import InputError
from fashionclip.prepare.judgements.report import print_report, write_report
from fashionclip.prepare.judgements.validate import validate_judgements

SPECIAL = [  # as it stands in the table, as it is read, kinds
    ("H&amp;M jeans for &quot;her&quot;", 'H&M jeans for "her"', "html_entity"),
    ("Grö\u00dfe 42, na\u00efve red shirt", "Größe 42, naïve red shirt", ""),
    ("GrÃ¶ÃŸe 42 and a red shirt", "Größe 42 and a red shirt", "mojibake"),
    ("Red\u00a0shirt of\u2003 cot\u200bton, soft\u00adened", "Red shirt of cotton, softened", "odd_space"),
    ("Red \x1b[2Jshirt \u202eof\u202c cotton", "Red [2Jshirt of cotton", "control_character"),
    ("AT&T, R&B & rock; a &b shirt", "AT&T, R&B & rock; a &b shirt", ""),
    ("Lost lett\ufffdrs of a shirt", "Lost lett\ufffdrs of a shirt", "lost_character"),
    ("Two  blanks\tand a tab here", "Two blanks and a tab here", ""),
    ("赤いシャツ、綿 100%", "赤いシャツ、綿 100%", ""),
]


@pytest.fixture
def table(tmp_path):
    """A sound table as a DataFrame with paths below `tmp_path`."""
    rows = [
        (f"{n}.jpg", f"Cotton shirt number {n // 2} with round neck", ("match", "mismatch")[n % 2]) for n in range(8)
    ]
    for path, *_ in rows:
        draw(path, size=(240, 320)).save(tmp_path / path)
    return pd.DataFrame(rows, columns=["image_path", "text", "label"])


def test_a_dataframe_and_its_csv_have_the_same_rows_and_faults(table, tmp_path):
    table.loc[1, "label"], table.loc[3, "image_path"], table.loc[5, "text"] = "maybe", "none.jpg", None
    table.to_csv(tmp_path / "pairs.csv", index=False)
    of_file = validate_judgements(tmp_path / "pairs.csv", workers=0)
    of_frame = validate_judgements(table, image_root=tmp_path, workers=0)
    for found, first in ((of_file, "pairs.csv:2"), (of_frame, "table:0")):
        assert found.root == tmp_path and found.rows["where"].iloc[0] == first and len(found.rows) == 8
        assert found.errors == {"empty_cell": 1, "invalid_label": 1, "missing_image": 1}
        first = dict(zip(found.left_out["row"], found.left_out["check"], strict=True))
        assert first == {1: "invalid_label", 3: "missing_image", 5: "empty_cell"}
        assert found.faults["row"].tolist() == [5, 1, 3, -1] and found.faults["check"].iloc[-1] == "few_rows"
    assert of_frame.faults["where"].tolist() == ["table:5", "table:1", "table:3", "all"]
    for column in ("check", "level", "row", "says", "remedy"):
        assert of_frame.faults[column].tolist() == of_file.faults[column].tolist()


def test_all_faults_are_given_and_five_are_shown(table, tmp_path, capsys):
    found = validate_judgements(table.assign(text="Red shirt"), image_root=tmp_path, workers=0)
    short = found.faults[found.faults["check"] == "short_text"]
    assert len(short) == 8 and set(short["says"]) == {"2 words, under 5: 'Red shirt'"}
    print_report(found)
    assert capsys.readouterr().out.count("warning: short_text: ") == 5
    write_report(found, tmp_path / "new" / "validation.json")
    report = json.loads((tmp_path / "new" / "validation.json").read_text())
    assert {finding["check"]: finding["count"] for finding in report["findings"]}["short_text"] == 8


def test_what_cannot_be_read_is_a_fault_and_what_is_not_there_an_error(table, tmp_path):
    assert validate_judgements(table.drop(columns="label"), workers=0).errors == {"missing_column": 1}
    assert validate_judgements(table.head(0), workers=0).errors == {"no_rows": 1}
    with pytest.raises(InputError, match="no such file or folder"):
        validate_judgements(tmp_path / "none.csv")
    (tmp_path / "photos").mkdir()
    with pytest.raises(
        InputError, match=r"no CSV in it.* `fashionclip judgements .*photos --to pairs\.csv` starts one"
    ):
        validate_judgements(tmp_path / "photos")


def test_other_tables_are_read_too(table, tmp_path, capsys):
    table.to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    table.to_parquet(tmp_path / "pairs.parquet")
    for name, form in (("pairs.jsonl", "JSON"), ("pairs.parquet", "Parquet")):
        found = validate_judgements(tmp_path / name, workers=0)
        assert found.errors == {} and found.rows["text"].tolist() == table["text"].tolist()
        assert f"{name}: {form}" in capsys.readouterr().out


def test_special_characters_are_mended_counted_and_named(table, tmp_path):
    table = pd.concat([table, table, table], ignore_index=True).head(2 * len(SPECIAL))
    table["label"] = ["match", "mismatch"] * len(SPECIAL)
    table["text"] = [text for text, _, _ in SPECIAL for _ in range(2)]
    table["text"] += [f" of maker {n}" for n in range(len(table))]
    table.to_csv(tmp_path / "pairs.csv", index=False)
    for source in (table, tmp_path / "pairs.csv"):
        found = validate_judgements(source, image_root=tmp_path, workers=0)
        kinds = {kind for _, _, kind in SPECIAL if kind}
        odd = found.faults[found.faults["check"].isin(kinds)]
        assert set(odd["level"]) == {"warning"} and not found.errors
        for place, (_, read, kind) in enumerate(SPECIAL):
            assert found.rows["text"][2 * place] == f"{read} of maker {2 * place}"
            assert odd[odd["row"] == 2 * place]["check"].tolist() == [kind] * bool(kind), read
        says = odd.set_index("row")["says"]
        assert says[0] == "'H&amp;M' is read as 'H&M'" and says[4] == "'GrÃ¶ÃŸe' is read as 'Größe'"
        assert (
            says[6] == r"'Red\xa0shirt' is read as 'Red shirt'" and says[8] == r"'\x1b[2Jshirt' is read as '[2Jshirt'"
        )
        assert "sign for letters that are lost" in says[12]
        assert (
            odd.groupby("check")["remedy"].first()["html_entity"] == "It is read as the character that it stands for."
        )
