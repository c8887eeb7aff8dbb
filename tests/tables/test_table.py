import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.tables.csv_rows import STRAY
from fashionclip.tables.table import layout_of, read_table, records

CATALOG = ["image", "description", "display name", "category"]
CASES = Path(__file__).parents[1] / "assets" / "cases"


def write(folder, text, *, encoding="utf-8"):
    file = folder / "table.csv"
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_any_usual_table_is_read_alike(tmp_path, capsys, separator, line_end, encoding):
    lines = ["image,Title,price", '1.jpg,"Café, white",10', '"2.jpg","two', 'lines",']
    text = line_end.join([*lines, ""]).replace(",", separator).replace(f"Café{separator}", "Café,")
    table = read_table(write(tmp_path, text, encoding=encoding), titles=("image", "title"))
    assert table.header == ["image", "Title", "price"]
    white = "Café, white"
    assert table.rows == [["1.jpg", white, "10"], ["2.jpg", "two lines", ""]] and not table.unread
    assert table.column("Title") == [white, "two lines"]
    said = {"utf-16": "read as UTF-16", "cp1252": "read as Windows-1252"}
    assert said.get(encoding, "") in (out := capsys.readouterr().out) and bool(out) == (encoding in said)


@pytest.mark.parametrize(
    ("case", "titles", "first"),
    [
        ("groups_cp1252/groups.csv", ["image", "sender_id"], ["10004.jpg", "Café"]),
        ("groups_utf16/groups.csv", ["image", "sender_id"], ["10004.jpg", "a"]),
        ("table_backslash/table.csv", ["image", "title", "price"], ["shop\\10004.jpg", "Red dress", "10"]),
        ("table_cp1252/table.csv", ["image", "title", "price"], ["10004.jpg", "Robe dété rouge", "10"]),
        ("table_partial/table.csv", ["image", "title"], ["10004.jpg", "Red dress"]),
        ("table_trailing/table.csv", ["id", "image", "title", "price"], ["1", "10004.jpg", "Red dress", "10"]),
        ("table_utf16/table.csv", ["image", "title", "price"], ["10004.jpg", "Red dress", "10"]),
        ("table_with_images_prefix/catalog.csv", CATALOG, ["images/10004.jpg", "A red top number 0", "Top 0", "Tops"]),
        ("table_nan_descr/catalog.csv", CATALOG, ["10004.jpg", "", "Top 0", "Tops"]),
    ],
)  # fmt: skip
def test_table_of_a_fault_report(case, titles, first):
    table = read_table(CASES / case, titles=titles)
    assert (table.header, table.rows[0], table.unread) == (titles, first, [])


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        ("a,b\n1\n", ["a", "b"], [["1", ""]]),
        ("a,b\n1,2,\n", ["a", "b"], [["1", "2"]]),
        ("a,b,\n1,2,\n3,4\n", ["a", "b"], [["1", "2"], ["3", "4"]]),
        (",image\n0,1.jpg\n", ["column 1", "image"], [["0", "1.jpg"]]),
        ("a,a,b\n1,2,3\n", ["a", "a 2", "b"], [["1", "2", "3"]]),
        ("a,b\nNA,None\nnull,Nancy\n , N/A \n", ["a", "b"], [["", ""], ["", "Nancy"], ["", ""]]),
        (f"a,b\n1,{'x' * 200_000}\n", ["a", "b"], [["1", "x" * 200_000]]),
        ("\n\na,b\n\n1,2\n\n", ["a", "b"], [["1", "2"]]),
        ("a\n", ["a"], []),
    ],
    ids=["short", "comma", "commas", "untitled", "titled-twice", "gaps", "long-cell", "blank-lines", "no-rows"],
)
def test_uneven_table_keeps_every_cell_in_its_column(tmp_path, text, header, rows):
    table = read_table(write(tmp_path, text), titles=("a",))
    assert (table.header, table.rows, table.unread) == (header, rows, [])


def test_line_that_is_no_row_is_left_out_and_said(tmp_path, capsys):
    table = read_table(write(tmp_path, 'a,b\n1,2\n3,Red, soft\n4,"x" y,z\n5,6\n'), titles=("a",))
    assert table.rows == [["1", "2"], ["5", "6"]]
    assert [(line, first) for line, first, _ in table.unread] == [(3, "3"), (4, "4")]
    assert "2 rows are left out, such as that of line 3: 3 cells, expected 2; quote texts" in capsys.readouterr().out


def test_quotes_that_are_not_doubled_lose_no_row(tmp_path):
    text = 'a,b\n1,"Red" shoe\n"12" TV",2\r\n3, "Blue" and "Green"\n"4" x,"5\n6"\n7,8\n'
    table = read_table(write(tmp_path, text), titles=("a",))
    known = [["1", "Red shoe"], ['12 TV"', "2"], ["3", 'Blue and "Green"'], ["4 x", "5 6"], ["7", "8"]]
    assert table.rows == known and table.lines == [2, 3, 4, 5, 7] and not table.unread


def test_an_unclosed_quote_swallows_no_line(tmp_path, capsys):
    text = 'a,b\n1,2\n3,"Red\n5,"Soft, warm\n"7,x\n' + "4,5\n" * 1000
    table = read_table(write(tmp_path, text), titles=("a",))
    assert table.rows == [["1", "2"], ["3", "Red"], ["5", "Soft, warm"], *[["4", "5"]] * 1000]
    assert [line for line, _, _ in table.unread] == [5]
    assert f"1 rows are left out, such as that of line 5: {STRAY}" in capsys.readouterr().out


@pytest.mark.parametrize("first", ["sep=;\n", "\nSEP=;\r\n", '"sep=;"\n'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_separator_that_excel_writes_above_the_titles_counts(tmp_path, first, encoding):
    file = write(tmp_path, f"{first}image,x;title\n1.jpg;Red\nsep=;\n", encoding=encoding)
    table = read_table(file, titles=("image", "x"))
    assert (table.header, table.rows) == (["image,x", "title"], [["1.jpg", "Red"], ["sep=", ""]])
    assert [row.cells[0] for row in records(file, layout_of(file, titles=()))] == ["image,x", "1.jpg", "sep="]
    assert layout_of(write(tmp_path, "sep=\t\na\tb,c\n"), titles=()).separator == "\t"
    assert layout_of(write(tmp_path, "sep=x\n"), titles=()).separator == ","


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"table\.csv: empty\. Expected a line of titles"),
        (b"\n \n", r"table\.csv: empty\. Expected a line of titles"),
        ("a,b\n".encode("utf-16-le"), "holds zero bytes, so it is no text in a known encoding"),
        (b'"a" b,c\n1,2\n', r"table\.csv: its titles in line 1 are not readable as CSV"),
        (None, r"table\.csv: no such file\. Give a CSV or another table"),
    ],
)
def test_what_is_no_table_is_one_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "table.csv", titles=())


def test_excel_without_openpyxl_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "table.csv").write_bytes(b"PK\x03\x04 whatever it is called")
    with pytest.raises(InputError, match=r"an Excel workbook, which takes openpyxl to read\. Save it as CSV, or: pip"):
        read_table(tmp_path / "table.csv", titles=())


def test_excel_is_read_like_csv(tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed, with which Excel workbooks are read")
    book = openpyxl.Workbook()
    for row in (["id", "title", None], [15970.0, "Red, soft"], [None, None], ["007", True], [1.5, "NA"]):
        book.active.append(row)
    book.save(tmp_path / "table.xlsx")
    table = read_table(tmp_path / "table.xlsx", titles=("id",))
    assert table.header == ["id", "title"]
    assert table.rows == [["15970", "Red, soft"], ["007", "True"], ["1.5", ""]]
    assert "read as an Excel workbook" in capsys.readouterr().out
    (tmp_path / "torn.xlsx").write_bytes((tmp_path / "table.xlsx").read_bytes()[:500])
    with pytest.raises(InputError, match="an Excel workbook that cannot be read"):
        read_table(tmp_path / "torn.xlsx", titles=())


def test_stray_quotes_swallow_no_line(tmp_path):
    lines = ["id,kind,name", '1,a,"on', "two", 'lines, here"', '2,b,"stray', "short", '3,c,5" heel', '4,"d', ""]
    file = write(tmp_path, "\n".join(lines))
    assert [
        (row.line, [cell.strip() for cell in row.cells], row.fault)
        for row in records(file, layout_of(file, titles=("id",)))
    ] == [
        (1, ["id", "kind", "name"], ""),
        (2, ["1", "a", "on\ntwo\nlines, here"], ""),
        (5, ["2", "b", "stray"], ""),
        (6, ["short"], STRAY),
        (7, ["3", "c", '5" heel'], ""),
        (8, ["4", "d"], STRAY),
    ]


def test_nested_values_are_columns_of_their_own(tmp_path):
    rows = [{"id": 7, "name": {"en": "hat", "by": {"who": "A"}}, "tags": ["x"]}, {"id": 8, "name": None, "tags": []}]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    for name in ("table.jsonl", "table.parquet"):
        table = read_table(tmp_path / name, titles=())
        for title, cells in {"id": ["7", "8"], "name.en": ["hat", ""], "name.by.who": ["A", ""]}.items():
            assert table.column(title) == cells, name


def test_further_sheets_of_a_workbook_are_said(tmp_path, capsys):
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.append(["id"])
    book.create_sheet("Data")
    book.save(tmp_path / "table.xlsx")
    read_table(tmp_path / "table.xlsx", titles=())
    assert "only its first sheet 'Sheet' is read, not 'Data'" in capsys.readouterr().out
