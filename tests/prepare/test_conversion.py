import json
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.manifest import MANIFEST_COLUMNS, SCHEMA_VERSION, read_dataset
from fashionclip.prepare.conversion import conversion


def make_manifest(rows=4):
    ids = [f"id{row}" for row in range(rows)]
    columns = {name: ids for name in MANIFEST_COLUMNS} | {
        "path": [f"images/{name}.jpg" for name in ids],
        "split": ["train"] * rows,
    }
    return pd.DataFrame(columns)


def write_dataset(root, *, which="one", rows=4, fault=None):
    """Puts a dataset together as a converter does, and says whether it had to; its photos hold its name."""
    with conversion(root, config={"which": which}) as new:
        if new.standing:
            return False
        manifest = make_manifest(rows)
        for path in manifest["path"]:
            (new.folder / path).write_text(which)
        if fault:
            raise fault("at the end")
        new.finish(manifest=manifest, dropped=[("x", "photo_missing", "no photo")], read=rows + 1)
    return True


def which_dataset(root):
    """The name of the dataset that stands there, after checking that nothing of it is missing or mixed."""
    dataset = read_dataset(root)
    which = dataset.info["config"]["which"]
    assert {(root / path).read_text() for path in dataset.manifest["path"]} == {which}
    assert len(list((root / "images").iterdir())) == len(dataset.manifest) == dataset.info["counts"]["kept"]
    assert (root / "dropped.csv").is_file()
    return which


def test_what_is_written_is_read_again(tmp_path):
    write_dataset(tmp_path / "set", rows=4)
    dataset = read_dataset(tmp_path / "set")
    pd.testing.assert_frame_equal(dataset.manifest.drop(columns="photo_hash"), make_manifest(4))
    assert dataset.info["schema_version"] == SCHEMA_VERSION
    assert dataset.info["counts"] == {
        "read": 5,
        "kept": 4,
        "dropped": {"photo_missing": 1},
        "splits": {"train": 4, "val": 0, "test": 0},
    }
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_missing_folder_and_foreign_version_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no prepared dataset there .*Run prepare\.py"):
        read_dataset(tmp_path / "nowhere")
    write_dataset(tmp_path / "set")
    info = tmp_path / "set" / "dataset.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(InputError, match=rf"schema version {SCHEMA_VERSION + 1}, this code reads {SCHEMA_VERSION}"):
        read_dataset(tmp_path / "set")
    write_dataset(tmp_path / "set")  # the remedy that the message gives
    assert which_dataset(tmp_path / "set") == "one"


def test_photos_that_are_the_same_byte_for_byte_have_one_hash(tmp_path):
    manifest = make_manifest(4)
    with conversion(tmp_path / "set", config={}) as new:
        for path, content in zip(manifest["path"], ("red", "blue", "red", "reds"), strict=True):
            (new.folder / path).write_text(content)
        new.finish(manifest=manifest, dropped=[], read=4)
    first, second, third, fourth = read_dataset(tmp_path / "set").manifest["photo_hash"]
    assert first == third and len({first, second, fourth}) == 3


def test_what_is_dropped_is_no_formula(tmp_path):
    manifest = make_manifest(1)
    with conversion(tmp_path / "set", config={}) as new:
        (new.folder / manifest["path"][0]).touch()
        new.finish(manifest=manifest, dropped=[("=cmd|x", "photo_missing", "+1")], read=2)
    assert (tmp_path / "set" / "dropped.csv").read_text().splitlines()[1] == "'=cmd|x,photo_missing,+1"


def test_what_is_kept_dropped_and_missing_is_said(tmp_path, capsys):
    write_dataset(tmp_path / "set", rows=4)
    said = capsys.readouterr().out
    assert "set: kept 4 of 5 rows, split {'train': 4, 'val': 0, 'test': 0}" in said
    assert "dropped {'photo_missing': 1} (listed in dropped.csv)" in said
    assert "set: no row fell to val. train.py needs rows in train and val. Prepare more rows" in said


class Killed(BaseException):
    pass


STEPS = [
    (os, "replace"),
    (shutil, "rmtree"),
    (Path, "mkdir"),
    (Path, "unlink"),
    (Path, "write_text"),
    (pd.DataFrame, "to_parquet"),
    (pd.DataFrame, "to_csv"),
]


def kill_before_step(monkeypatch, number):
    steps = count()

    def killing(original):
        def step(*args, **kwargs):
            if next(steps) == number:
                raise Killed
            return original(*args, **kwargs)

        return step

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, killing(getattr(owner, name)))


@pytest.mark.parametrize("replacing", [False, True])
def test_run_killed_before_any_step_leaves_old_or_new_and_can_be_repeated(tmp_path, monkeypatch, replacing):
    for number in count():
        root = tmp_path / str(number) / "set"
        root.parent.mkdir()
        if replacing:
            write_dataset(root, which="old", rows=3)
        try:
            with monkeypatch.context() as patch:
                kill_before_step(patch, number)
                write_dataset(root, which="new", rows=5)
            break
        except Killed:
            pass
        if replacing or root.exists():
            assert which_dataset(root) in ({"old", "new"} if replacing else {"new"})
        else:
            with pytest.raises(InputError, match="no prepared dataset"):
                read_dataset(root)
        for which in ("new", "third"):
            write_dataset(root, which=which, rows=2)
            assert which_dataset(root) == which
        assert [path.name for path in root.parent.iterdir()] == ["set"]
    assert number >= 12  # every write of the tables and both renames were among the steps


def test_stopped_run_goes_on_only_with_the_same_source_and_settings(tmp_path):
    for which, kept in (("one", []), ("one", ["photo.jpg"]), ("two", [])):
        with conversion(tmp_path / "set", config={"which": which}) as new:
            assert new.standing is None
            assert [path.name for path in (new.folder / "images").iterdir()] == kept
            (new.folder / "images" / "photo.jpg").write_text("")


def test_what_decides_whether_a_dataset_stands_already(tmp_path):
    """The same numbers as the code before 0.1: what it prepared is not prepared again."""
    photo = tmp_path / "photo.jpg"
    photo.write_text("one")
    os.utime(photo, ns=(1, 1))

    def made(**changes):
        given = {"config": {"name": "x", "seed": 0}, "files": [photo], "data": b"table", "besides": None, **changes}
        with conversion(tmp_path / "set", **given) as new:
            mark = (new.folder / "fingerprint").read_text()
        return mark

    first = made()
    assert first == "5a32dd2486ce39ee04073e232e644083bfe46ee5b2e4927e653e7fe9fd1aa1c5"
    others = [{"config": {"name": "x", "seed": 1}}, {"files": []}, {"data": b""}, {"besides": {"way": 2}}]
    assert len({first, *(made(**change) for change in others)}) == 5 and made() == first
    assert made(files=[tmp_path / "link to nowhere"]) != first
    photo.write_text("two")
    assert made() != first


def test_photos_without_a_row_are_removed(tmp_path):
    with conversion(tmp_path / "set", config={"which": "one"}) as new:
        (new.folder / "images" / "dropped_later.jpg").write_text("")
    write_dataset(tmp_path / "set", which="one")
    assert which_dataset(tmp_path / "set") == "one"


def test_photos_without_a_row_are_removed_from_folders_of_a_source_s_own_too(tmp_path):
    with conversion(tmp_path / "set", config={}) as new:
        for path in ("train/query/1.jpg", "train/query/2.jpg", "train/catalog/3.jpg", "hf/4.jpg"):
            (new.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (new.folder / path).touch()
        manifest = make_manifest(1).assign(path="train/query/1.jpg")
        new.finish(manifest=manifest, dropped=[], read=1, photo_folders=["train", "test"])
    left = sorted(path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").rglob("*"))
    assert [path for path in left if "." not in path or path.endswith("jpg")] == [
        "hf", "hf/4.jpg", "train", "train/query", "train/query/1.jpg",
    ]  # fmt: skip


def test_folders_of_others_beside_it_are_never_touched(tmp_path):
    for end in (".old", ".partial"):
        for name in ("set", "new"):
            (tmp_path / (name + end)).mkdir()
            (tmp_path / (name + end) / "thesis.txt").write_text("precious")
    for which in ("one", "two"):
        write_dataset(tmp_path / "set", which=which)
    with pytest.raises(InputError, match="no prepared dataset there"):
        read_dataset(tmp_path / "new")
    (tmp_path / "new").write_text("refused")
    with pytest.raises(InputError, match="left alone"):
        write_dataset(tmp_path / "new")
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["new", "new.old", "new.partial", "set", "set.old", "set.partial"]
    assert all((tmp_path / name / "thesis.txt").read_text() == "precious" for name in kept if "." in name)


def test_a_refused_conversion_leaves_nothing_and_a_stopped_one_what_it_has_done(tmp_path):
    with pytest.raises(InputError):
        write_dataset(tmp_path / "set", fault=InputError)
    assert not any(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", fault=KeyboardInterrupt)
    with pytest.raises(InputError):
        write_dataset(tmp_path / "set", rows=1, fault=InputError)  # such as a mistake in the next command
    with conversion(tmp_path / "set", config={"which": "one"}) as new:
        assert (new.folder / "images" / "id3.jpg").exists()
    write_dataset(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


TWO_AT_ONCE = """
import sys, time
from pathlib import Path
import pandas as pd
from fashionclip.manifest import MANIFEST_COLUMNS
from fashionclip.prepare.conversion import conversion

root, which = Path(sys.argv[1]), sys.argv[2]
with conversion(root, config={"which": which}) as new:
    if not new.standing:
        ids = [f"id{row}" for row in range(20)]
        table = pd.DataFrame({name: ids for name in MANIFEST_COLUMNS})
        table["split"] = ["train", "val", "test", *["train"] * 17]
        table["path"] = [f"images/{name}.jpg" for name in ids]
        for path in table["path"]:
            (new.folder / path).write_text(which)
            time.sleep(0.01)
        new.finish(manifest=table, dropped=[], read=20)
"""


@pytest.mark.parametrize("second", [pytest.param("one", marks=pytest.mark.slow), "two"])
def test_two_conversions_to_one_root_come_one_after_the_other(tmp_path, second):
    started = [
        subprocess.Popen([sys.executable, "-c", TWO_AT_ONCE, tmp_path / "set", name], stdout=subprocess.PIPE, text=True)
        for name in ("one", second)
    ]
    said = sorted(process.communicate()[0].strip() for process in started)
    assert [process.returncode for process in started] == [0, 0]
    assert ["kept 20 of 20" in text for text in said] == ([False, True] if second == "one" else [True, True])
    assert ["already prepared" in text for text in said] == ([True, False] if second == "one" else [False, False])
    assert which_dataset(tmp_path / "set") in ("one", second)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("file", ["images/id2.jpg", "manifest.parquet"])
@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_text("")])
def test_a_dataset_that_lost_a_file_is_prepared_again(tmp_path, harm, file):
    """ "Re-run prepare.py" is what the message of a photo that cannot be read says."""
    assert write_dataset(tmp_path / "set")
    harm(tmp_path / "set" / file)
    assert write_dataset(tmp_path / "set")
    assert which_dataset(tmp_path / "set") == "one"
    assert not write_dataset(tmp_path / "set")


def test_folder_that_is_no_dataset_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    for root in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(InputError, match=r"left alone\. Choose another dataset\.root"):
            write_dataset(root)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
