from dataclasses import replace

import pandas as pd
import pytest
import torch

from fashionclip.data.judgements import JudgementRelation, judgements_of
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import check_columns
from fashionclip.errors import InputError
from fashionclip.manifest import MANIFEST_COLUMNS, PreparedDataset


def prepared(root, *, groups="aabbccdd", texts=None, splits=None):
    manifest = pd.DataFrame("", index=range(len(groups)), columns=list(MANIFEST_COLUMNS))
    manifest["image_id"] = manifest["item_id"] = [f"p{i}" for i in range(len(groups))]
    manifest["path"] = "images/" + manifest["image_id"] + ".jpg"
    manifest["group_id"], manifest["split"] = list(groups), splits or ["train"] * len(groups)
    manifest["text"] = texts or [f"text {i}" for i in range(len(groups))]
    return PreparedDataset(root=root, manifest=manifest, info={})


def write(root, judgements):
    table = pd.DataFrame(judgements, columns=["image_id", "text", "label", "kind"])
    table.to_parquet(root / "judgements.parquet")


@pytest.fixture
def rows(tmp_path):
    write(
        tmp_path,
        [
            ("p3", "text 3", "match", "match"),
            ("p0", "text 0", "match", "match"),
            ("p3", "text 0", "mismatch", "shuffled"),
            ("p0", "text nought", "match", "match"),
            ("p0", "blue text 0", "mismatch", "colour"),
            ("p5", "text 5", "match", "match"),
        ],
    )
    dataset = prepared(tmp_path)
    return ManifestTensors(dataset, coded=["group_id"], judgements=judgements_of(dataset, seed=0))


def spoken(rows, related):
    """(photo, text, label, judgement) of every judgement of a batch."""
    judged = related.relation
    image = related.image_row[judged.image_index].tolist()
    text = [rows.text[i] for i in related.text_id[judged.text_index].tolist()]
    return list(zip(image, text, judged.label.tolist(), judged.judgement_id.tolist(), strict=True))


def test_a_batch_holds_all_judgements_of_its_photos_and_each_photo_and_text_once(rows):
    related = JudgementRelation(per_label=None, drawn=0).plan(rows, torch.tensor([3, 1, 0, 3]))
    assert related.image_row.tolist() == [0, 1, 3]
    assert sorted(rows.text[i] for i in related.text_id.tolist()) == ["blue text 0", "text 0", "text 3", "text nought"]
    assert spoken(rows, related) == [
        (0, "text 0", True, 0),
        (0, "text nought", True, 1),
        (0, "blue text 0", False, 2),
        (3, "text 3", True, 3),
        (3, "text 0", False, 4),
    ]
    assert rows.judgements.kinds == ("colour", "match", "shuffled")
    assert [rows.judgements.kinds[k] for k in rows.judgements.kind.tolist()][2:5] == ["colour", "match", "shuffled"]


def test_of_many_judgements_a_batch_has_some_of_each_label_and_photo_and_each_in_its_turn(rows):
    torch.manual_seed(0)
    relation, seen = JudgementRelation(per_label=1, drawn=0), set()
    for _ in range(20):
        found = spoken(rows, relation.plan(rows, torch.arange(8)))
        assert [row[0] for row in found] == [0, 0, 3, 3, 5] and [row[2] for row in found].count(True) == 3
        seen |= {row[3] for row in found}
    assert seen == set(range(6))


def test_photos_without_judgements_leave_an_empty_relation(rows):
    related = JudgementRelation(per_label=None, drawn=2).plan(rows, torch.tensor([1, 2]))
    assert len(related.relation) == 0 and related.image_row.tolist() == [1, 2]


def test_evaluation_brings_each_photos_own_text_too(rows):
    related = JudgementRelation(per_label=None, drawn=3).evaluated().plan(rows, torch.tensor([1, 3]))
    assert spoken(rows, related) == [(3, "text 3", True, 3), (3, "text 0", False, 4)]
    assert sorted(rows.text[i] for i in related.text_id.tolist()) == ["text 0", "text 1", "text 3"]


def test_drawn_mismatches_are_texts_of_other_groups_in_the_batch(tmp_path):
    texts = ["same", "one", "two", "same", "three", "four", "five", "one"]
    dataset = prepared(tmp_path, texts=texts)
    rows = ManifestTensors(dataset, coded=["group_id"], judgements=judgements_of(dataset, seed=0))
    torch.manual_seed(0)
    seen = set()
    for _ in range(20):
        related = JudgementRelation(per_label=None, drawn=2).plan(rows, torch.tensor([0, 1, 3, 4, 7]))
        drawn = [row for row in spoken(rows, related) if row[3] == -1]
        matches = [row for row in spoken(rows, related) if row[2]]
        assert len(drawn) == 2 * len(matches)
        for image, text, label, _ in drawn:
            assert not label
            owners = [row for row in (0, 1, 3, 4, 7) if texts[row] == text]
            assert any("aabbccdd"[owner] != "aabbccdd"[image] for owner in owners) and texts[image] != text
        seen |= {row[:2] for row in drawn}
    assert {(0, "three"), (0, "one")} <= seen, "of row 7, which is of another group"


def test_what_another_judgement_calls_a_match_is_no_drawn_mismatch(tmp_path):
    dataset = prepared(tmp_path, groups="ab", texts=["Acme Shirt Slim", "Acme Shirt"])
    table = pd.DataFrame(
        [(0, "Acme Shirt Slim"), (0, "ACME shirt"), (1, "Acme Shirt"), (1, "Blue Shirt")], columns=["image_row", "text"]
    )
    rows = ManifestTensors(dataset, coded=["group_id"], judgements=table.assign(label="match", kind="match"))
    seen = set()
    for _ in range(20):
        related = JudgementRelation(per_label=1, drawn=1).plan(rows, torch.tensor([0, 1]))
        seen |= {row[:2] for row in spoken(rows, related) if row[3] == -1}
    assert seen == {(0, "Blue Shirt"), (1, "Acme Shirt Slim")}, "the shirt in capitals is what the other one matches"


def test_a_text_in_other_case_or_of_the_same_photo_is_no_drawn_mismatch(tmp_path):
    """Of four products of four groups, 0 and 1 have one name, and 0 and 2 one photo."""
    dataset = prepared(tmp_path, groups="abcd", texts=["Red Shoe", "red  shoe", "crimson shoe", "hat"])
    dataset = replace(dataset, manifest=dataset.manifest.assign(photo_hash=["1f", "2a", "1f", "3c"]))
    wrong = {0: {"hat"}, 1: {"crimson shoe", "hat"}, 2: {"red  shoe", "hat"}}
    judgements = judgements_of(dataset, seed=0)
    for row, text in judgements[judgements["label"] == "mismatch"][["image_row", "text"]].itertuples(index=False):
        assert row == 3 or text in wrong[row]
    rows = ManifestTensors(dataset, coded=["group_id"], judgements=judgements[judgements["label"] == "match"])
    torch.manual_seed(0)
    related = JudgementRelation(per_label=None, drawn=40).plan(rows, torch.arange(4))
    drawn = {(image, text) for image, text, _, judged in spoken(rows, related) if judged == -1}
    assert {(image, text) for image, text in drawn if image != 3} == {(i, t) for i in wrong for t in wrong[i]}


def test_of_one_group_nothing_is_drawn(tmp_path):
    dataset = prepared(tmp_path, groups="aaaa")
    judgements = pd.DataFrame({"image_row": [0, 1], "text": ["x", "y"], "label": "match", "kind": "match"})
    rows = ManifestTensors(dataset, coded=["group_id"], judgements=judgements)
    assert len(JudgementRelation(per_label=None, drawn=1).plan(rows, torch.arange(4)).relation) == 2
    assert judgements_of(dataset, seed=0).empty


def test_a_dataset_without_judgements_gets_its_own_texts_and_as_many_shuffled(tmp_path):
    texts = [f"text {i % 30}" if i % 7 else "" for i in range(120)]
    splits = [("train", "train", "val", "test")[i // 30] for i in range(120)]
    dataset = prepared(tmp_path, groups=[f"g{i // 4}" for i in range(120)], texts=texts, splits=splits)
    manifest = dataset.manifest
    judged = judgements_of(dataset, seed=0)
    matches, mismatches = judged[judged["label"] == "match"], judged[judged["label"] == "mismatch"]
    assert set(matches["image_row"]) == set(mismatches["image_row"]) == {i for i in range(120) if texts[i]}
    assert (matches["text"] == manifest["text"].iloc[matches["image_row"]].to_numpy()).all()
    for row, text in zip(mismatches["image_row"], mismatches["text"], strict=True):
        owners = manifest[(manifest["text"] == text) & (manifest["split"] == splits[row])]
        assert text and text != texts[row] and (owners["group_id"] != manifest["group_id"][row]).any()
    assert judged.equals(judgements_of(dataset, seed=0)) and not judged.equals(judgements_of(dataset, seed=1))


@pytest.mark.parametrize(
    "row", [("none", "text", "match", "match"), ("p0", "", "match", "match"), ("p0", "text", "maybe", "match")]
)
def test_judgements_that_break_their_contract_are_refused(tmp_path, row):
    write(tmp_path, [("p0", "text 0", "match", "match"), row])
    with pytest.raises(InputError, match=r"1 of 2 judgements .* re-run prepare\.py"):
        judgements_of(prepared(tmp_path), seed=0)


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(InputError, match="no column 'group_id' with values, needed by relation=judgements"):
        check_columns(JudgementRelation(per_label=None, drawn=1), prepared(tmp_path, groups=[""] * 3))
