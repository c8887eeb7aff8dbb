import pytest

from fashionclip.app.user_errors import one_message
from fashionclip.errors import InputError
from fashionclip.foreign_text import safe_cell, shown

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "=",
    "-",
]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_becomes_a_text(cell):
    assert safe_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "5", "-5", "+0.5", "-.5", "-1e-7", "red", "a=b", "'=1", "5-a", " =1"])
def test_numbers_and_texts_stay(cell):
    assert safe_cell(cell) == cell


def test_what_a_terminal_takes_for_a_command_is_shown_as_an_escape():
    assert shown("\x1b]0;title\x07\x9b2J\x7f\r\n\t") == r"\u001b]0;title\u0007\u009b2J\u007f\u000d\u000a\u0009"
    assert shown("a\nb\x1b", lines=True) == "a\nb\\u001b"
    assert shown("\udcff.jpg \u202egpj \u2028 \u2066") == r"\udcff.jpg \u202egpj \u2028 \u2066"
    assert shown("Kleid für Mädchen 👗 ﷽ \u200d") == "Kleid für Mädchen 👗 ﷽ \u200d"


def test_the_door_shows_no_control_characters():
    with pytest.raises(SystemExit) as ended, one_message():
        raise InputError("a\x1b[2J.jpg: no such photo.\nPut it there.")
    assert str(ended.value) == "error: a\\u001b[2J.jpg: no such photo.\nPut it there."
