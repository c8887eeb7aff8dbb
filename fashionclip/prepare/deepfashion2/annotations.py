"""DeepFashion2's annotations: from a photo's JSON to the items that can be cut from it.

Source: Ge et al. 2019, "DeepFashion2: A Versatile Benchmark for Detection, Pose Estimation, Segmentation and
Re-Identification of Clothing Images", and the release's own description of its fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DOMAINS = {"user": "query", "shop": "catalog"}  # by an annotation's `source`
LEVELS = (1, 2, 3)  # values of scale, occlusion, zoom_in and viewpoint
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
BEYOND_ANY_LABEL = 10**9  # a damaged number may have any length, but a table's column has 64 bits


class Category(NamedTuple):
    """A category as the release calls it, and the two attributes that its name is made of."""

    name: str
    garment: str
    sleeve: str = ""


CATEGORIES = {
    1: Category("short sleeve top", "top", "short sleeve"),
    2: Category("long sleeve top", "top", "long sleeve"),
    3: Category("short sleeve outwear", "outwear", "short sleeve"),
    4: Category("long sleeve outwear", "outwear", "long sleeve"),
    5: Category("vest", "top", "vest"),
    6: Category("sling", "top", "sling"),
    7: Category("shorts", "shorts"),
    8: Category("trousers", "trousers"),
    9: Category("skirt", "skirt"),
    10: Category("short sleeve dress", "dress", "short sleeve"),
    11: Category("long sleeve dress", "dress", "long sleeve"),
    12: Category("vest dress", "dress", "vest"),
    13: Category("sling dress", "dress", "sling"),
}


class Crop(NamedTuple):
    """One piece of clothing on a photo, to be cut out of it.

    Attributes:
        split: Split of the release.
        photo_id: Photo's file name without suffix.
        file: Photo's file name.
        domain: "query" where a user took the photo, "catalog" where a shop did.
        pair_id: Number of the photos that show the same products; each split numbers its own.
        number: Number k of the annotation's `itemk`, from 1.
        style: Number, above 0, of a design, colour or print of the pair.
        category_id: Key of `CATEGORIES`.
        box: Left, top, right and bottom in pixels of the upright photo.
        occlusion: Level of occlusion: 1 slight or none, 2 medium, 3 heavy.
        viewpoint: Side of the wearer: 1 no wear, 2 frontal, 3 side or back.
        scale: Size on the photo: 1 small, 2 modest, 3 large; 0 where it is not given.
        zoom_in: Level of zoom: 1 none, 2 medium, 3 large; 0 where it is not given.
        look: `twin_hash` of the crop, as it was cut; empty before.
    """

    split: str
    photo_id: str
    file: str
    domain: str
    pair_id: int
    number: int
    style: int
    category_id: int
    box: Box
    occlusion: int
    viewpoint: int
    scale: int
    zoom_in: int
    look: bytes = b""

    @property
    def sku_id(self) -> str:
        """Id of the SKU within its split."""
        return f"{self.pair_id:06d}_{self.style:02d}_{self.category_id:02d}"

    @property
    def image_id(self) -> str:
        """Id of the crop in the manifest."""
        return f"{self.split}/{self.photo_id}_item{self.number}"

    @property
    def path(self) -> str:
        """Path of the crop below the dataset's folder."""
        return f"{self.split}/{self.domain}/{self.sku_id}/{self.photo_id}_item{self.number}.jpg"


class Dropped(NamedTuple):
    """What is left out: `<split>/<photo>` or `<split>/<photo>_item<k>`, why, and what was found."""

    image_id: str
    reason: str
    detail: str


def read_annotations(
    photos: Sequence[tuple[str, str]], *, split: str, annos: Path, min_side: int
) -> tuple[list[Crop], list[Dropped]]:
    """Reads annotations; whatever is wrong with one is a reason to drop it, never an error.

    Args:
        photos: Ids of photos with their file names, which are empty where there is only an annotation.
        split: Split of the release.
        annos: Folder of its annotations.
        min_side: Shorter side of a box in pixels, at least; to be asked again once boxes are clamped to their photo.

    Returns:
        Usable items in the order of the photos, and what was dropped: photos without a usable annotation, and items.
    """
    crops: list[Crop] = []
    dropped: list[Dropped] = []
    for photo_id, file in photos:
        name = f"{split}/{photo_id}"
        try:
            if not file:
                raise _NotUsableError("image_missing", "an annotation, but no photo of this id")
            annotation = _read_json(annos / f"{photo_id}.json")
            domain, pair_id = _image_labels(annotation)
            numbers = sorted(int(key[4:]) for key in annotation if re.fullmatch(r"item[1-9][0-9]{0,8}", key))
            if not numbers:
                raise _NotUsableError("no_items", f"the annotation has only {sorted(annotation)[:5]}")
        except _NotUsableError as error:
            dropped.append(Dropped(name, error.reason, str(error)))
            continue
        for number in numbers:
            try:
                labels = _labels(annotation[f"item{number}"], min_side=min_side)
                crops.append(Crop(split, photo_id, file, domain, pair_id, number, **labels))
            except _NotUsableError as error:
                dropped.append(Dropped(f"{name}_item{number}", error.reason, str(error)))
    return crops, dropped


class _NotUsableError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise _NotUsableError("annotation_missing", "a photo, but no annotation of this id") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _NotUsableError("annotation_unreadable", f"{type(error).__name__}: {error}") from None
    if not isinstance(data, dict):
        raise _NotUsableError("annotation_unreadable", f"expected a JSON object, got {type(data).__name__}")
    return data


def _image_labels(annotation: Mapping[str, Any]) -> tuple[str, int]:
    source, pair_id = annotation.get("source"), _whole(annotation.get("pair_id"))
    if source not in ("user", "shop") or pair_id is None or pair_id < 0:
        got = f"source {source!r}, pair_id {annotation.get('pair_id')!r}"
        raise _NotUsableError("annotation_incomplete", f"{got}; expected 'user' or 'shop', and a number from 0")
    return DOMAINS[source], pair_id


def _labels(data: object, *, min_side: int) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _NotUsableError("item_unreadable", f"expected a JSON object, got {type(data).__name__}")
    labels = {
        key: _whole(data.get(key)) for key in ("style", "category_id", "occlusion", "viewpoint", "scale", "zoom_in")
    }
    style = labels["style"]
    if style == 0:
        raise _NotUsableError("style_zero", "style 0: the release pairs it with nothing")
    if labels["category_id"] not in CATEGORIES:
        raise _NotUsableError("unknown_category", f"category_id {data.get('category_id')!r}, expected 1 to 13")
    if style is None or style < 0 or labels["occlusion"] not in LEVELS or labels["viewpoint"] not in LEVELS:
        got = {key: data.get(key) for key in ("style", "occlusion", "viewpoint")}
        raise _NotUsableError("bad_label", f"got {got}, expected a style from 0, occlusion and viewpoint from 1 to 3")
    optional = {key: labels[key] if labels[key] in LEVELS else 0 for key in ("scale", "zoom_in")}
    return labels | optional | {"box": _box(data.get("bounding_box"), min_side=min_side)}


def _box(value: object, *, min_side: int) -> Box:
    numbers = value if isinstance(value, list) and len(value) == 4 else []
    usable = [round(n) for n in numbers if type(n) in (int, float) and abs(n) < BEYOND_ANY_LABEL]  # nor nan
    if len(usable) != 4:
        raise _NotUsableError("no_box", f"bounding_box {value!r}, expected [x1, y1, x2, y2]"[:200])
    box = (usable[0], usable[1], usable[2], usable[3])
    if fault := box_fault(box, min_side=min_side):
        raise _NotUsableError(*fault)
    return box


def box_fault(box: Box, *, min_side: int) -> tuple[str, str] | None:
    """Why a box cannot be cut, as a reason and a detail; None where it can."""
    width, height = box[2] - box[0], box[3] - box[1]
    if width <= 0 or height <= 0:
        return "box_empty", f"box {list(box)}: right of left and below top is nothing"
    if min(width, height) < min_side:
        return "box_too_small", f"box {list(box)}: {width}x{height} pixels, at least {min_side} needed on both sides"
    return None


def _whole(value: object) -> int | None:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return whole if type(whole) is int and abs(whole) < BEYOND_ANY_LABEL else None
