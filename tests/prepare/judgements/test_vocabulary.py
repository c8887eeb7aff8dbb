import pytest

from fashionclip.prepare.judgements.vocabulary import CATEGORY, COLOUR, MATERIAL, NECK, PATTERN, SLEEVE


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
def test_terms_are_found_as_whole_words_longest_first(aspect, text, expected):
    assert [term.name for term in aspect.find(text)] == expected
