import pytest

from fashionclip.tables.photo_names import match_photos, told


@pytest.mark.parametrize(
    ("paths", "names", "rows", "strangers"),
    [
        (["a.jpg", "b/c.png"], ["b/c.png", "a.jpg"], [1, 0], []),
        (["a.jpg", "b/c.png"], ["c", "a"], [1, 0], []),
        (["shop/a.jpg"], [r".\shop\a.jpg"], [0], []),
        (["a.jpg", "b.jpg"], ["images/a.jpg", "/data/images/b.jpg"], [0, 1], []),
        (["a.jpg"], ["x/a.jpg", "y/a.jpg"], [None], [0, 1]),
        (["x/a.jpg"], ["y/a.jpg"], [None], [0]),
        (["cafe\u0301.jpg"], ["caf\xe9.jpg"], [0], []),
        (["caf\xe9.jpg"], ["cafe\u0301.jpg"], [0], []),
        (["15970.jpg", "007.jpg"], ["15970.0", "007"], [0, 1], []),
        (["a.jpg", "b.jpg"], ["a.jpg", "a.jpg", "", "c.jpg"], [1, None], [2, 3]),
        (["a.jpg", "b.JFIF"], ["a.JPG", "shop/b.jpe"], [0, 1], []),
        (["a.webp"], ["a.jpg", "a.png"], [None], [0, 1]),
        ([], ["a.jpg"], [], [0]),
        (["a.jpg"], [], [None], []),
    ],
    ids=[
        "path", "file-name-and-stem", "backslash", "folders-above", "end-of-two", "other-folder", "macos-photo",
        "macos-table", "numbers", "repeated", "other-suffix", "suffix-of-two", "no-photos", "no-rows",
    ],
)  # fmt: skip
def test_photo_finds_its_row_however_it_is_named(paths, names, rows, strangers):
    matches = match_photos(paths, names)
    assert (matches.rows, matches.strangers) == (rows, strangers)


def test_what_does_not_match_is_told_both_ways():
    paths, names = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"], ["1.jpg", "x", "y"]
    assert told(match_photos(paths, names), paths=paths, names=names) == (
        "2 of 3 rows name none of the photos, such as 'x', 'y'; "
        "4 of 5 photos have no row, such as '2.jpg', '3.jpg', '4.jpg'"
    )
    assert told(match_photos(["1.jpg"], ["1"]), paths=["1.jpg"], names=["1"]) == ""
