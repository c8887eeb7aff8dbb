from pathlib import Path

import pytest

from fashionclip.prepare.synthetic_triplets.held_out import Stock, stocks_of
from fashionclip.prepare.synthetic_triplets.text_layout import find_fonts, has_glyphs

FONTS = find_fonts(None)
LOGOS = tuple("abcdefgh")


@pytest.mark.parametrize(("count", "held"), [(100, 25), (8, 3), (6, 3), (5, 0), (3, 0)])
def test_a_share_is_held_out_and_both_parts_have_enough(count, held):
    names = [f"name {number}" for number in range(count)]
    stocks = stocks_of(names, needed=3, share=0.25, seed=0)
    assert sorted(name for stock in stocks for name in stock.contents) == sorted(names)
    assert len(stocks) == (2 if held else 1)
    assert [len(stock.contents) for stock in stocks] == [count - held, held][: len(stocks)]
    assert [stock.unseen for stock in stocks] == [False, True][: len(stocks)]


@pytest.mark.parametrize("seed", range(5))
def test_a_family_of_fonts_that_shows_the_captions_is_held_out_as_a_whole(seed):
    seen, unseen = stocks_of(LOGOS, fonts=FONTS, needed=2, share=0.25, seed=seed)
    assert not set(seen.fonts) & set(unseen.fonts) and {*seen.fonts, *unseen.fonts} == set(FONTS)
    families = [{Path(font).stem.split("-")[0] for font in stock.fonts} for stock in (seen, unseen)]
    assert not families[0] & families[1] and len(families[1]) == 1
    assert all(has_glyphs(font, letter) for font in unseen.fonts for letter in LOGOS), "some of FONTS show only signs"


def test_fonts_are_in_both_where_none_can_be_held_out():
    sans = tuple(font for font in FONTS if Path(font).stem.split("-")[0] == "DejaVuSans")
    for captions, fonts in ((LOGOS, sans), (("新", "服", "上", "衣"), FONTS)):
        seen, unseen = stocks_of(captions, fonts=fonts, needed=2, share=0.25, seed=0)
        assert seen.fonts == unseen.fonts == fonts and unseen.unseen


def test_which_are_held_out_is_stable_and_by_seed():
    held = {seed: set(stocks_of(LOGOS, needed=2, share=0.25, seed=seed)[1].contents) for seed in range(9)}
    assert len({frozenset(names) for names in held.values()}) > 3
    assert set(stocks_of(LOGOS[::-1], needed=2, share=0.25, seed=1)[1].contents) == held[1]
    assert stocks_of(LOGOS, needed=2, share=0.0, seed=0) == (Stock(LOGOS),)
