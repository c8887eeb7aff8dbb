"""The sentence of a crop, and the two files of a split that other tools read: crops by SKU, and crops with sentences.

`orig_image_path` is relative to the release's folder, the other paths to the dataset's, and a box is
`[x1, y1, x2, y2]` in pixels of the upright photo. They keep the release's own splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fashionclip.prepare.deepfashion2.annotations import CATEGORIES, AnnotatedItem, AnnotatedPhoto, crop_path, sku_id

PHOTOGRAPHER = {"query": "user", "catalog": "shop"}
OCCLUSION = {1: "slightly or not occluded", 2: "moderately occluded", 3: "heavily occluded"}
VIEWPOINT = {2: "from the front", 3: "from the side or back"}  # 1: nobody wears it
PLURAL = ("shorts", "trousers")


def write_split_files(
    folder: Path, *, split: str, photos: Sequence[AnnotatedPhoto], images: str, df2_root: Path, out_root: Path
) -> None:
    """Writes `<split>_sku_metadata.json` and `<split>_image_text.jsonl`, a SKU and a crop at a time.

    Args:
        folder: Folder to write to.
        split: Split of the release.
        photos: Photos of that split, with the items to list.
        images: Folder of the photos, relative to `df2_root`.
        df2_root, out_root: Folders of the release and of the dataset, for the record.
    """
    crops = [(photo, item) for photo in photos for item in photo.items]
    crops.sort(key=lambda crop: (sku_id(*crop), crop[0].domain, crop[0].photo_id, crop[1].number))
    skus = [(name, list(group)) for name, group in groupby(crops, key=lambda crop: sku_id(*crop))]
    head = {"split": split, "df2_root": str(df2_root.resolve()), "out_root": str(out_root), "num_skus": len(skus)}
    with (folder / f"{split}_sku_metadata.json").open("w", encoding="utf-8") as file:
        file.write("{\n" + "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()))
        file.write('"skus": {\n')
        file.writelines(_lines(f"{json.dumps(name)}: {json.dumps(_sku(split, images, of))}" for name, of in skus))
        file.write("}\n}\n")
    with (folder / f"{split}_image_text.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_sample(split, images, photo, item)) + "\n" for photo, item in crops)


def _lines(members: Iterator[str]) -> Iterator[str]:
    """Members of a JSON object, a line each."""
    for number, member in enumerate(members):
        yield f",\n{member}" if number else member
    yield "\n"


def _product(photo: AnnotatedPhoto, item: AnnotatedItem) -> dict[str, Any]:
    return {
        "pair_id": photo.pair_id,
        "style": item.style,
        "category_id": item.category_id,
        "category_name": CATEGORIES[item.category_id].name,
    }


def _shot(images: str, photo: AnnotatedPhoto, item: AnnotatedItem) -> dict[str, Any]:
    return {
        "orig_image_path": f"{images}/{photo.file}",
        "image_id": photo.photo_id,
        "item_idx": item.number,
        "bbox": list(item.box),
        "occlusion": item.occlusion,
        "viewpoint": item.viewpoint,
    }


def _sku(split: str, images: str, crops: Sequence[tuple[AnnotatedPhoto, AnnotatedItem]]) -> dict[str, Any]:
    entry: dict[str, Any] = {**_product(*crops[0]), "catalog": [], "query": []}
    for photo, item in crops:
        entry[photo.domain].append({"crop_path": crop_path(split, photo, item), **_shot(images, photo, item)})
    return entry


def _sample(split: str, images: str, photo: AnnotatedPhoto, item: AnnotatedItem) -> dict[str, Any]:
    return {
        "split": split,
        "sku_id": sku_id(photo, item),
        **_product(photo, item),
        "domain": photo.domain,
        "image_path": crop_path(split, photo, item),
        **_shot(images, photo, item),
        "text": prompt_of(photo, item),
    }


def prompt_of(photo: AnnotatedPhoto, item: AnnotatedItem) -> str:
    """The sentence of a crop: what its labels say, and nothing that identifies the product.

    >>> item = AnnotatedItem(1, style=1, category_id=1, box=(0, 0, 9, 9), occlusion=3, viewpoint=3, scale=1, zoom_in=1)
    >>> prompt_of(AnnotatedPhoto("1", "1.jpg", "query", 1, (item,)), item)
    'A user photo of a person wearing a heavily occluded short sleeve top from the side or back.'
    """
    category = CATEGORIES[item.category_id].name
    clothes = f"{'' if category in PLURAL else 'a '}{OCCLUSION[item.occlusion]} {category}"
    worn = item.viewpoint != 1
    shown = f"a person wearing {clothes} {VIEWPOINT[item.viewpoint]}" if worn else f"{clothes} with no wearer"
    return f"A {PHOTOGRAPHER[photo.domain]} photo of {shown}."
