"""Cutting the items of DeepFashion2's photos out of them; a stopped run goes on behind what it has recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from fashionclip.atomic import write_text
from fashionclip.images import UnreadableImageError, fit_within, load_image
from fashionclip.prepare.deepfashion2.annotations import AnnotatedPhoto, Dropped, box_fault, crop_path, image_id
from fashionclip.prepare.photos import write_jpeg

JPEG_QUALITY = 92  # with halved colour, as the release's own photos are stored


class CropJob(NamedTuple):
    """A few photos of a split, whose crops are recorded together.

    Attributes:
        number: Number of the job within its split, which names its record.
        split: Split of the release.
        images: Folder of the photos.
        photos: Photos with the items to cut.
    """

    number: int
    split: str
    images: Path
    photos: tuple[AnnotatedPhoto, ...]


def cut_items(
    job: CropJob, *, folder: Path, margin: float, min_side: int, max_side: int
) -> tuple[list[AnnotatedPhoto], list[Dropped]]:
    """Cuts and writes the items of some photos, unless a stopped run has done so. Each photo is decoded once.

    Args:
        job: Photos with the items to cut.
        folder: Folder of the dataset; crops go to `<split>/catalog|query/<sku_id>/`, a record of them to `records/`.
        margin: Room around a box, as a share of its width and height on each side, 0 or more; none beyond the photo.
        min_side: Shorter side of a box within its photo, in pixels, at least.
        max_side: Longer side of a written crop, in pixels, at most.

    Returns:
        The photos with the items that were cut, their boxes clamped to the photo (without margin), and the others.
    """
    record = folder / "records" / f"{job.split}-{job.number:06d}.json"
    recorded = _recorded(record, {image_id(job.split, photo, item) for photo in job.photos for item in photo.items})
    boxes: dict[str, list[int]] = {}
    dropped: list[Dropped] = []
    if recorded is not None:
        boxes, dropped = recorded
    else:
        for photo in job.photos:
            of_photo, faults = _cut_photo(
                photo, job=job, folder=folder, margin=margin, min_side=min_side, max_side=max_side
            )
            boxes |= of_photo
            dropped += faults
        record.parent.mkdir(exist_ok=True)
        done = json.dumps({"boxes": boxes, "dropped": dropped})
        write_text(record, done, sync=False)  # last, so that what a record names is whole
    cut = []
    for photo in job.photos:
        names = [image_id(job.split, photo, item) for item in photo.items]
        items = tuple(
            item._replace(box=(boxes[name][0], boxes[name][1], boxes[name][2], boxes[name][3]))
            for name, item in zip(names, photo.items, strict=True)
            if name in boxes
        )
        if items:
            cut.append(photo._replace(items=items))
    return cut, dropped


def _recorded(record: Path, names: set[str]) -> tuple[dict[str, list[int]], list[Dropped]] | None:
    """What a stopped run has done of exactly these items; None where it has not, or left half a record."""
    try:
        done = json.loads(record.read_text(encoding="utf-8"))
        boxes, dropped = done["boxes"], [Dropped(*row) for row in done["dropped"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return (boxes, dropped) if {*boxes, *(one.image_id for one in dropped)} == names else None


def _cut_photo(
    photo: AnnotatedPhoto, *, job: CropJob, folder: Path, margin: float, min_side: int, max_side: int
) -> tuple[dict[str, list[int]], list[Dropped]]:
    """Boxes of the crops that it wrote, by image_id, and the items that it could not cut."""
    try:
        picture = load_image(job.images / photo.file)
    except UnreadableImageError as error:
        names = [image_id(job.split, photo, item) for item in photo.items]
        return {}, [Dropped(name, "image_unreadable", str(error)) for name in names]
    boxes: dict[str, list[int]] = {}
    dropped: list[Dropped] = []
    for item in photo.items:
        box = _within(item.box, picture.size)
        fault = box_fault(box, min_side=min_side)
        if fault:
            reason, detail = fault
            detail += f" (clamped from {list(item.box)} to a photo of {picture.width}x{picture.height})"
            dropped.append(Dropped(image_id(job.split, photo, item), reason, detail))
            continue
        across, down = round(margin * (box[2] - box[0])), round(margin * (box[3] - box[1]))
        wider = _within((box[0] - across, box[1] - down, box[2] + across, box[3] + down), picture.size)
        file = folder / crop_path(job.split, photo, item)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_jpeg(fit_within(picture.crop(wider), max_side=max_side), file, quality=JPEG_QUALITY)
        boxes[image_id(job.split, photo, item)] = list(box)
    return boxes, dropped


def _within(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, right = (min(max(x, 0), size[0]) for x in (box[0], box[2]))
    top, bottom = (min(max(y, 0), size[1]) for y in (box[1], box[3]))
    return left, top, right, bottom
