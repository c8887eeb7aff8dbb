from itertools import product

import pytest

from fashionclip.prepare.deepfashion2.annotations import CATEGORIES, Crop
from fashionclip.prepare.deepfashion2.side_files import prompt_of

NAMES = (
    "short sleeve top", "long sleeve top", "short sleeve outwear", "long sleeve outwear", "vest", "sling", "shorts",
    "trousers", "skirt", "short sleeve dress", "long sleeve dress", "vest dress", "sling dress",
)  # fmt: skip
LABELS = list(product(("query", "catalog"), range(1, 14), (1, 2, 3), (1, 2, 3)))


def prompt(domain, category_id, occlusion, viewpoint):
    box = (0, 0, 9, 9)
    return prompt_of(Crop("train", "1", "1.jpg", domain, 1, 1, 1, category_id, box, occlusion, viewpoint, 0, 0))


@pytest.mark.parametrize("category_id", range(1, 14))
def test_every_combination_says_its_labels_and_no_number(category_id):
    for domain, _, occlusion, viewpoint in (labels for labels in LABELS if labels[1] == category_id):
        said = prompt(domain, category_id, occlusion, viewpoint)
        assert said.startswith({"query": "A user photo of ", "catalog": "A shop photo of "}[domain])
        hidden = ("slightly or not", "moderately", "heavily")[occlusion - 1]
        assert f"{hidden} occluded {NAMES[category_id - 1]}" in said
        assert said.endswith(("with no wearer.", "from the front.", "from the side or back.")[viewpoint - 1])
        assert ("a person wearing" in said) == (viewpoint > 1)
        assert not any(letter.isdigit() or letter == "_" for letter in said)
        assert "a trousers" not in said and "a shorts" not in said and "  " not in said


def test_no_two_combinations_share_a_sentence():
    prompts = {prompt(*labels) for labels in LABELS}
    assert len(prompts) == 2 * 13 * 3 * 3


def test_categories_are_those_of_the_release():
    assert tuple(CATEGORIES[number].name for number in range(1, 14)) == NAMES


def test_one_sentence_in_full():
    assert prompt("catalog", 8, 2, 1) == "A shop photo of moderately occluded trousers with no wearer."
