import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from fashionclip.evaluation.outcome import outcome_of
from fashionclip.evaluation.slices import SEVERAL, UNKNOWN, attributes_of, sliced
from fashionclip.metrics.samples import Sample, Search

MANIFEST = pd.DataFrame(
    {
        "path": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        "category": ["Dresses", "Skirts", "Dresses", ""],
        "colour": ["red", None, "blue", "blue"],
        "domain": ["shop"] * 4,
    }
)
TEXTS = ["red dress", "skirt", "nobody's"]
UNIT = torch.eye(4)


def by_text():
    """Text 0 is of photos 0 and 2, text 1 of photo 1, text 2 of none."""
    right = torch.tensor([[0, 0], [0, 2], [1, 1]])
    search = Search(UNIT[:3], UNIT, right, torch.tensor([0, 1, 2]), torch.arange(4), by_text=True)
    values = {"recall@1": torch.tensor([1.0, 0.0]), "median_rank": torch.tensor([1, 9])}
    return Sample("text_to_image", values, torch.tensor([0, 1]), torch.tensor([0, 1]), search)


def by_photo():
    rows = torch.tensor([1, 2, 3])
    search = Search(UNIT[:3], UNIT[:3], torch.tensor([[1, 2], [2, 1]]), rows, rows, by_text=False)
    return Sample("image_to_image", {"recall@1": torch.tensor([0.0, 1.0])}, rows[1:], torch.tensor([1, 2]), search)


def test_photos_have_their_own_attributes_and_texts_those_in_which_their_products_agree():
    assert attributes_of(by_text(), MANIFEST).to_dict("list") == {
        "category": ["Dresses", "Skirts"],
        "colour": [SEVERAL, UNKNOWN],
        "domain": ["shop", "shop"],
    }
    assert attributes_of(by_photo(), MANIFEST)[["category", "colour"]].to_dict("list") == {
        "category": ["Dresses", UNKNOWN],
        "colour": ["blue", "blue"],
    }
    labelled = replace(by_photo(), search=replace(by_photo().search, among_texts=True, texts=["a", "b"]))
    assert attributes_of(labelled, MANIFEST)["colour"].tolist() == ["blue", "blue"]
    asked = replace(by_text(), search=replace(by_text().search, texts=["a", "b", "c"]))
    assert attributes_of(asked, MANIFEST).shape == (2, 0), "words of a task's own are of no product"
    own = Sample("triplet", {}, torch.arange(3), torch.arange(3))
    assert attributes_of(own, MANIFEST).shape == (3, 0)


def test_slices_are_the_queries_of_each_value_that_not_all_share():
    parts = sliced(by_text(), attributes_of(by_text(), MANIFEST))
    assert {part.direction: part.values["recall@1"].tolist() for part in parts} == {
        "text_to_image/category/Dresses": [1.0],
        "text_to_image/category/Skirts": [0.0],
        f"text_to_image/colour/{SEVERAL}": [1.0],
        f"text_to_image/colour/{UNKNOWN}": [0.0],
    }


def test_an_outcome_has_figures_of_slices_intervals_of_all_and_a_line_a_query():
    known = {"text_to_image/recall@1": 0.5, "spread": 0.25}
    spread = Sample("", {"spread": torch.tensor([0.2, 0.3])}, torch.arange(2), torch.arange(2))
    found = outcome_of([by_text(), by_photo(), spread], manifest=MANIFEST, texts=TEXTS, figures=known)
    assert found.figures["spread"] == 0.25 and found.figures["text_to_image/category/Skirts/recall@1"] == 0
    assert found.figures["image_to_image/category/Dresses/queries"] == 1
    for name in (
        "text_to_image/recall@1",
        "text_to_image/median_rank",
        "spread",
        "text_to_image/colour/(several)/recall@1",
    ):
        low, high = found.intervals[name]
        assert low <= high
    assert found.queries["query"].tolist() == ["red dress", "skirt", "c.jpg", "d.jpg", "0", "1"]
    assert found.queries["direction"].tolist() == ["text_to_image"] * 2 + ["image_to_image"] * 2 + ["photos"] * 2
    assert found.queries["recall@1"].tolist()[:4] == [1, 0, 0, 1] and math.isnan(found.queries["recall@1"][4])
    assert found.queries["spread"].tolist()[4:] == pytest.approx([0.2, 0.3])
    assert len(found.parts) == 6


def test_without_queries_there_is_an_outcome_without_intervals():
    nothing = by_photo().of(torch.tensor([], dtype=torch.long), direction="image_to_image")
    found = outcome_of([nothing], manifest=MANIFEST, texts=TEXTS, figures={"image_to_image/recall@1": math.nan})
    assert found.intervals == {} and len(found.queries) == 0 and list(found.figures) == ["image_to_image/recall@1"]
    assert len(outcome_of([], manifest=MANIFEST, texts=TEXTS, figures={}).queries) == 0


def test_measures_beside_the_directions_share_a_line_where_they_are_of_the_same():
    places = torch.arange(3)
    samples = [
        Sample("", {"spread": torch.ones(3)}, places, places),
        Sample("", {"clip_score": torch.tensor([10.0, 20.0])}, places[1:], places[1:]),
        Sample("", {"triplet/accuracy": torch.zeros(3)}, places, places),
        Sample("", {"triplet/order_accuracy": torch.ones(3)}, places, places),
        Sample("", {"triplet/order_accuracy/text": torch.ones(1)}, places[:1], places[:1]),
    ]
    found = outcome_of(samples, manifest=MANIFEST, texts=TEXTS, figures={}).queries
    assert found["direction"].tolist() == ["photos"] * 3 + ["triplet"] * 3 + ["triplet/order_accuracy"]
    assert found["clip_score"].tolist()[1:3] == [10, 20] and found["spread"].tolist()[:3] == [1, 1, 1]
    assert found["order_accuracy"].tolist()[3:6] == [1, 1, 1] and found["text"].tolist()[6] == 1
