import numpy as np
import pandas as pd
import pytest

from fashionclip.manifest import RATIOS
from fashionclip.prepare.judgements.splits import balanced_splits, split_groups


def test_splits_are_balanced_by_label_also_where_groups_are_not():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 2000)
    labels = np.where(rng.random(2000) < (groups % 3) / 2, "match", "mismatch")  # groups of one label, and mixed ones
    rows = pd.DataFrame({"group_id": groups.astype(str), "label": labels})
    split = rows["group_id"].map(balanced_splits(rows, ratios={"train": 0.8, "val": 0.1, "test": 0.1}, seed=0))
    share = (rows["label"] == "match").groupby(split).mean()
    assert share.between(share.mean() - 0.03, share.mean() + 0.03).all()
    assert split.value_counts(normalize=True).sub(pd.Series({"train": 0.8, "val": 0.1, "test": 0.1})).abs().max() < 0.01


def test_splits_are_balanced_by_label_where_small_groups_have_another_than_large_ones():
    pairs = [(f"large{n}", label) for n in range(150) for label in ("match", "mismatch")]
    rows = pd.DataFrame([*pairs, *((f"small{n}", "mismatch") for n in range(100))], columns=["group_id", "label"])
    split = rows["group_id"].map(balanced_splits(rows, ratios={"train": 0.8, "val": 0.1, "test": 0.1}, seed=0))
    counts = rows.groupby([split, "label"]).size().unstack()
    expected = pd.DataFrame({"match": [15, 120, 15], "mismatch": [25, 200, 25]}, index=["test", "train", "val"])
    assert (counts - expected).abs().max().max() <= 1


@pytest.mark.parametrize(
    ("given", "divided", "says"),
    [
        (["train", "val"], {"val": {"val", "test"}}, "no test split: val is divided into val and test"),
        (["train", "test"], {"train": {"train", "val"}}, "no val split: train is divided into train and val"),
        (["train"], {"train": {"train", "val", "test"}}, "no val or test split: train is divided into train and val"),
        (["train", "val", "test"], {}, ""),
        (["test"], {}, ""),
    ],
)
def test_a_split_that_is_not_given_is_a_part_of_another(given, divided, says, capsys):
    rows = [(f"{split}{n}", split, label) for split in given for n in range(40) for label in ("match", "mismatch")]
    rows = pd.DataFrame(rows, columns=["group_id", "split", "label"])
    got = rows["group_id"].map(split_groups(rows, ratios=RATIOS, seed=0))
    for split in given:
        assert set(got[rows["split"] == split]) == divided.get(split, {split})
    assert says in capsys.readouterr().out
    two_way = split_groups(rows, ratios={"train": 0.8, "val": 0.2, "test": 0.0}, seed=0)
    assert "test" in given or "test" not in two_way.values(), "none was asked for"
