import pytest

from fashionclip.prepare.synthetic_triplets.text_layout import find_fonts, fit_text, load_font

SANS = next(font for font in find_fonts(None) if font.endswith("DejaVuSans.ttf"))


@pytest.mark.parametrize("text", ["Sale", "Take the bag, leave the rest", "one two three four five six seven eight"])
def test_text_is_as_large_as_fits_and_broken_between_words(text):
    space = {"font": SANS, "width": 200, "height": 70, "min_size": 5}
    block = fit_text(text, max_lines=3, **space)
    assert block and block.width <= 200 and block.height <= 70
    assert block.text.split() == text.split() and block.text.count("\n") < 3
    assert block.width > 0.9 * 200 or block.height > 0.9 * 70
    sizes = [fit_text(text, max_lines=lines, **space).size for lines in (1, 2, 3)]
    assert sizes == sorted(sizes) and sizes[2] == block.size
    smaller = fit_text(text, max_lines=3, scale=0.8, **space)
    assert smaller and 0.8 * block.size - 1 <= smaller.size <= 0.8 * block.size + 1
    assert fit_text(text, max_lines=3, **{**space, "min_size": block.size + 4}) is None


def test_fonts_are_opened_once():
    assert load_font(SANS, 20) is load_font(SANS, 20)
