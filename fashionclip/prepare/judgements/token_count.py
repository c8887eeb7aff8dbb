"""How many tokens a text has, before a model cuts it off."""

from __future__ import annotations

from typing import Any

SPECIAL_TOKENS = 2  # start and end of text
MOST = 4  # tokens a byte: some letters are taken apart into several


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of a text, those of start and end among them, without padding.

    Args:
        tokenizer: open_clip's own, which has `encode`; or one that wraps another of transformers and knows it as
            `tokenizer`. Such a one is called, since it cleans texts before, and pads with an id that may be any, even
            that of the end of a text (SigLIP).
        text: Of any length.
    """
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + SPECIAL_TOKENS
    inner = tokenizer.tokenizer
    tokens = tokenizer([text], context_length=MOST * len(text.encode()) + 8)  # (1, L), long enough
    return int((tokens != inner.pad_token_id).sum()) + (inner.pad_token_id == inner.eos_token_id)
