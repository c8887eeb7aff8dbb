from types import SimpleNamespace

import pytest
import torch

from fashionclip.models.load import load_tokenizer
from fashionclip.prepare.judgements.facts import count_tokens


class PaddingTokenizer:
    """As open_clip wraps those of transformers: a token a word, cut off and padded to the context length."""

    def __init__(self, *, pad, context_length=8, end=1):
        self.context_length = context_length
        self.tokenizer = SimpleNamespace(pad_token_id=pad, eos_token_id=end)

    def __call__(self, texts, context_length=None):
        length = context_length or self.context_length
        rows = torch.full((len(texts), length), self.tokenizer.pad_token_id)
        for row, text in zip(rows, texts, strict=True):
            words = [10 + len(word) for word in text.split()][: length - 1]
            row[: len(words) + 1] = torch.tensor([*words, self.tokenizer.eos_token_id])
        return rows


@pytest.mark.parametrize("pad", [0, 1, 5])
@pytest.mark.parametrize("words", [0, 1, 6, 7, 30])
def test_padding_is_no_token_whatever_its_id_and_nothing_is_cut_off(pad, words):
    assert count_tokens(PaddingTokenizer(pad=pad), " ".join(["red"] * words)) == words + 1, "and the end"


@pytest.mark.parametrize("text", ["", "red shirt", "sale!/new", "very " * 100])
def test_open_clips_own_is_counted_up_to_the_end_of_text(text):
    tokenizer = load_tokenizer(name="ViT-B-32")
    ids = tokenizer([text], context_length=300)[0].tolist()
    assert count_tokens(tokenizer, text) == ids.index(49407) + 1
