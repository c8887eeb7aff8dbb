"""The crops of a prepared DeepFashion2 with their sentences, for a training loop of your own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from fashionclip.data.manifest_tensors import PackedStrings
from fashionclip.errors import InputError
from fashionclip.images import load_image


class DeepFashion2ImageTextDataset(Dataset):
    """One sample a line of `<split>_image_text.jsonl`: `image`, `text`, `sku_id`, `domain` and all of it as `meta`.

    Args:
        sku_root: Folder of the prepared dataset.
        split: Split of the release: train, validation or test.
        transform: Function of the upright RGB picture; None: the picture is given as it is.
        text_key: Field of a line that is given as text.

    Raises:
        InputError: The split was not prepared.
    """

    def __init__(
        self,
        sku_root: Path | str,
        split: str,
        transform: Callable[[Image.Image], Any] | None = None,
        text_key: str = "text",
    ) -> None:
        self.sku_root = Path(sku_root)
        self.transform, self.text_key = transform, text_key
        file = self.sku_root / f"{split}_image_text.jsonl"
        if not file.is_file():
            root = shlex.quote(f"dataset.root={self.sku_root}")
            raise InputError(f"{file}: not there. Run: python prepare.py dataset=df2 {root}")
        self.lines = PackedStrings(file.read_text(encoding="utf-8").splitlines())  # shared by loading processes

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, position: int) -> dict[str, Any]:
        sample = json.loads(self.lines[position])
        image = load_image(self.sku_root / sample["image_path"])
        return {
            "image": image if self.transform is None else self.transform(image),
            "text": sample[self.text_key],
            "sku_id": sample["sku_id"],
            "domain": sample["domain"],
            "meta": sample,
        }
