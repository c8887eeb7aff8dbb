import random

import pytest

from fashionclip.prepare.judgements.paraphrase import with_less, with_misspelling, with_synonym
from fashionclip.prepare.judgements.vocabulary import CATEGORY, COLOUR, PATTERN


def test_a_synonym_keeps_case_and_a_misspelling_is_no_other_word():
    rng = random.Random(0)
    assert {with_synonym("Grey SAREE", rng=rng) for _ in range(20)} == {"Gray SAREE", "Grey SARI"}
    assert with_synonym("Nothing to say", rng=rng) is None
    assert with_misspelling("a 5 XL", words=set(), rng=rng) is None
    slips = {with_misspelling("boots", words={"boot", "boost", "bots"}, rng=rng) for _ in range(200)}
    assert None not in slips and not slips & {"boots", "boot", "boost", "bots"} and len(slips) > 3
    assert all(slip is not None and slip[0] == "b" for slip in slips)


@pytest.mark.parametrize(
    ("texts", "aspect", "expected"),
    [
        (("Acme Fun Blue T-shirt", "Acme Red T-shirts"), COLOUR, ("Acme Blue T-shirt", "Acme Red T-shirts")),
        (("Acme Navy Blue Shoes", "Bolt Blue Sandals"), CATEGORY, None),
        (("Acme Navy Blue Fun Shoes", "Bolt Blue Fun Sandals"), CATEGORY, ("Fun Shoes", "Fun Sandals")),
        (("Acme Blue Bag", "Bolt Red Backpack"), COLOUR, None),
        (("Blue Shirt", "Red Shirt"), COLOUR, None),
        (
            ("Pack of 3 Red and Blue Checked Ties", "Pack of 3 Grey and Blue Solid Tie"),
            PATTERN,
            ("Pack of 3 Blue Checked Ties", "Pack of 3 Blue Solid Tie"),
        ),
    ],
)
def test_less_detail_is_what_both_say_and_what_tells_them_apart(texts, aspect, expected):
    assert with_less(texts, aspect=aspect) == expected
