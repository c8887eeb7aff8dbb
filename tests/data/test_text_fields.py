import pandas as pd
import pytest
import torch

from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.mixed import MixedRelation
from fashionclip.data.relations import PairRelation, WithOwnTexts, check_columns
from fashionclip.data.text_fields import check_fields, texts_of
from fashionclip.errors import InputError

FIELDS = {"category": 1.0, "colour+category": 2.0}
ITEMS, NAMES = "abcd", ["Nike shoe", "red hat", "", "Puma shoe"]
COLUMNS = {"category": ["shoe", "hat", "hat", "shoe"], "colour": ["red", "", "blue", "red"]}


@pytest.fixture
def rows(make_dataset):
    return ManifestTensors(make_dataset(ITEMS, NAMES, **COLUMNS), fields=list(FIELDS))


def said(rows, ids):
    return [[rows.text[i] if i >= 0 else None for i in row] for row in ids.tolist()]


def test_a_row_has_a_text_in_each_field_whose_columns_are_filled(make_dataset, rows):
    dataset = make_dataset(ITEMS, NAMES, **COLUMNS)
    assert texts_of(dataset.manifest, "colour+category") == ["red shoe", "", "blue hat", "red shoe"]
    assert said(rows, rows.texts_of(torch.tensor([1, 2, 3]), fields=rows.fields)) == [
        ["red hat", None, "Puma shoe"],
        ["hat", "hat", "shoe"],
        [None, "blue hat", "red shoe"],
    ]
    assert len(set(rows.text)) == len(rows.text)  # one that is a name and a category is the same text


def test_a_batch_draws_one_text_of_each_product_by_the_weights(rows):
    drawn = {0: [], 1: []}
    for seed in range(600):
        plan = PairRelation(text_fields=FIELDS).plan(
            rows, torch.tensor([0, 1, 2]), draws=torch.Generator().manual_seed(seed)
        )
        pairs = plan.relation
        assert plan.image_row[pairs.image_index].tolist() == [0, 1]  # without a name of its own, it is not paired
        for row, text in zip((0, 1), plan.text_id[pairs.text_index].tolist(), strict=True):
            drawn[row].append(rows.text[text])
        assert pairs.text_id.tolist() == rows.text_key[plan.text_id[pairs.text_index]].tolist()
        right = [[key for key in row if key >= 0] for row in pairs.right_text_id.tolist()]
        of = {text: int(rows.text_key[place]) for place, text in enumerate(rows.text)}
        assert right == [[of["Nike shoe"], of["shoe"], of["red shoe"]], [of["red hat"], of["hat"]]]
    shares = {text: drawn[0].count(text) / 600 for text in set(drawn[0])}
    assert shares == pytest.approx({"Nike shoe": 0.25, "shoe": 0.25, "red shoe": 0.5}, abs=0.06)
    assert set(drawn[1]) == {"red hat", "hat"}  # and none of the field that it lacks


def test_evaluation_takes_all_texts_of_a_photo(rows):
    plan = WithOwnTexts().plan(rows, torch.tensor([1, 2]))
    assert sorted(rows.text[i] for i in plan.text_id.tolist()) == ["blue hat", "hat", "red hat"]


def test_a_mixed_relation_takes_the_fields_of_its_parts(make_dataset):
    dataset = make_dataset(ITEMS, NAMES, **COLUMNS)
    parts = {"some": PairRelation(text_fields={"category": 1.0}), "plain": PairRelation()}
    mixed = MixedRelation(parts=parts, sampler="plain")
    rows = ManifestTensors(dataset, coded=mixed.columns, fields=mixed.fields)
    plan = mixed.plan(rows, torch.tensor([0, 3]))
    some, plain = (plan.relation.parts[name].right_text_id for name in ("some", "plain"))
    assert mixed.fields == ("category",) and some.shape == (2, 2) and plain is None


@pytest.mark.parametrize("weight", [0, -1.0, float("inf"), float("nan"), "0.2", True, None])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match=r"loss\.text_fields: 'category' has the weight .* Expected a number above 0"):
        check_fields({"category": weight})


def test_a_field_without_a_column_is_refused():
    for field in ("", "colour+", "+"):
        with pytest.raises(ValueError, match=r"loss\.text_fields: '.*' lacks a column\. Expected"):
            check_fields({field: 0.2})


def test_what_a_table_does_not_know_is_no_text(make_dataset):
    """Of tables of others, in which cells are missing, or numbers."""
    manifest = make_dataset(ITEMS, NAMES, **COLUMNS).manifest.assign(
        brand=["Nike", None, " ", "Puma "],
        year=[2017, None, 2018, float("nan")],
        kind=pd.Categorical(["a", None, "b", "a"]),
    )
    assert texts_of(manifest, "brand") == ["Nike", "", "", "Puma"]
    assert texts_of(manifest, "year") == ["2017", "", "2018", ""]
    assert texts_of(manifest, "kind+year") == ["a 2017", "", "b 2018", ""]


def test_a_column_that_a_dataset_lacks_is_named(make_dataset):
    with pytest.raises(InputError, match=r"no column 'brand' with values, needed by relation=pairs"):
        check_columns(PairRelation(text_fields={"brand+category": 1.0}), make_dataset(ITEMS, NAMES, **COLUMNS))
    with pytest.raises(InputError, match=r"no column 'brand' with values"):
        unknown = make_dataset(ITEMS, NAMES, **COLUMNS, brand=[None] * 4)
        check_columns(PairRelation(text_fields={"brand": 1.0}), unknown)
