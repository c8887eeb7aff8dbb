import pytest

from fashionclip.app.cli import main


def test_path_that_is_not_utf8_is_one_message():
    with pytest.raises(SystemExit, match=r"^error: shop\\udce9: this name is not UTF-8. Rename the file or folder."):
        main(["index", "export", "shop\udce9", "--to", "index"])
