import random
from collections import Counter

import pytest

from fashionclip.errors import InputError
from fashionclip.prepare.synthetic_triplets.captions import (
    caption_distance,
    edit_caption,
    read_captions,
    replace_caption,
)

CAPTIONS = read_captions(None, min_length=1, max_length=99, most=None, seed=0)


def edits(caption, *, max_share, count=200):
    return [edit_caption(caption, max_share=max_share, rng=random.Random(seed)) for seed in range(count)]


@pytest.mark.parametrize("max_share", [0.1, 0.3, 0.5, 1.0])
def test_edited_caption_differs_by_no_more_than_the_share(max_share):
    for caption in CAPTIONS:
        for edited in edits(caption, max_share=max_share, count=10):
            assert 0 < caption_distance(caption, edited) <= max_share
            assert edited == " ".join(edited.split()) != ""


def test_shares_of_edits_are_spread_up_to_the_largest():
    caption = "Hand finished in small runs"
    distances = [caption_distance(caption, edited) for edited in edits(caption, max_share=0.5)]
    assert min(distances) < 0.06 and max(distances) > 0.4
    assert 0.15 < sum(distances) / len(distances) < 0.3


def test_letters_are_inserted_deleted_and_replaced():
    lengths = Counter(len(edited) for edited in edits("abcdefghij", max_share=0.1))
    assert set(lengths) == {9, 10, 11} and min(lengths.values()) > 40


@pytest.mark.parametrize("caption", ["a", "AA", "a b", "?", "ll"])
def test_even_the_shortest_caption_is_changed_and_not_emptied(caption):
    assert all(edited and edited != caption for edited in edits(caption, max_share=0.01))


def test_replacement_is_any_other_caption():
    found = {replace_caption("b", captions=["a", "b", "c"], rng=random.Random(seed)) for seed in range(50)}
    assert found == {"a", "c"}


def test_built_in_captions_are_short_plain_and_distinct():
    assert len(CAPTIONS) == len({caption.lower() for caption in CAPTIONS}) == 120
    assert all(caption.isascii() and 12 <= len(caption) <= 40 for caption in CAPTIONS)


def test_file_is_cleaned(tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text(
        "\ufeffBig  sale \r\n\n   \nbig sale\nBig sale\nno\nfar too long a line\nNew coats\n", encoding="utf-8"
    )
    read = {"min_length": 3, "max_length": 9, "seed": 0}
    assert read_captions(file, most=None, **read) == ["Big sale", "big sale", "New coats"]
    few = read_captions(file, most=2, **read)
    assert len(set(few)) == 2 and few == read_captions(file, most=2, **read)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 of 0 lines are usable, expected at least 2"),
        (b"\n \nOnly one\n", "1 of 3 lines are usable.*Add captions or widen"),
        (b"Sommer f\xfcr alle\n", "not UTF-8 .*Save the file as UTF-8"),
        (None, "no such file"),
    ],
)
def test_unusable_file_is_one_error_with_a_remedy(tmp_path, content, message):
    file = tmp_path / "captions.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=rf"dataset\.captions=.*captions\.txt: {message}"):
        read_captions(file, min_length=1, max_length=40, most=None, seed=0)
