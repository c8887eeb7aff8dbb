import json
import math
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset, stable_hash, text_key
from fashionclip.prepare.judgements.from_dataset import DERIVED_COLUMNS, judge_rows, prepare_judgements_derived
from fashionclip.prepare.judgements.text_only import text_only_auroc, text_only_scores
from fashionclip.prepare.judgements.vocabulary import ASPECTS, CATEGORY, COLOUR

KINDS = {"shuffled": 0.5, "colour": 0.2, "category": 0.1, "material": 0.1, "feature": 0.1}
VARIATIONS = {"synonym": 0.15, "misspelling": 0.15, "less detail": 0.2}


def judge(manifest, **changes):
    settings = {
        "matches": 2,
        "mismatches": 2,
        "kinds": KINDS,
        "variations": VARIATIONS,
        "seed": 0,
        **changes,
    }
    return judge_rows(manifest, **settings)


def spoken(text, aspect):
    """What a text by itself says in one aspect."""
    return set(aspect.families(term.name for term in aspect.find(text)))


def truth(manifest, product, aspect):
    """Everything that is said of a product in one aspect, by anybody: a loop over all products."""
    families = set()
    for other in manifest.to_dict("records"):
        same = any(other[key] == product[key] for key in ("group_id", "item_id", "text"))
        if same or text_key(other["text"]) == text_key(product["text"]):
            for value in (other["text"], *(other.get(column, "") for column in aspect.columns)):
                families |= aspect.families(term.name for term in aspect.find(value))
    return families


@pytest.mark.parametrize("attributes", [True, False])
def test_a_hard_mismatch_is_never_true_by_accident(attributes, catalogue):
    manifest = catalogue(attributes=attributes)
    judged = judge(manifest, variations={}, matches=1, mismatches=1)
    product = {row["image_id"]: row for row in manifest.to_dict("records")}
    hard = judged[(judged["label"] == "mismatch") & (judged["kind"] != "shuffled")]
    assert set(hard["kind"]) == {"colour", "category", "material", "feature"} and len(hard) > 100
    for row in hard[::3].to_dict("records"):
        own = product[row["image_id"]]
        contradicted = []
        for aspect in (aspect for aspect in ASPECTS if aspect.kind == row["kind"]):
            said, true = spoken(row["text"], aspect), truth(manifest, own, aspect)
            if said and true and not said & true:
                contradicted.append(aspect)
        assert contradicted, (row, own)
        bearers = [other for other in manifest.to_dict("records") if text_key(other["text"]) == text_key(row["text"])]
        assert bearers, "no text is made up"
        assert not any(truth(manifest, b, contradicted[0]) & truth(manifest, own, contradicted[0]) for b in bearers)


def test_a_shuffled_text_contradicts_what_is_known_and_is_of_the_same_split(catalogue):
    manifest = catalogue()
    bare = manifest.drop(columns=["colour", "category", "gender"])
    assert set(judge(bare, kinds={"shuffled": 1.0})["kind"]) == {"shuffled"}, "without any attribute"
    judged = judge(manifest, kinds={"shuffled": 1.0}, variations={})
    product = {row["image_id"]: row for row in manifest.to_dict("records")}
    for row in judged[judged["label"] == "mismatch"].to_dict("records")[:150]:
        own = product[row["image_id"]]
        bearers = [b for b in product.values() if b["text"] == row["text"] and b["split"] == own["split"]]
        assert bearers
        assert all(b["group_id"] != own["group_id"] for b in bearers)
        assert any(
            (mine := truth(manifest, own, aspect)) and (said := spoken(row["text"], aspect)) and not mine & said
            for aspect in ASPECTS
        )


def test_shares_hold_and_labels_are_balanced_in_every_split(catalogue):
    judged = judge(catalogue(1200))
    assert list(judged.columns) == list(DERIVED_COLUMNS) and not judged.duplicated(["image_id", "text", "label"]).any()
    for _, part in judged.groupby("split"):
        kinds = Counter(part["kind"][part["label"] == "mismatch"])
        mismatches = sum(kinds.values())
        assert mismatches == (part["label"] == "match").sum()
        for kind, share in KINDS.items():
            assert kinds[kind] / mismatches == pytest.approx(share, abs=0.03)
    assert set(judged["variation"]) == {"", "synonym", "misspelling", "less detail"}
    only_first = judge(catalogue(1200), matches=1, mismatches=1)
    assert (only_first["variation"] == "misspelling").mean() == pytest.approx(0.15, abs=0.04)
    assert set(judge(catalogue(), variations={}, matches=3, mismatches=3)["variation"]) == {""}


@pytest.mark.parametrize("attributes", [True, False])
def test_each_text_is_as_often_right_as_wrong(attributes, catalogue):
    judged = judge(catalogue(attributes=attributes), matches=4, mismatches=4)
    assert judged["text"].str.casefold().nunique() > 300 and judged["kind"].nunique() == 5
    counts = judged.groupby(["split", "kind", "text", "variation", "label"]).size().unstack(fill_value=0)
    assert (counts["match"] == counts["mismatch"]).all()


def naive_bayes(texts, match):
    """Another model that sees only texts, written for this test: words and their neighbours, counted."""
    counts = {True: Counter(), False: Counter()}
    for text, label in zip(texts, match, strict=True):
        counts[label].update(set(text.lower().split()) | set(map(" ".join, pairwise(text.lower().split()))))

    def score(text):
        parts = set(text.lower().split()) | set(map(" ".join, pairwise(text.lower().split())))
        return sum(math.log((counts[True][part] + 1) / (counts[False][part] + 1)) for part in parts)

    return score


def blind_auroc(judged):
    """Of naive Bayes, fitted on train, by kind on test: a loop over all pairs."""
    train, test = judged[judged["split"] == "train"], judged[judged["split"] == "test"]
    score = naive_bayes(train["text"].tolist(), (train["label"] == "match").tolist())
    found = {}
    for kind in KINDS:
        of_kind = test[test["kind"] == kind]
        matches, mismatches = (
            [score(text) for text in of_kind["text"][of_kind["label"] == label]] for label in ("match", "mismatch")
        )
        wins = [(m > n) + (m == n) / 2 for m in matches for n in mismatches]
        found[kind] = sum(wins) / len(wins)
    return found


def test_who_sees_only_texts_is_at_chance_by_another_classifier_too(catalogue):
    judged = judge(catalogue(800), matches=3, mismatches=3)
    assert blind_auroc(judged) == pytest.approx(dict.fromkeys(KINDS, 0.5))
    told = judged.assign(text=judged["text"] + (judged["label"] == "match").map({True: " new", False: ""}))
    assert min(blind_auroc(told).values()) > 0.9, "it does find what tells"


@pytest.mark.parametrize(("matches", "mismatches"), [(1, 3), (3, 1), (2, 3)])
def test_labels_are_as_many_as_asked_and_variation_still_tells_nothing(matches, mismatches, catalogue):
    judged = judge(catalogue(1200), matches=matches, mismatches=mismatches)
    counts = judged["label"].value_counts()
    assert counts["match"] / counts["mismatch"] == pytest.approx(matches / mismatches, rel=0.1)
    assert judged.groupby(["image_id", "label"]).size().unstack().max().to_dict() == {
        "match": matches,
        "mismatch": mismatches,
    }
    varied = (judged["variation"] != "").groupby(judged["label"]).mean()
    assert varied["match"] == pytest.approx(varied["mismatch"], abs=0.04)
    assert not judged.duplicated(["image_id", "text", "label"]).any()


def test_what_is_made_repeats_by_seed(catalogue):
    assert judge(catalogue()).equals(judge(catalogue()))
    assert not judge(catalogue()).equals(judge(catalogue(), seed=1))


def test_texts_that_no_vocabulary_knows_are_shuffled():
    manifest = pd.DataFrame({"image_id": list("abcdef"), "text": [f"Big scarfy energy {n}" for n in "uvwxyz"]})
    manifest = manifest.assign(item_id=manifest["image_id"], group_id=manifest["image_id"], split="train")
    judged = judge(manifest, matches=1, mismatches=1)
    assert len(judged) == 12 and set(judged["kind"]) == {"shuffled"}
    assert judge(manifest.assign(group_id="one")).empty, "of one group, nothing is surely wrong"


def test_a_text_of_another_product_keeps_its_detail_since_less_of_it_might_be_true(catalogue):
    judged = judge(catalogue(), matches=6, mismatches=6)
    shorter = judged[judged["variation"] == "less detail"]
    assert "colour" in set(shorter["kind"]) and "shuffled" not in set(shorter["kind"])


def derive(source, root, **changes):
    settings = {"matches": 2, "mismatches": 2, "max_side": 160, "workers": 0, **changes}
    return prepare_judgements_derived(source=source.root, root=root, **settings)


def test_the_demo_becomes_judgements_with_its_splits_and_attributes(demo_dataset, tmp_path, capsys):
    dataset = derive(demo_dataset, tmp_path / "out")
    said = capsys.readouterr().out
    judged = pd.read_parquet(dataset.root / "judgements.parquet")
    source = demo_dataset.manifest.set_index("image_id")
    manifest = read_dataset(dataset.root).manifest.set_index("image_id")
    assert manifest.equals(source.loc[manifest.index])
    assert (judged["image_id"].map(source["split"]) == judged["split"]).all()
    assert set(judged["image_id"]) == set(manifest.index)
    assert all((dataset.root / path).is_file() for path in manifest["path"])
    counts = json.loads((dataset.root / "dataset.json").read_text())["config"]["judgements"]
    assert f"{counts['train']['match']} match" in said
    assert counts["train"]["match"] == sum(n for kind, n in counts["train"].items() if kind != "match")
    blind = json.loads((dataset.root / "dataset.json").read_text())["config"]["text_only_auroc"]
    assert set(blind["test"].values()) == {0.5} and {"all", "colour"} <= set(blind["test"])
    assert "model that sees only the texts (0.5: they tell nothing): all 0.500" in said
    derive(demo_dataset, tmp_path / "out")
    assert "already prepared" in capsys.readouterr().out
    derive(demo_dataset, tmp_path / "out", seed=1)
    assert "already prepared" not in capsys.readouterr().out


def test_a_photo_that_was_left_over_is_told_from_one_without_a_wrong_text(demo_dataset, tmp_path):
    """Three products in train, one of which finds no second to exchange with, and one alone in test."""
    source = PreparedDataset(tmp_path / "in", pd.DataFrame(), {})
    shutil.copytree(demo_dataset.root, source.root)
    manifest = demo_dataset.manifest.drop_duplicates("group_id").head(4)
    manifest = manifest.assign(split=["train"] * 3 + ["test"], text=["Red Shirt", "Blue Shirt", "Green Shirt", "Bag"])
    manifest.reset_index(drop=True).to_parquet(source.root / "manifest.parquet")
    dataset = derive(source, tmp_path / "out", matches=1, mismatches=1)
    dropped = pd.read_csv(dataset.root / "dropped.csv", dtype=str).set_index("image_id")
    alone = manifest["image_id"].iloc[3]
    assert sorted(dropped["reason"]) == ["left_over", "no_mismatch"] and dropped["reason"][alone] == "no_mismatch"
    assert "belongs to a photo that has no exchange left" in dropped["detail"].drop(alone).item()
    assert len(pd.read_parquet(dataset.root / "judgements.parquet")) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": {"shuffled": 0.5}}, r"dataset\.kinds: got .*expected shares >= 0 of shuffled, colour, .* sum to 1"),
        ({"kinds": {"odd": 1.0}}, r"dataset\.kinds: got \{'odd': 1\.0\}"),
        ({"variations": {"synonym": 1.2}}, r"dataset\.variations: got .*synonym, misspelling"),
        ({"matches": 0}, r"dataset\.matches=0, dataset\.mismatches=2: expected 1 or more"),
    ],
)
def test_unusable_settings_are_one_error(demo_dataset, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        derive(demo_dataset, tmp_path / "out", **changes)
    assert not list(tmp_path.iterdir())


def test_a_dataset_is_not_derived_onto_itself(demo_dataset):
    with pytest.raises(InputError, match=r"the same as dataset\.source"):
        derive(demo_dataset, demo_dataset.root)
    with pytest.raises(InputError, match="no prepared dataset there"):
        derive(PreparedDataset(Path("no/such"), demo_dataset.manifest, {}), Path("no/where"))


def test_on_real_names_shares_hold_and_an_edit_contradicts_the_attribute(real_data):
    table = pd.read_csv(real_data / "kaggle-products" / "styles.csv", on_bad_lines="skip", dtype=str).dropna()[:3000]
    manifest = pd.DataFrame(
        {
            "image_id": table["id"],
            "text": table["productDisplayName"].str.split().str.join(" "),
            "colour": table["baseColour"],
            "category": table["articleType"],
            "gender": table["gender"],
            "item_id": table["id"],
            "split": "train",
        }
    ).reset_index(drop=True)
    manifest["group_id"] = manifest["text"]
    judged = judge(manifest, variations={})
    shares = judged[judged["label"] == "mismatch"]["kind"].value_counts(normalize=True)
    assert shares["shuffled"] == pytest.approx(0.5, abs=0.02) and shares["colour"] > 0.19
    product = manifest.set_index("image_id")
    for aspect, column in ((COLOUR, "colour"), (CATEGORY, "category")):
        wrong = judged[(judged["kind"] == aspect.kind) & (judged["label"] == "mismatch")]
        assert len(wrong) > 100
        for row in wrong.to_dict("records"):
            stated = aspect.families(term.name for term in aspect.find(product.loc[row["image_id"]][column]))
            assert stated or column == "category"
            assert not spoken(row["text"], aspect) & stated


def test_on_real_names_who_sees_only_texts_is_at_chance(real_data):
    table = pd.read_csv(real_data / "kaggle-products" / "styles.csv", on_bad_lines="skip", dtype=str).dropna()[:3000]
    names = table["productDisplayName"].str.split().str.join(" ")
    manifest = pd.DataFrame({"image_id": table["id"], "text": names, "colour": table["baseColour"]})
    manifest["item_id"] = manifest["group_id"] = names
    manifest["split"] = [("train", "val", "test")[stable_hash(name) % 3] for name in names]
    judged = judge(manifest.reset_index(drop=True), matches=4, mismatches=4)
    assert max(blind_auroc(judged).values()) <= 0.55
    judged["text_only"] = text_only_scores(judged)
    assert max(text_only_auroc(judged)["test"].values()) <= 0.55
