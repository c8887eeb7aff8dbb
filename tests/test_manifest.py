import json
import os
import random
import shutil
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.manifest import (
    MANIFEST_COLUMNS,
    SCHEMA_VERSION,
    assign_splits,
    begin_dataset,
    check_manifest,
    finish_dataset,
    joined_groups,
    preparation,
    read_dataset,
    stable_hash,
    text_key,
)

RATIOS = {"train": 0.7, "val": 0.2, "test": 0.1}


def make_manifest(rows: int = 4) -> pd.DataFrame:
    ids = [f"id{row}" for row in range(rows)]
    columns = {name: ids for name in MANIFEST_COLUMNS} | {
        "path": [f"images/{name}.jpg" for name in ids],
        "split": ["train"] * rows,
    }
    return pd.DataFrame(columns)


def write_dataset(root: Path, *, fingerprint: str = "one", rows: int = 4) -> None:
    """Puts a dataset together as a preparation does; its photos hold the fingerprint."""
    partial = begin_dataset(root, fingerprint=fingerprint)
    if partial is None:
        return
    manifest = make_manifest(rows)
    for path in manifest["path"]:
        (partial / path).write_text(fingerprint)
    finish_dataset(
        partial,
        root,
        manifest=manifest,
        dropped=pd.DataFrame([("x", "photo_missing", "no photo")], columns=["image_id", "reason", "detail"]),
        fingerprint=fingerprint,
        read=rows + 1,
        config={"seed": 0},
    )


def which_dataset(root: Path) -> str:
    """The fingerprint of the dataset that stands there, after checking that nothing of it is missing or mixed."""
    dataset = read_dataset(root)
    fingerprint = dataset.info["fingerprint"]
    assert {(root / path).read_text() for path in dataset.manifest["path"]} == {fingerprint}
    assert len(list((root / "images").iterdir())) == len(dataset.manifest) == dataset.info["counts"]["kept"]
    assert (root / "dropped.csv").is_file()
    return fingerprint


def test_what_is_written_is_read_again(tmp_path) -> None:
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


def with_cell(column: str, value: object) -> pd.DataFrame:
    manifest = make_manifest()
    manifest.loc[1, column] = value
    return manifest


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (make_manifest().drop(columns="text"), "column 'text' is missing; has .*'category'"),
        (with_cell("split", "dev"), "column 'split', row 1: 'dev', expected one of train, val, test"),
        *[
            (with_cell("path", path), "column 'path', row 1: .*, expected relative to the dataset, without '..'")
            for path in (
                "/photos/1.jpg",
                "../1.jpg",
                "images/../../1.jpg",
                "images/..",
                "C:/1.jpg",
                "images\\..\\1.jpg",
            )
        ],
        (with_cell("image_id", "id0"), "column 'image_id', row 1: 'id0', expected in this row alone"),
        (with_cell("path", "images/id0.jpg"), "column 'path', row 1: .*, expected in this row alone"),
        (with_cell("text", None), "column 'text', row 1: .*, expected a text"),
        (make_manifest().assign(category=7), "column 'category', row 0: 7, expected a text"),
        (make_manifest().assign(group_id="g", split=["train", "train", "val", "test"]), "'g' lies in two splits"),
        (make_manifest(0), "no rows. Look at dropped.csv"),
    ],
)
def test_breach_of_the_contract_is_named(manifest, message) -> None:
    with pytest.raises(InputError, match=rf"(?s)^here: .*{message}"):
        check_manifest(manifest, where="here")


def test_all_breaches_are_named_at_once() -> None:
    manifest = with_cell("split", "dev").drop(columns="text")
    manifest.loc[2, "path"] = "/2.jpg"
    with pytest.raises(InputError, match="3 breaches") as error:
        check_manifest(manifest)
    assert all(name in str(error.value) for name in ("'text'", "'dev'", "'/2.jpg'"))


def test_dots_within_a_name_are_no_breach() -> None:
    check_manifest(with_cell("path", "images/a..b/..c.jpg"))


def test_missing_folder_and_foreign_version_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"no prepared dataset there .*Run prepare\.py"):
        read_dataset(tmp_path / "nowhere")
    write_dataset(tmp_path / "set")
    info = tmp_path / "set" / "dataset.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(InputError, match=rf"schema version {SCHEMA_VERSION + 1}, this code reads {SCHEMA_VERSION}"):
        read_dataset(tmp_path / "set")
    write_dataset(tmp_path / "set")  # the remedy that the message gives
    assert which_dataset(tmp_path / "set") == "one"


def test_photos_that_are_the_same_byte_for_byte_have_one_hash(tmp_path) -> None:
    partial = begin_dataset(tmp_path / "set", fingerprint="one")
    assert partial is not None
    manifest = make_manifest(4)
    for path, content in zip(manifest["path"], ("red", "blue", "red", "reds"), strict=True):
        (partial / path).write_text(content)
    dropped = pd.DataFrame(columns=["image_id", "reason", "detail"])
    finish_dataset(partial, tmp_path / "set", manifest=manifest, dropped=dropped, fingerprint="one", read=4, config={})
    first, second, third, fourth = read_dataset(tmp_path / "set").manifest["photo_hash"]
    assert first == third and len({first, second, fourth}) == 3


def test_what_is_dropped_is_no_formula(tmp_path) -> None:
    partial = begin_dataset(tmp_path / "set", fingerprint="one")
    assert partial is not None
    manifest = make_manifest(1)
    (partial / manifest["path"][0]).touch()
    dropped = pd.DataFrame([("=cmd|x", "photo_missing", "+1", -1.5)], columns=["image_id", "reason", "detail", "n"])
    finish_dataset(partial, tmp_path / "set", manifest=manifest, dropped=dropped, fingerprint="one", read=2, config={})
    assert (tmp_path / "set" / "dropped.csv").read_text().splitlines()[1] == "'=cmd|x,photo_missing,+1,-1.5"


def test_splits_that_come_out_empty_are_said(tmp_path, capsys) -> None:
    write_dataset(tmp_path / "set", rows=4)
    assert "set: no row fell to val or test. train.py needs rows in all three splits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Men T-Shirt", "MEN  t shirt", True),
        ("Straße, ﬁne", "STRASSE fine", True),
        ("e\u0301t\u00e9", "\u00c9TE\u0301", True),
        ("Men Check Blue Shirt", "Men Blue Check Shirt", False),
        ("Nike 6.0 Bag", "Nike 60 Bag", False),
        ("\u0915\u093f", "\u0915\u0940", False),  # two vowels of Devanagari, which are marks
        ("!?", "?!", False),  # signs alone are not all the same
        ("!?", "", False),
    ],
)
def test_texts_are_the_same_but_for_case_spaces_and_punctuation(one, other, same) -> None:
    assert (text_key(one) == text_key(other)) == same


def slow_groups(ids: list[str], keys: list[list[str]], pairs: list[tuple[int, int]]) -> list[str]:
    """Lets each row take over the lower number of any row it belongs with, until nothing changes."""
    rows = range(len(ids))
    number = list(rows)
    changed = True
    while changed:
        changed = False
        for i in rows:
            for j in rows:
                together = (i, j) in pairs or (j, i) in pairs or any(key[i] == key[j] for key in keys)
                if together and number[i] > number[j]:
                    number[i], changed = number[j], True
    return [min((ids[j] for j in rows if number[j] == number[i]), key=stable_hash) for i in rows]


@pytest.mark.parametrize("seed", range(40))
def test_joined_groups_against_the_slow_oracle(seed) -> None:
    rng = random.Random(seed)
    rows = rng.randint(0, 14)
    ids = [f"id{number}" for number in rng.sample(range(100), rows)]
    keys = [[rng.choice("abcdefghijklmnop") for _ in ids] for _ in range(rng.randint(0, 2))]
    pairs = [(rng.randrange(rows), rng.randrange(rows)) for _ in range(rng.randint(0, 5) if rows else 0)]
    assert joined_groups(ids, keys=keys, pairs=pairs) == slow_groups(ids, keys, pairs)


def test_added_rows_rename_only_the_groups_they_join() -> None:
    rng = random.Random(0)
    ids = [f"id{number}" for number in range(600)]
    texts = [f"text{rng.randrange(400)}" for _ in ids]
    before = joined_groups(ids[:500], keys=[texts[:500]])
    order = rng.sample(range(600), 600)  # the new rows stand anywhere in the new table
    after = dict(
        zip(
            [ids[i] for i in order],
            joined_groups([ids[i] for i in order], keys=[[texts[i] for i in order]]),
            strict=True,
        )
    )
    joined = set(texts[500:])
    renamed = [text for row, text, old in zip(ids, texts, before, strict=False) if after[row] != old]
    assert renamed and set(renamed) <= joined


def test_splits_stay_when_rows_are_added_and_meet_their_ratios() -> None:
    groups = [f"group{number // 2}" for number in range(20_000)]
    splits = assign_splits(groups, ratios=RATIOS, seed=3)
    assert splits[0::2] == splits[1::2]
    assert assign_splits([*reversed(groups), "new"], ratios=RATIOS, seed=3)[:-1] == splits[::-1]
    for name, ratio in RATIOS.items():
        assert splits.count(name) / len(splits) == pytest.approx(ratio, abs=0.015)  # over three deviations
    assert assign_splits(groups, ratios=RATIOS, seed=4) != splits
    assert set(assign_splits(groups, ratios={"train": 0.0, "val": 1.0, "test": 0.0}, seed=0)) == {"val"}


@pytest.mark.parametrize(
    "ratios",
    [
        {"train": 0.8, "val": 0.1, "test": 0.2},
        {"train": 1.2, "val": -0.1, "test": -0.1},
        {"train": 0.8, "val": 0.2},
        {"train": 0.8, "valid": 0.1, "test": 0.1},
        {"train": "most", "val": 0.1, "test": 0.1},
        {"train": 0.8, "val": float("nan"), "test": 0.2},
        0.8,
        [0.8, 0.1, 0.1],
        None,
    ],
)
def test_wrong_ratios_are_refused(ratios) -> None:
    with pytest.raises(InputError, match=r"dataset\.ratios: got .*, expected train, val and test >= 0 that sum to 1"):
        assign_splits(["a"], ratios=ratios, seed=0)


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


def kill_before_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
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
def test_run_killed_before_any_step_leaves_old_or_new_and_can_be_repeated(tmp_path, monkeypatch, replacing) -> None:
    for number in count():
        root = tmp_path / str(number) / "set"
        root.parent.mkdir()
        if replacing:
            write_dataset(root, fingerprint="old", rows=3)
        try:
            with monkeypatch.context() as patch:
                kill_before_step(patch, number)
                write_dataset(root, fingerprint="new", rows=5)
            break
        except Killed:
            pass
        if replacing or root.exists():
            assert which_dataset(root) in ({"old", "new"} if replacing else {"new"})
        else:
            with pytest.raises(InputError, match="no prepared dataset"):
                read_dataset(root)
        for fingerprint in ("new", "third"):
            write_dataset(root, fingerprint=fingerprint, rows=2)
            assert which_dataset(root) == fingerprint
        assert [path.name for path in root.parent.iterdir()] == ["set"]
    assert number >= 12  # every write of the tables and both renames were among the steps


def test_stopped_run_goes_on_only_with_the_same_fingerprint(tmp_path) -> None:
    for fingerprint, kept in (("one", []), ("one", ["photo.jpg"]), ("two", [])):
        partial = begin_dataset(tmp_path / "set", fingerprint=fingerprint)
        assert partial is not None
        assert [path.name for path in (partial / "images").iterdir()] == kept
        (partial / "images" / "photo.jpg").write_text("")


def test_finished_dataset_is_begun_anew_only_on_request(tmp_path) -> None:
    write_dataset(tmp_path / "set", fingerprint="one")
    assert begin_dataset(tmp_path / "set", fingerprint="one") is None
    assert begin_dataset(tmp_path / "set", fingerprint="one", restart=True) is not None
    assert which_dataset(tmp_path / "set") == "one"


def test_photos_without_a_row_are_removed(tmp_path) -> None:
    partial = begin_dataset(tmp_path / "set", fingerprint="one")
    assert partial is not None
    (partial / "images" / "dropped_later.jpg").write_text("")
    write_dataset(tmp_path / "set", fingerprint="one")
    assert which_dataset(tmp_path / "set") == "one"


def test_photos_without_a_row_are_removed_from_folders_of_a_source_s_own_too(tmp_path) -> None:
    partial = begin_dataset(tmp_path / "set", fingerprint="one")
    assert partial is not None
    manifest = make_manifest(1).assign(path="train/query/1.jpg")
    for path in ("train/query/1.jpg", "train/query/2.jpg", "train/catalog/3.jpg", "hf/4.jpg"):
        (partial / path).parent.mkdir(parents=True, exist_ok=True)
        (partial / path).touch()
    dropped = pd.DataFrame(columns=["image_id", "reason", "detail"])
    finish_dataset(
        partial,
        tmp_path / "set",
        manifest=manifest,
        dropped=dropped,
        fingerprint="one",
        read=1,
        config={},
        photo_folders=["train", "test"],
    )
    left = sorted(path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").rglob("*"))
    assert [path for path in left if "." not in path or path.endswith("jpg")] == [
        "hf", "hf/4.jpg", "train", "train/query", "train/query/1.jpg",
    ]  # fmt: skip


def test_folders_of_others_beside_it_are_never_touched(tmp_path) -> None:
    for end in (".old", ".partial"):
        for name in ("set", "new"):
            (tmp_path / (name + end)).mkdir()
            (tmp_path / (name + end) / "thesis.txt").write_text("precious")
    for fingerprint in ("one", "two"):
        write_dataset(tmp_path / "set", fingerprint=fingerprint)
    with pytest.raises(InputError, match="no prepared dataset there"):
        read_dataset(tmp_path / "new")
    (tmp_path / "new").write_text("refused")
    with pytest.raises(InputError, match="left alone"):
        begin_dataset(tmp_path / "new", fingerprint="one")
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["new", "new.old", "new.partial", "set", "set.old", "set.partial"]
    assert all((tmp_path / name / "thesis.txt").read_text() == "precious" for name in kept if "." in name)


@preparation
def prepare(*, root: Path, fault: type[BaseException] | None = None, fingerprint: str = "one") -> None:
    if fault is None:
        return write_dataset(root, fingerprint=fingerprint)
    building = begin_dataset(root, fingerprint=fingerprint)
    assert building is not None
    (building / "images" / "kept.jpg").touch()
    raise fault("at the end")


def test_a_refused_preparation_leaves_nothing_and_a_stopped_one_what_it_has_done(tmp_path) -> None:
    with pytest.raises(InputError):
        prepare(root=tmp_path / "set", fault=InputError)
    assert not any(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        prepare(root=tmp_path / "set", fault=KeyboardInterrupt)
    with pytest.raises(InputError):
        prepare(root=tmp_path / "set", fault=InputError)  # such as a mistake in the next command
    building = begin_dataset(tmp_path / "set", fingerprint="one")
    assert building is not None and (building / "images" / "kept.jpg").exists()
    prepare(root=tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


TWO_AT_ONCE = """
import sys, time
from pathlib import Path
import pandas as pd
from fashionclip import manifest

root, fingerprint = Path(sys.argv[1]), sys.argv[2]

@manifest.preparation
def prepare(*, root):
    building = manifest.begin_dataset(root, fingerprint=fingerprint)
    if building is None:
        return print("stands already")
    ids = [f"id{row}" for row in range(20)]
    table = pd.DataFrame({name: ids for name in manifest.MANIFEST_COLUMNS})
    table["split"] = ["train", "val", "test", *["train"] * 17]
    table["path"] = [f"images/{name}.jpg" for name in ids]
    for path in table["path"]:
        (building / path).write_text(fingerprint)
        time.sleep(0.01)
    dropped = pd.DataFrame(columns=["image_id", "reason", "detail"])
    manifest.finish_dataset(
        building, root, manifest=table, dropped=dropped, fingerprint=fingerprint, read=20, config={}
    )
    print("kept")

prepare(root=root)
"""


@pytest.mark.parametrize("second", [pytest.param("one", marks=pytest.mark.slow), "two"])
def test_two_preparations_of_one_root_come_one_after_the_other(tmp_path, second) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", TWO_AT_ONCE, tmp_path / "set", name], stdout=subprocess.PIPE, text=True)
        for name in ("one", second)
    ]
    said = sorted(process.communicate()[0].strip() for process in started)
    assert [process.returncode for process in started] == [0, 0]
    assert said == (["kept", "stands already"] if second == "one" else ["kept", "kept"])
    assert which_dataset(tmp_path / "set") in ("one", second)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda photo: photo.write_text("")])
def test_a_dataset_that_lost_a_photo_is_prepared_again(tmp_path, harm) -> None:
    """ "Re-run prepare.py" is what the message of a photo that cannot be read says."""
    write_dataset(tmp_path / "set")
    harm(tmp_path / "set" / "images" / "id2.jpg")
    write_dataset(tmp_path / "set")
    assert which_dataset(tmp_path / "set") == "one"
    assert begin_dataset(tmp_path / "set", fingerprint="one") is None


def test_folder_that_is_no_dataset_is_left_alone(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for root in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(InputError, match=r"left alone\. Choose another dataset\.root"):
            begin_dataset(root, fingerprint="one")
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.slow
def test_a_million_rows_are_read_within_half_a_minute(tmp_path) -> None:
    write_dataset(tmp_path / "set")
    make_manifest(1_000_000).to_parquet(tmp_path / "set" / "manifest.parquet", index=False)
    start = time.perf_counter()
    assert len(read_dataset(tmp_path / "set").manifest) == 1_000_000
    assert time.perf_counter() - start < 30
