from pathlib import Path

import pytest

from fashionclip.errors import InputError
from fashionclip.manifest import assign_splits
from fashionclip.prepare.find_photos import find_photos, photos_below, read_groups

RATIOS = {"train": 0.6, "val": 0.2, "test": 0.2}


def test_limit_takes_photos_by_chance_and_leaves_every_split_its_share(tmp_path):
    for number in range(400):
        (tmp_path / f"{number}.jpg").touch()
    root = tmp_path.with_name("set")
    chosen = list(find_photos(tmp_path, root=root, limit=100, seed=0))
    assert len(chosen) == 100 and chosen == sorted(chosen)
    assert chosen != list(find_photos(tmp_path, root=root, limit=100, seed=1))
    splits = assign_splits(chosen, ratios=RATIOS, seed=0)
    assert all(abs(splits.count(split) / 100 - share) < 0.12 for split, share in RATIOS.items())


CASES = Path(__file__).parents[1] / "assets" / "cases"


@pytest.mark.parametrize(("case", "group"), [("groups_cp1252", "Café"), ("groups_utf16", "a"), ("groups_empty", None)])
def test_groups_file_of_a_fault_report(tmp_path, capsys, case, group):
    photos = {name: tmp_path / f"{name}.jpg" for name in ("10004", "10024", "other")}
    settings = {"image_column": "image", "group_column": "sender_id", "photos": photos, "folder": tmp_path}
    if group is None:
        with pytest.raises(InputError, match=r"groups\.csv: empty\. Expected a line of titles"):
            read_groups(CASES / case / "groups.csv", **settings)
    else:
        groups = read_groups(CASES / case / "groups.csv", **settings)
        assert groups == {"10004": f"group {group}", "10024": f"group {group}", "other": "photo other"}
        assert "1 of 3 photos have no row, such as 'other.jpg'" in capsys.readouterr().out


def test_photos_that_are_not_read_are_said(capsys):
    assert photos_below(CASES / "avif_damaged") == ["zero_tail.avif"]
    assert "1 .heic files are left out, since they are not read" in capsys.readouterr().out


def test_photos_without_a_group_are_not_one_group(tmp_path):
    (tmp_path / "groups.csv").write_text("image,sender\n1,nan\n2,None\n3,\n")
    photos = {name: tmp_path / f"{name}.jpg" for name in "123"}
    groups = read_groups(
        tmp_path / "groups.csv", image_column="image", group_column="sender", photos=photos, folder=tmp_path
    )
    assert len(set(groups.values())) == 3
