import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset
from fashionclip.prepare.derived_judgements import COLUMNS, derive_judgements, judge_rows
from fashionclip.prepare.mismatches import Mismatches, normalised
from fashionclip.prepare.rewording import with_less, with_misspelling, with_synonym
from fashionclip.prepare.vocabulary import ASPECTS, CATEGORY, COLOUR, MATERIAL, NECK, PATTERN, SLEEVE

KINDS = {"shuffled": 0.5, "colour": 0.2, "category": 0.1, "material": 0.1, "feature": 0.1}
VARIATIONS = {"synonym": 0.15, "misspelling": 0.15, "less detail": 0.2}
COLOURS = ("Red", "Maroon", "Navy Blue", "Blue", "Black", "White", "Green", "Multi")
ARTICLES = ("Shirt", "T-shirt", "Jeans", "Skirt", "Dress", "Sandals", "Handbag", "Watch")


def catalogue(count: int = 400, *, seed: int = 0, attributes: bool = True) -> pd.DataFrame:
    """Products whose names repeat across colours, and whose attributes say more than texts, or something else."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        colour, article = rng.choice(COLOURS), rng.choice(ARTICLES)
        words = [rng.choice(("Acme", "Bolt", "Red Tape")), rng.choice(("Men", "Women"))]
        words += [rng.choice(("Leather", "Cotton", "Silk"))] if rng.random() < 0.5 else []
        words += [rng.choice(("Striped", "Solid", "Check", "Long Sleeve", "Sleeveless"))] if rng.random() < 0.5 else []
        words += [colour] if rng.random() < 0.8 else []
        row = {"image_id": f"p{number}", "text": " ".join([*words, article]), "item_id": f"p{number}"}
        row["group_id"] = rng.choice((row["text"], f"g{number // 3}"))
        row["colour"] = colour if rng.random() < 0.9 else rng.choice((*COLOURS, ""))
        row["category"] = f"{article}s" if rng.random() < 0.9 else ""
        row["gender"] = words[-1] if rng.random() < 0.9 else ""
        row["split"] = ("train", "train", "val", "test")[number % 4]
        rows.append(row)
    table = pd.DataFrame(rows)
    return table if attributes else table.drop(columns=["colour", "category", "gender"])


def judge(manifest: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    settings: dict[str, Any] = {
        "matches": 2,
        "mismatches": 2,
        "kinds": KINDS,
        "variations": VARIATIONS,
        "seed": 0,
        **changes,
    }
    return judge_rows(manifest, **settings)


def spoken(text: str, aspect: Any) -> set[str]:
    """What a text by itself says in one aspect."""
    return set(aspect.families(term.name for term in aspect.find(text)))


def truth(manifest: pd.DataFrame, product: dict[str, str], aspect: Any) -> set[str]:
    """Everything that is said of a product in one aspect, by anybody: a loop over all products."""
    families: set[str] = set()
    for other in manifest.to_dict("records"):
        same = any(other[key] == product[key] for key in ("group_id", "item_id", "text"))
        if same or normalised(other["text"]) == normalised(product["text"]):
            for value in (other["text"], *(other.get(column, "") for column in aspect.columns)):
                families |= aspect.families(term.name for term in aspect.find(value))
    return families


@pytest.mark.parametrize("attributes", [True, False])
def test_a_hard_mismatch_is_never_true_by_accident(attributes) -> None:
    manifest = catalogue(attributes=attributes)
    judged = judge(manifest, variations={}, matches=1, mismatches=1)
    product = {row["image_id"]: row for row in manifest.to_dict("records")}
    hard = judged[~judged["kind"].isin(["match", "shuffled"])]
    assert set(hard["kind"]) == {"colour", "category", "material", "feature"} and len(hard) > 100
    for row in hard.to_dict("records"):
        own = product[row["image_id"]]
        contradicted = []
        for aspect in (aspect for aspect in ASPECTS if aspect.kind == row["kind"]):
            said = [term.name for term in aspect.find(row["text"])]
            if "Red Tape" in row["text"] and aspect is COLOUR and row["made"] == "edited":
                said = said[1:]  # the brand
            true = truth(manifest, own, aspect)
            if said and true and not aspect.families(said) & true:
                contradicted.append(aspect)
        assert contradicted, (row, own)
        bearers = [
            other for other in manifest.to_dict("records") if normalised(other["text"]) == normalised(row["text"])
        ]
        assert not any(truth(manifest, b, contradicted[0]) & truth(manifest, own, contradicted[0]) for b in bearers)


def test_a_shuffled_text_contradicts_what_is_known_and_is_of_the_same_split() -> None:
    manifest = catalogue()
    bare = manifest.drop(columns=["colour", "category", "gender"])
    assert set(judge(bare, kinds={"shuffled": 1.0})["kind"]) == {"match", "shuffled"}, "without any attribute"
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


def test_shares_hold_and_labels_are_balanced_in_every_split() -> None:
    judged = judge(catalogue(1200))
    assert list(judged.columns) == list(COLUMNS) and not judged.duplicated(["image_id", "text", "label"]).any()
    for _, part in judged.groupby("split"):
        kinds = Counter(part["kind"])
        mismatches = sum(count for kind, count in kinds.items() if kind != "match")
        assert kinds["match"] == mismatches
        for kind, share in KINDS.items():
            assert kinds[kind] / mismatches == pytest.approx(share, abs=0.03)
    by_label = judged.groupby("label")["variation"].value_counts()
    assert by_label["match"].to_dict() == by_label["mismatch"].to_dict(), "variation must tell nothing of the label"
    assert set(judged["variation"]) == {"", "synonym", "misspelling", "less detail"}
    only_first = judge(catalogue(1200), matches=1, mismatches=1)
    assert (only_first["variation"] == "misspelling").mean() == pytest.approx(0.15, abs=0.04)
    assert set(judge(catalogue(), variations={}, matches=3, mismatches=3)["variation"]) == {""}


@pytest.mark.parametrize(("matches", "mismatches"), [(1, 3), (3, 1), (2, 3)])
def test_labels_are_as_many_as_asked_and_variation_still_tells_nothing(matches, mismatches) -> None:
    judged = judge(catalogue(1200), matches=matches, mismatches=mismatches)
    counts = judged["label"].value_counts()
    assert counts["match"] / counts["mismatch"] == pytest.approx(matches / mismatches, rel=0.1)
    varied = (judged["variation"] != "").groupby(judged["label"]).mean()
    assert varied["match"] == pytest.approx(varied["mismatch"], abs=0.04)
    assert not judged.duplicated(["image_id", "text", "label"]).any()


def test_what_is_made_repeats_by_seed() -> None:
    assert judge(catalogue()).equals(judge(catalogue()))
    assert not judge(catalogue()).equals(judge(catalogue(), seed=1))


def test_texts_that_no_vocabulary_knows_are_shuffled() -> None:
    manifest = pd.DataFrame({"image_id": list("abcdef"), "text": [f"Big scarfy energy {n}" for n in "uvwxyz"]})
    manifest = manifest.assign(item_id=manifest["image_id"], group_id=manifest["image_id"], split="train")
    judged = judge(manifest, matches=1, mismatches=1)
    assert len(judged) == 12 and set(judged["kind"]) == {"match", "shuffled"}
    assert judge(manifest.assign(group_id="one")).empty, "of one group, nothing is surely wrong"


@pytest.mark.parametrize(
    ("aspect", "text", "expected"),
    [
        (COLOUR, "Navy Blue Shirt", ["navy blue"]),
        (COLOUR, "GREY top, off-white", ["grey", "off white"]),
        (COLOUR, "Redesigned blackish", []),
        (CATEGORY, "T-Shirts", ["t shirt"]),
        (CATEGORY, "Tshirt and Track Pants", ["t shirt", "track pant"]),
        (CATEGORY, "Dresses", ["dress"]),
        (MATERIAL, "Leatherette bag, faux leather", ["leatherette", "faux leather"]),
        (SLEEVE, "Long-sleeved, half sleeves", ["long sleeved", "half sleeve"]),
        (NECK, "V-neck and Round Neck", ["v neck", "round neck"]),
        (PATTERN, "Stripes, Polka dots, Checkered", ["stripe", "polka dot", "checkered"]),
    ],
)
def test_terms_are_found_as_whole_words_longest_first(aspect, text, expected) -> None:
    assert [term.name for term in aspect.find(text)] == expected


def test_only_the_word_that_states_the_attribute_is_changed() -> None:
    manifest = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "text": ["Red Tape Men Black Shoes", "Bolt Men White Shoes", "Bolt Men Charcoal Shoes"],
            "colour": ["Black", "White", "Charcoal"],
            "category": "Shoes",
            "split": "train",
        }
    )
    manifest = manifest.assign(item_id=manifest["image_id"], group_id=manifest["image_id"])
    wrong = Mismatches(manifest).find(0, "colour", rng=random.Random(0))
    assert wrong is not None and wrong.made == "edited"
    assert wrong.text == "Red Tape Men White Shoes", "charcoal could be called black, and red is the brand"


def test_a_synonym_keeps_case_and_a_misspelling_is_no_other_word() -> None:
    rng = random.Random(0)
    assert {with_synonym("Grey SAREE", rng=rng) for _ in range(20)} == {"Gray SAREE", "Grey SARI"}
    assert with_synonym("Nothing to say", rng=rng) is None
    assert with_misspelling("a 5 XL", words=set(), rng=rng) is None
    slips = {with_misspelling("boots", words={"boot", "boost", "bots"}, rng=rng) for _ in range(200)}
    assert None not in slips and not slips & {"boots", "boot", "boost", "bots"} and len(slips) > 3
    assert all(slip is not None and slip[0] == "b" for slip in slips)


def test_less_detail_keeps_what_is_said_of_the_garment() -> None:
    rng = random.Random(0)
    shorter = {with_less("Acme Bolt Blue Striped T-shirt", rng=rng) for _ in range(40)}
    says = "Blue Striped T-shirt"
    assert shorter - {None} == {says, f"Acme {says}", f"Bolt {says}"}
    assert with_less("Blue Shirt", rng=rng) is None, "nothing can go"
    assert {with_less("Acme Shirt", rng=rng) for _ in range(20)} == {None}, "one word says too little"


def test_a_text_of_another_product_keeps_its_detail_since_less_of_it_might_be_true() -> None:
    judged = judge(catalogue(), matches=6, mismatches=6)
    shorter = judged[judged["variation"] == "less detail"]
    assert set(shorter["kind"]) >= {"match", "colour"} and "shuffled" not in set(shorter["kind"])


def derive(source: PreparedDataset, root: Path, **changes: Any) -> PreparedDataset:
    settings: dict[str, Any] = {
        "matches": 2,
        "mismatches": 2,
        "kinds": KINDS,
        "variations": VARIATIONS,
        "max_side": 160,
        "seed": 0,
        "workers": 0,
        **changes,
    }
    return derive_judgements(name="judged", derive_from=source.root, root=root, **settings)


def test_the_demo_becomes_judgements_with_its_splits_and_attributes(demo_dataset, tmp_path, capsys) -> None:
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
    derive(demo_dataset, tmp_path / "out")
    assert "already prepared" in capsys.readouterr().out
    derive(demo_dataset, tmp_path / "out", seed=1)
    assert "already prepared" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": {"shuffled": 0.5}}, r"dataset\.kinds: got .*expected shares >= 0 of shuffled, colour, .* sum to 1"),
        ({"kinds": {"odd": 1.0}}, r"dataset\.kinds: got \{'odd': 1\.0\}"),
        ({"variations": {"synonym": 1.2}}, r"dataset\.variations: got .*synonym, misspelling"),
        ({"matches": 0}, r"dataset\.matches=0, dataset\.mismatches=2: expected 1 or more"),
    ],
)
def test_unusable_settings_are_one_error(demo_dataset, tmp_path, changes, message) -> None:
    with pytest.raises(InputError, match=message):
        derive(demo_dataset, tmp_path / "out", **changes)
    assert not list(tmp_path.iterdir())


def test_a_dataset_is_not_derived_onto_itself(demo_dataset) -> None:
    with pytest.raises(InputError, match=r"the same as dataset\.derive_from"):
        derive(demo_dataset, demo_dataset.root)
    with pytest.raises(InputError, match="no prepared dataset there"):
        derive(PreparedDataset(Path("no/such"), demo_dataset.manifest, {}), Path("no/where"))


def test_on_real_names_shares_hold_and_an_edit_contradicts_the_attribute(real_data) -> None:
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
        edited = judged[(judged["kind"] == aspect.kind) & (judged["made"] == "edited")]
        assert len(edited) > 100
        for row in edited.to_dict("records"):
            own = product.loc[row["image_id"]]
            before, after = own["text"].lower().split(), row["text"].lower().split()
            gone, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
            assert new and sum(gone.values()) <= 3, "one term was replaced"
            stated = aspect.families(term.name for term in aspect.find(own[column]))
            said = aspect.families(term.name for term in aspect.find(" ".join(new)))
            assert said and not said & stated, (row["text"], own.to_dict())
