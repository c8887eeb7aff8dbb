import pytest

from fashionclip.errors import InputError
from fashionclip.prepare.demo import prepare_demo


def prepare(folder, *, items=6, shots=2, source="raw"):
    return prepare_demo(
        source=folder / source, root=folder / "prepared", items=items, shots=shots, max_side=64, workers=0
    )


def modified(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_second_preparation_does_nothing(tmp_path, capsys):
    first = prepare(tmp_path)
    before = modified(tmp_path)
    again = prepare(tmp_path)
    assert "already prepared" in capsys.readouterr().out
    assert modified(tmp_path) == before
    assert again.manifest.equals(first.manifest)


def test_photos_of_an_item_share_name_and_split_but_not_item_id(tmp_path):
    manifest = prepare(tmp_path).manifest
    assert len(manifest) == 12 and manifest["item_id"].is_unique
    items = manifest.groupby("text")
    assert len(items) == 6
    assert (items["group_id"].nunique() == 1).all() and (items["split"].nunique() == 1).all()


@pytest.mark.parametrize(("items", "shots"), [(5, 2), (6, 1), (3, 4)])
def test_other_counts_are_refused_where_a_catalogue_stands_and_redone_from_another_folder(tmp_path, items, shots):
    prepare(tmp_path)
    before = modified(tmp_path)
    with pytest.raises(InputError, match=rf"12 photos of 6 products, expected {items * shots} of {items} .*Remove"):
        prepare(tmp_path, items=items, shots=shots)
    assert modified(tmp_path) == before
    assert len(prepare(tmp_path, items=items, shots=shots, source="other").manifest) == items * shots
