import json
import random
import time

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.manifest import (
    MANIFEST_COLUMNS,
    SCHEMA_VERSION,
    assign_splits,
    check_manifest,
    joined_groups,
    ratios_with_val,
    read_dataset,
    stable_hash,
    text_key,
)

RATIOS = {"train": 0.7, "val": 0.2, "test": 0.1}


def make_manifest(rows=4):
    ids = [f"id{row}" for row in range(rows)]
    columns = {name: ids for name in MANIFEST_COLUMNS} | {
        "path": [f"images/{name}.jpg" for name in ids],
        "split": ["train"] * rows,
    }
    return pd.DataFrame(columns)


def with_cell(column, value):
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
def test_breach_of_the_contract_is_named(manifest, message):
    with pytest.raises(InputError, match=rf"(?s)^here: .*{message}"):
        check_manifest(manifest, where="here")


def test_all_breaches_are_named_at_once():
    manifest = with_cell("split", "dev").drop(columns="text")
    manifest.loc[2, "path"] = "/2.jpg"
    with pytest.raises(InputError, match="3 breaches") as error:
        check_manifest(manifest)
    assert all(name in str(error.value) for name in ("'text'", "'dev'", "'/2.jpg'"))


def test_dots_within_a_name_are_no_breach():
    check_manifest(with_cell("path", "images/a..b/..c.jpg"))


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
def test_texts_are_the_same_but_for_case_spaces_and_punctuation(one, other, same):
    assert (text_key(one) == text_key(other)) == same


def slow_groups(ids, keys, pairs):
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
def test_joined_groups_against_the_slow_oracle(seed):
    rng = random.Random(seed)
    rows = rng.randint(0, 14)
    ids = [f"id{number}" for number in rng.sample(range(100), rows)]
    keys = [[rng.choice("abcdefghijklmnop") for _ in ids] for _ in range(rng.randint(0, 2))]
    pairs = [(rng.randrange(rows), rng.randrange(rows)) for _ in range(rng.randint(0, 5) if rows else 0)]
    assert joined_groups(ids, keys=keys, pairs=pairs) == slow_groups(ids, keys, pairs)


def test_added_rows_rename_only_the_groups_they_join():
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


def test_splits_stay_when_rows_are_added_and_meet_their_ratios():
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
        {"train": 0.8, "test": 0.1},
        {},
        {"train": 0.8, "valid": 0.1, "test": 0.1},
        {"train": "most", "val": 0.1, "test": 0.1},
        {"train": 0.8, "val": float("nan"), "test": 0.2},
        0.8,
        [0.8, 0.1, 0.1],
        None,
    ],
)
def test_wrong_ratios_are_refused(ratios):
    with pytest.raises(InputError, match=r"dataset\.ratios: got .*, expected train, val and test >= 0 that sum to 1"):
        assign_splits(["a"], ratios=ratios, seed=0)


def test_a_split_that_is_left_out_of_ratios_has_no_share_but_without_val_train_gives_some(capsys):
    assert ratios_with_val({"train": 0.8, "val": 0.2}) == {"train": 0.8, "val": 0.2, "test": 0.0}
    assert ratios_with_val({"test": 1}) == {"train": 0.0, "val": 0.0, "test": 1}
    assert capsys.readouterr().out == ""
    for given in ({"train": 0.9, "test": 0.1}, {"train": 0.9, "val": 0, "test": 0.1}):
        assert ratios_with_val(given) == pytest.approx({"train": 0.81, "val": 0.09, "test": 0.1})
        assert "dataset.ratios: no val, so 10% of train become val" in capsys.readouterr().out
    assert set(assign_splits(["a", "b"], ratios={"train": 1.0}, seed=0)) == {"train"}, "which deals as it is told"


@pytest.mark.slow
def test_a_million_rows_are_read_within_half_a_minute(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION}))
    make_manifest(1_000_000).to_parquet(tmp_path / "manifest.parquet", index=False)
    start = time.perf_counter()
    assert len(read_dataset(tmp_path).manifest) == 1_000_000
    assert time.perf_counter() - start < 30
