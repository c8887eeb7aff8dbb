from itertools import product

import pytest

from fashionclip.prepare.deepfashion2.annotations import CATEGORIES
from fashionclip.prepare.deepfashion2.prompts import write_prompt

NAMES = (
    "short sleeve top", "long sleeve top", "short sleeve outwear", "long sleeve outwear", "vest", "sling", "shorts",
    "trousers", "skirt", "short sleeve dress", "long sleeve dress", "vest dress", "sling dress",
)  # fmt: skip
LABELS = list(product(("query", "catalog"), range(1, 14), (1, 2, 3), (1, 2, 3)))


@pytest.mark.parametrize("category_id", range(1, 14))
def test_every_combination_says_its_labels_and_no_number(category_id):
    for domain, _, occlusion, viewpoint in (labels for labels in LABELS if labels[1] == category_id):
        prompt = write_prompt(domain=domain, category_id=category_id, occlusion=occlusion, viewpoint=viewpoint)
        assert prompt.startswith({"query": "A user photo of ", "catalog": "A shop photo of "}[domain])
        hidden = ("slightly or not", "moderately", "heavily")[occlusion - 1]
        assert f"{hidden} occluded {NAMES[category_id - 1]}" in prompt
        assert prompt.endswith(("with no wearer.", "from the front.", "from the side or back.")[viewpoint - 1])
        assert ("a person wearing" in prompt) == (viewpoint > 1)
        assert not any(letter.isdigit() or letter == "_" for letter in prompt)
        assert "a trousers" not in prompt and "a shorts" not in prompt and "  " not in prompt


def test_no_two_combinations_share_a_sentence():
    prompts = {write_prompt(domain=d, category_id=c, occlusion=o, viewpoint=v) for d, c, o, v in LABELS}
    assert len(prompts) == 2 * 13 * 3 * 3


def test_categories_are_those_of_the_release():
    assert tuple(CATEGORIES[number].name for number in range(1, 14)) == NAMES
