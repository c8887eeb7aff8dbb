"""The sentence of a crop, and the two files of a split that other tools read: crops by SKU, and crops with sentences.

`orig_image_path` is relative to the release's folder, the other paths to the dataset's, and a box is
`[x1, y1, x2, y2]` in pixels of the upright photo. They keep the release's own splits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fashionclip.prepare.deepfashion2.annotations import CATEGORIES, Crop

PHOTOGRAPHER = {"query": "user", "catalog": "shop"}
OCCLUSION = {1: "slightly or not occluded", 2: "moderately occluded", 3: "heavily occluded"}
VIEWPOINT = {2: "from the front", 3: "from the side or back"}  # 1: nobody wears it
PLURAL = ("shorts", "trousers")


def write_split_files(
    folder: Path, *, split: str, crops: Sequence[Crop], images: str, df2_root: Path, out_root: Path
) -> None:
    """Writes `<split>_sku_metadata.json` and `<split>_image_text.jsonl`, a SKU and a crop at a time.

    Args:
        folder: Folder to write to.
        split: Split of the release.
        crops: Crops of that split.
        images: Folder of the photos, relative to `df2_root`.
        df2_root, out_root: Folders of the release and of the dataset, for the record.
    """
    crops = sorted(crops, key=lambda crop: (crop.sku_id, crop.domain, crop.photo_id, crop.number))
    skus = [(name, list(of)) for name, of in groupby(crops, key=lambda crop: crop.sku_id)]
    head = {"split": split, "df2_root": str(df2_root.resolve()), "out_root": str(out_root), "num_skus": len(skus)}
    with (folder / f"{split}_sku_metadata.json").open("w", encoding="utf-8") as file:
        file.write("{\n" + "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()))
        file.write('"skus": {\n')
        for number, (name, of) in enumerate(skus):
            sku: dict[str, Any] = {**_product(of[0]), "catalog": [], "query": []}
            for crop in of:
                sku[crop.domain].append({"crop_path": crop.path, **_shot(images, crop)})
            file.write(",\n" * (number > 0) + f"{json.dumps(name)}: {json.dumps(sku)}")
        file.write("\n}\n}\n")
    with (folder / f"{split}_image_text.jsonl").open("w", encoding="utf-8") as file:
        for crop in crops:
            sample = {"split": split, "sku_id": crop.sku_id, **_product(crop), "domain": crop.domain}
            sample |= {"image_path": crop.path, **_shot(images, crop), "text": prompt_of(crop)}
            file.write(json.dumps(sample) + "\n")


def _product(crop: Crop) -> dict[str, Any]:
    return {
        "pair_id": crop.pair_id,
        "style": crop.style,
        "category_id": crop.category_id,
        "category_name": CATEGORIES[crop.category_id].name,
    }


def _shot(images: str, crop: Crop) -> dict[str, Any]:
    return {
        "orig_image_path": f"{images}/{crop.file}",
        "image_id": crop.photo_id,
        "item_idx": crop.number,
        "bbox": list(crop.box),
        "occlusion": crop.occlusion,
        "viewpoint": crop.viewpoint,
    }


def prompt_of(crop: Crop) -> str:
    """The sentence of a crop: what its labels say, and nothing that identifies the product.

    >>> prompt_of(Crop("train", "1", "1.jpg", "query", 1, 1, 1, 1, (0, 0, 9, 9), 3, 3, 1, 1))
    'A user photo of a person wearing a heavily occluded short sleeve top from the side or back.'
    """
    category = CATEGORIES[crop.category_id].name
    clothes = f"{'' if category in PLURAL else 'a '}{OCCLUSION[crop.occlusion]} {category}"
    worn = crop.viewpoint != 1
    shown = f"a person wearing {clothes} {VIEWPOINT[crop.viewpoint]}" if worn else f"{clothes} with no wearer"
    return f"A {PHOTOGRAPHER[crop.domain]} photo of {shown}."
