import random
from collections import Counter

import pandas as pd
import pytest

from fashionclip.data.seen_skus import rows_of_seen_skus


def manifest_of(pairs, *, photos=(2, 3), seed=0):
    """Pairs of 1 to 3 SKUs with some photos of both domains each, in random order of rows."""
    rng = random.Random(seed)
    rows = []
    for split, number in pairs.items():
        for pair in range(number):
            for sku in range(rng.randint(1, 3)):
                for domain in ("query", "catalog"):
                    rows += [(split, f"{split}/{pair}", f"{split}/{pair}/{sku}", domain)] * rng.choice(photos)
    rng.shuffle(rows)
    return pd.DataFrame(rows, columns=["split", "group_id", "item_id", "domain"])


def sku_count(rows):
    return rows.loc[rows["domain"] == "catalog", "item_id"].nunique()


@pytest.mark.parametrize("seed", range(4))
def test_as_many_skus_as_the_test_split_and_no_more_photos(seed):
    manifest = manifest_of({"train": 40, "val": 5, "test": 8}, seed=seed)
    chosen = rows_of_seen_skus(manifest)
    rows, test = manifest.iloc[chosen.tolist()], manifest[manifest["split"] == "test"]
    assert set(rows["split"]) == {"train"} and chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(rows) <= len(test) and 0.7 * sku_count(test) <= sku_count(rows) <= sku_count(test)
    of_train = manifest[manifest["split"] == "train"]
    assert set(rows.index) == set(of_train.index[of_train["item_id"].isin(rows["item_id"])]), "SKUs are whole"
    skus, of_group = (t.drop_duplicates("item_id")["group_id"].value_counts() for t in (rows, of_train))
    assert sum(skus[group] < of_group[group] for group in skus.index) <= 1, "so are pairs, but the last"
    shuffled = manifest.sample(frac=1, random_state=seed)
    again = shuffled.reset_index(drop=True).iloc[rows_of_seen_skus(shuffled.reset_index(drop=True)).tolist()]
    assert Counter(again["item_id"]) == Counter(rows["item_id"]), "whatever the order of the rows"


def test_of_few_photos_in_training_all_are_taken():
    manifest = manifest_of({"train": 2, "val": 1, "test": 9})
    assert (
        manifest["split"].iloc[rows_of_seen_skus(manifest).tolist()].tolist()
        == ["train"] * (manifest["split"] == "train").sum()
    )


def test_the_number_of_photos_binds_where_training_has_more_of_a_sku():
    manifest = pd.concat([manifest_of({"train": 20}, photos=(9,)), manifest_of({"test": 10})], ignore_index=True)
    found = len(rows_of_seen_skus(manifest))
    assert 0.5 < found / (manifest["split"] == "test").sum() <= 1


def test_the_number_of_skus_binds_where_training_has_fewer_photos_of_a_sku():
    manifest = pd.concat([manifest_of({"train": 60}, photos=(1,)), manifest_of({"test": 10})], ignore_index=True)
    found = sku_count(manifest.iloc[rows_of_seen_skus(manifest).tolist()])
    assert found == sku_count(manifest[manifest["split"] == "test"])


@pytest.mark.parametrize("domain", ["", "query", "catalog"])
def test_without_queries_or_a_catalogue_there_are_none(domain):
    assert rows_of_seen_skus(manifest_of({"train": 5, "test": 5}).assign(domain=domain)).tolist() == []


def test_a_gallery_of_distractors_counts_as_catalogue():
    manifest = manifest_of({"train": 30, "test": 6})
    lonely = pd.DataFrame({"split": "test", "group_id": "test/x", "item_id": [f"test/x{i}" for i in range(10)]})
    more = pd.concat([manifest, lonely.assign(domain="catalog")], ignore_index=True)
    assert len(rows_of_seen_skus(more)) > len(rows_of_seen_skus(manifest))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_may_be_absent(split):
    assert rows_of_seen_skus(manifest_of({split: 5})).tolist() == []
