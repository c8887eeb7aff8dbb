import sys

import pytest

from fashionclip.app.cli import main


def test_path_that_is_not_utf8_is_one_message():
    with pytest.raises(SystemExit, match=r"^error: shop\\udce9: this name is not UTF-8. Rename the file or folder."):
        main(["index", "export", "shop\udce9", "--to", "index"])


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fashionclip tr", "init prepare train sweep evaluate export index search serve judge judgements"),
        ("fashionclip index ind", ""),
        ("fashionclip train loss=mi", "loss=mixed loss=mixed-judgements"),
        ("fashionclip train loss=mixed trainer.max_e", "trainer.max_epochs="),
        ("fashionclip prepare dataset=demo dataset.it", "dataset.items="),
    ],
)
def test_a_shell_completes_commands_groups_and_keys(line, offered, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["fashionclip"])
    main(["-sc", "query=bash"])
    assert capsys.readouterr().out.strip() == offered
