import pickle

import pytest
from torch import Tensor

from fashionclip.data.manifest_tensors import PackedStrings
from fashionclip.errors import InputError

AWKWARD = ["", "a red dress", "", "Näharbeit 裙子 👗 e\u0301", "line\nbreak\0zero", ""]


def test_a_million_strings_are_two_tensors_of_little_more_than_their_bytes():
    strings = [f"images/{i:07d}.jpg" for i in range(1_000_000)]
    packed = PackedStrings(strings)
    assert all(isinstance(value, Tensor) for value in vars(packed).values())
    assert sum(value.nbytes for value in vars(packed).values()) <= 1_000_000 * (18 + 8) + 8
    assert (len(packed), packed[0], packed[999_999]) == (1_000_000, strings[0], strings[-1])


@pytest.mark.parametrize("strings", [AWKWARD, [""], []])
def test_strings_come_back_as_they_were(strings):
    packed = PackedStrings(strings)
    assert list(packed) == list(pickle.loads(pickle.dumps(packed))) == strings
    for outside in (-1, len(strings)):
        with pytest.raises(IndexError):
            packed[outside]


def test_rows_code_products_texts_and_splits(make_rows):
    rows = make_rows("abca", ["shoe", "", "shoe", "hat"], ["train", "val", "train", "train"])
    assert len(rows) == 4
    assert rows.item_id.tolist() == [0, 1, 2, 0]
    assert [rows.text[i] for i in rows.text_id.tolist()] == ["shoe", "", "shoe", "hat"]
    assert len(rows.text) == 3
    assert list(rows.path) == [f"images/{i}.png" for i in range(4)]
    assert {name: rows.of_split(name).tolist() for name in rows.split} == {"train": [0, 2, 3], "val": [1]}


def test_a_split_without_rows_is_named(make_rows):
    with pytest.raises(InputError, match=r"split 'test' has no rows; has \{'train': 1\}.*dataset\.ratios"):
        make_rows("a", ["shoe"]).of_split("test")


def test_rows_without_a_text_do_not_share_one(make_rows):
    rows = make_rows("abcd", ["", "hat", "", "hat"])
    assert rows.worded.tolist() == [False, True, False, True]
    assert rows.text_id[1] == rows.text_id[3] and len(set(rows.text_id.tolist())) == 3
    assert [rows.text[i] for i in rows.text_id.tolist()] == ["", "hat", "", "hat"]


def test_texts_that_differ_in_case_spaces_or_punctuation_stay_as_written_and_share_a_key(make_rows):
    texts = ["Men T-Shirt", "hat", "MEN t shirt", "", "Hat!", "", "Shirt Men T"]
    rows = make_rows("abcdefg", texts, text=texts)
    assert [rows.text[i] for i in rows.text_id.tolist()] == texts
    for code in (rows.text_key[rows.text_id].tolist(), rows.code["text"].tolist()):
        assert code[0] == code[2] and code[1] == code[4] and len(set(code)) == 5, "the order of words tells texts apart"


def test_photos_that_are_the_same_byte_for_byte_share_a_code(make_rows):
    assert make_rows("abc", [""] * 3, photo_hash=["1f", "2a", "1f"]).photo_id.tolist() == [0, 1, 0]
    assert make_rows("abc", [""] * 3).photo_id.tolist() == [0, 1, 2], "of a dataset prepared before there was a column"
