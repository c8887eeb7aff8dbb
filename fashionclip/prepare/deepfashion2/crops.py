"""Cutting items out of DeepFashion2's photos. A stopped run goes on behind what it has recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fashionclip.atomic import write_text
from fashionclip.images import UnreadableImageError, fit_within, load_image, twin_hash
from fashionclip.prepare.deepfashion2.annotations import Box, Crop, Dropped, box_fault
from fashionclip.prepare.photos import write_jpeg

Cut = tuple[Box, bytes]  # box of an item, and look of its crop
JPEG_QUALITY = 92  # with halved colour, as the release's own photos are stored


def cut_items(
    photos: Sequence[Sequence[Crop]], *, images: Path, folder: Path, margin: float, min_side: int, max_side: int
) -> tuple[list[Crop], list[Dropped]]:
    """Cuts and writes the items of some photos, unless a stopped run has done so. Each photo is decoded once.

    Args:
        photos: Items to cut of each photo; the photos are recorded together.
        images: Folder of the photos.
        folder: Folder of the dataset; crops go to `<split>/catalog|query/<sku_id>/`, a record of them to `records/`.
        margin: Room around a box, as a share of its width and height on each side, 0 or more; none beyond the photo.
        min_side: Shorter side of a box within its photo, in pixels, at least.
        max_side: Longer side of a written crop, in pixels, at most.

    Returns:
        The items that were cut, with their looks and their boxes clamped to the photo (without margin); and the others.
    """
    crops = [crop for photo in photos for crop in photo]
    record = folder / "records" / crops[0].split / f"{crops[0].photo_id}.json"
    done = _recorded(record, {crop.image_id for crop in crops})
    if done is None:
        done = {}, []
        for photo in photos:
            _cut_photo(photo, images, done, folder=folder, margin=margin, min_side=min_side, max_side=max_side)
        record.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {"boxes": {name: [*box, look.hex()] for name, (box, look) in done[0].items()}, "dropped": done[1]}
        )
        write_text(record, text, sync=False)  # last, so that what a record names is whole
    cut, dropped = done
    kept = [crop for crop in crops if crop.image_id in cut]
    return [crop._replace(box=cut[crop.image_id][0], look=cut[crop.image_id][1]) for crop in kept], dropped


def _recorded(record: Path, names: set[str]) -> tuple[dict[str, Cut], list[Dropped]] | None:
    """What a stopped run has done of exactly these items; None where it has not, or left half a record."""
    try:
        done = json.loads(record.read_text(encoding="utf-8"))
        cut = {
            name: ((left, top, right, bottom), bytes.fromhex(look))
            for name, (left, top, right, bottom, look) in done["boxes"].items()
        }
        dropped = [Dropped(*row) for row in done["dropped"]]
    except (FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return (cut, dropped) if {*cut, *(one.image_id for one in dropped)} == names else None


def _cut_photo(
    photo: Sequence[Crop],
    images: Path,
    done: tuple[dict[str, Cut], list[Dropped]],
    *,
    folder: Path,
    margin: float,
    min_side: int,
    max_side: int,
) -> None:
    """Cuts the items of one photo, and adds what it cut by image_id, or why it could not be cut, to `done`."""
    cut, dropped = done
    try:
        picture = load_image(images / photo[0].file)
    except UnreadableImageError as error:
        dropped += [Dropped(crop.image_id, "image_unreadable", str(error)) for crop in photo]
        return
    for crop in photo:
        box = _within(crop.box, picture.size)
        if fault := box_fault(box, min_side=min_side):
            reason, detail = fault
            detail += f" (clamped from {list(crop.box)} to a photo of {picture.width}x{picture.height})"
            dropped.append(Dropped(crop.image_id, reason, detail))
            continue
        across, down = round(margin * (box[2] - box[0])), round(margin * (box[3] - box[1]))
        wider = _within((box[0] - across, box[1] - down, box[2] + across, box[3] + down), picture.size)
        file = folder / crop.path
        file.parent.mkdir(parents=True, exist_ok=True)
        shown = fit_within(picture.crop(wider), max_side=max_side)
        write_jpeg(shown, file, quality=JPEG_QUALITY)
        cut[crop.image_id] = box, twin_hash(shown)


def _within(box: Box, size: tuple[int, int]) -> Box:
    left, right = (min(max(x, 0), size[0]) for x in (box[0], box[2]))
    top, bottom = (min(max(y, 0), size[1]) for y in (box[1], box[3]))
    return left, top, right, bottom
