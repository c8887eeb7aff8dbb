from dataclasses import replace

import pytest
import torch

from fashionclip.data.content_distance import AttributeDistance, EditDistance
from fashionclip.data.manifest_tensors import ManifestTensors


class _Rows:
    def __init__(self, texts, overlay, **columns):
        self.text, self.text_id = texts, torch.arange(len(texts))
        self.code = {"overlay": torch.tensor(overlay)} | {name: torch.tensor(codes) for name, codes in columns.items()}

    def code_of(self, column, value):
        return {"text": 0, "logo": 1}[value]


def levenshtein(a, b):
    """The textbook recursion."""
    if not a or not b:
        return len(a) + len(b)
    return min(levenshtein(a[1:], b) + 1, levenshtein(a, b[1:]) + 1, levenshtein(a[1:], b[1:]) + (a[0] != b[0]))


@pytest.mark.parametrize(("one", "other"), [("sale", "sales"), ("kitten", "sitting"), ("", "new"), ("new", "new")])
def test_captions_are_apart_by_edited_characters(one, other):
    distance = EditDistance()(_Rows([one, other], [0, 0]), torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1]))
    expected = levenshtein(one, other) / max(len(one), len(other))
    assert distance.tolist() == [pytest.approx(expected), pytest.approx(expected), 0]


def test_logos_are_apart_by_the_share_that_differs_and_wholly_from_captions():
    rows = _Rows(["star, moon", "star, leaf", "star, moon"], [1, 1, 0])
    assert EditDistance()(rows, torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])).tolist() == [0.5, 1, 1]


def test_products_are_apart_by_the_share_of_attributes_that_differ():
    rows = _Rows(["a"] * 3, [0] * 3, colour=[0, 0, 1], gender=[0, 1, 1])
    distance = AttributeDistance(["colour", "gender"])(rows, torch.tensor([0, 0, 0, 2]), torch.tensor([0, 1, 2, 1]))
    assert distance.tolist() == [0, 0.5, 1, 0.5]


def test_attributes_that_a_dataset_names_count_where_none_are_given(demo_dataset):
    pair = torch.tensor([0]), torch.tensor([5])
    named = replace(demo_dataset, info={**demo_dataset.info, "attributes": ["colour", "gender"]})
    given = ManifestTensors(named, coded=["colour", "gender"])
    assert AttributeDistance()(ManifestTensors(named), *pair) == AttributeDistance(["colour", "gender"])(given, *pair)
    without = replace(demo_dataset, info={})
    assert AttributeDistance()(ManifestTensors(without), *pair) == 1, "no attributes: no product is like another"
