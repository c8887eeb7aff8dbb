"""A tree in DeepFashion2's format, made of any photos, for machines that do not have the release.

    python -m fashionclip.prepare.deepfashion2.standin --to DIR --photos DIR [--table images.csv] [--images 2000]
    DF2_ROOT=DIR python prepare.py dataset=df2

Without `--photos` the garments are those of the demo catalogue. `--table` is a CSV as the CC0 "Clothing dataset" has
it: `image, sender_id, label`; photos of one sender then share a split, and labels become categories.

A garment is one source photo. A pair has one or two garments, each in up to three tints: these are its styles. Shops
show a garment upright before a pale wall; users show it turned, perhaps mirrored, on a floor, a sheet or in a room, in
other light, cut closer or partly hidden. One photo in twenty has one of the faults in `FAULTS`; some SKUs are shown in
one domain only, some pieces have style 0, pairs are numbered from 1 in each split, and the test split has no
annotations.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from fashionclip.atomic import alone_at, whole_folder
from fashionclip.drawing.catalog import (
    add_snapshot_look,
    draw_floor,
    draw_room,
    draw_sheet,
    tinted,
    write_demo_catalog,
)
from fashionclip.drawing.garments import Colour, soft_noise
from fashionclip.errors import InputError
from fashionclip.images import fit_within, load_image
from fashionclip.manifest import stable_hash
from fashionclip.parallel import on_all_cores
from fashionclip.prepare.deepfashion2.annotations import CATEGORIES
from fashionclip.prepare.deepfashion2.release import RELEASE_SPLITS
from fashionclip.prepare.find_photos import find_photos, read_groups

SHARES = {"train": 7, "validation": 2, "test": 1}  # of ten photos, and of ten groups of source photos
FAULT_EVERY = 20  # photos, of which one has a fault
FAULTS = (
    "image_missing",
    "image_unreadable",  # cut off in the middle
    "annotation_missing",
    "annotation_unreadable",
    "annotation_incomplete",  # without pair_id
    "no_items",
    "no_box",
    "box_empty",
    "box_inverted",
    "box_too_small",
    "box_beyond",  # reaches over the photo's edge: to be clamped, not dropped
    "unknown_category",
    "bad_label",
    "exif",  # stored lying, with an orientation that says so: to be read upright
)
LANDMARKS = {1: 25, 2: 33, 3: 31, 4: 39, 5: 15, 6: 15, 7: 10, 8: 14, 9: 8, 10: 29, 11: 37, 12: 19, 13: 19}
LABELS = {  # categories that a label of the clothing dataset may be; photos with other labels are left out
    "T-Shirt": (1,), "Polo": (1,), "Longsleeve": (2,), "Shirt": (2,), "Hoodie": (2,), "Blouse": (2,), "Outwear": (4,),
    "Blazer": (4,), "Undershirt": (5,), "Top": (6,), "Body": (5,), "Shorts": (7,), "Pants": (8,), "Skirt": (9,),
    "Dress": (10, 11, 12, 13),
}  # fmt: skip
TINTS: tuple[Colour, ...] = ((214, 48, 49), (9, 132, 227), (0, 148, 90), (240, 180, 20), (130, 60, 180), (40, 40, 48))
SIZES = ((600, 800), (720, 960), (800, 800))  # of a photo, in pixels
SMALL_JOB = 40  # photos; fewer are drawn before worker processes have started


class Piece(NamedTuple):
    """A garment as a photo shows it; the labels are those of an annotation."""

    file: Path
    tint: Colour | None
    category_id: int
    style: int
    occlusion: int
    viewpoint: int
    scale: int
    zoom_in: int


class Plan(NamedTuple):
    """One photo to draw."""

    split: str
    photo_id: str
    source: str
    pair_id: int
    pieces: tuple[Piece, ...]
    fault: str


class Garment(NamedTuple):
    """A source photo and its category."""

    file: Path
    category_id: int


def write_deepfashion2_fixture(
    folder: Path,
    *,
    photos: Path | None,
    table: Path | None = None,
    images: int = 2000,
    seed: int = 0,
    faults: bool = True,
    workers: int | None = None,
) -> dict[str, int]:
    """Writes the tree; the same photos, numbers and seed give the same bytes, whatever the number of workers.

    Args:
        folder: Folder to write, to be `DF2_ROOT` later; created where it is missing.
        photos: Folder of at least ten source photos (with `table`: of ten senders); None for the demo catalogue's.
        table: CSV with the columns image, sender_id and label; None for photos that belong to nobody.
        images: Number of photos to write: 7 of 10 to train, 2 to validation, 1 to test.
        seed: Seed of everything left to chance.
        faults: Whether photos have the faults in `FAULTS`.
        workers: Number of processes, by default one a core; 0 works in this process.

    Returns:
        Number of photos with each fault.

    Raises:
        InputError: `folder` holds something, or there are too few photos.
    """
    with alone_at(folder), whole_folder(folder) as new:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: holds something, expected a new folder. Remove it or name another one.")
        pools = _pools(folder, photos=photos, table=table, images=images, seed=seed)
        plans: list[Plan] = []
        for split, share in SHARES.items():
            rng = random.Random(f"{seed}/{split}")
            plans += _plan_split(split, pools[split], images=images * share // 10, faults=faults, rng=rng)
        for split in RELEASE_SPLITS:
            (new / split / "image").mkdir(parents=True)
            if split != "test":
                (new / split / "annos").mkdir()
        draw = partial(draw_photo, folder=new, seed=seed)
        drawn = on_all_cores(draw, plans, workers=workers, fewest=SMALL_JOB, chunksize=8)
        for _ in tqdm(drawn, total=len(plans), desc="drawing photos", unit="photo"):
            pass
    return dict(Counter(plan.fault for plan in plans if plan.fault))


def draw_photo(plan: Plan, *, folder: Path, seed: int) -> None:
    """Draws and writes a photo and its annotation."""
    rng = random.Random(f"{seed}/{plan.split}/{plan.photo_id}")
    size = rng.choice(SIZES)
    shop = plan.source == "shop"
    if shop:
        grey = rng.randint(226, 250)
        scene = tinted(soft_noise(size=size, cells=(2, 3), low=242, rng=rng), (grey, grey, grey))
    else:
        scene = rng.choice((draw_floor, draw_sheet, draw_room))(size=size, rng=rng)
    boxes = []
    width = size[0] // len(plan.pieces)
    for column, piece in enumerate(plan.pieces):
        cutout = draw_piece(piece, room=(width, size[1]), shop=shop, rng=rng)
        left = column * width + (width - cutout.width) // 2
        top = round((size[1] - cutout.height) * (0.5 if shop else rng.uniform(0.1, 0.9)))
        scene.paste(cutout, (left, top), cutout)
        boxes.append((left, top, left + cutout.width, top + cutout.height))
    picture = scene if shop else add_snapshot_look(scene, rng=rng)
    _write_picture(picture, folder / plan.split / "image" / f"{plan.photo_id}.jpg", fault=plan.fault)
    if plan.split != "test":
        file = folder / plan.split / "annos" / f"{plan.photo_id}.json"
        _write_annotation(_annotation(plan, boxes, rng=rng), file, fault=plan.fault)


def draw_piece(piece: Piece, *, room: tuple[int, int], shop: bool, rng: random.Random) -> Image.Image:
    """The garment cut out with soft edges (mode RGBA), of a size that fits into the room."""
    photo = load_image(piece.file)
    share = {1: 1.0, 2: 0.85, 3: 0.7}[piece.zoom_in] * rng.uniform(0.94, 1.0)
    side, up = round(photo.width * share), round(photo.height * share)
    left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - up)
    photo = photo.crop((left, top, left + side, top + up))
    if piece.tint:
        photo = Image.blend(photo, Image.new("RGB", photo.size, piece.tint), 0.4)
    if piece.viewpoint == 3:
        photo = photo.resize((max(1, round(photo.width * 0.8)), photo.height))  # foreshortened
    share = {1: 0.6, 2: 0.8, 3: 0.98}[piece.scale] * (1.0 if shop else rng.uniform(0.85, 1.0))
    scale = share * min(room[0] / photo.width, room[1] / photo.height)
    photo = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    _hide(photo, share={1: 0.0, 2: 0.25, 3: 0.42}[piece.occlusion], rng=rng)
    mask = Image.new("L", photo.size)
    edge = min(photo.size) // 30
    ImageDraw.Draw(mask).rounded_rectangle(
        (edge, edge, photo.width - edge, photo.height - edge), min(photo.size) // 3, fill=255
    )
    photo.putalpha(mask.filter(ImageFilter.BoxBlur(edge)))
    if shop:
        return photo
    if rng.random() < 0.5:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = photo.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR, expand=True)
    return fit_within(turned, max_side=min(max(turned.size), *room))


def _hide(photo: Image.Image, *, share: float, rng: random.Random) -> None:
    """Lays something over a share of the picture, from one of its sides."""
    if not share:
        return
    width, height = photo.size
    colour = rng.choice(((92, 70, 58), (206, 170, 146), (52, 56, 64), (150, 150, 144)))
    across, down = round(width * share), round(height * share)
    columns, rows = ((0, across), (width - across, width)), ((0, down), (height - down, height))
    boxes = [*((left, 0, right, height) for left, right in columns), *((0, top, width, low) for top, low in rows)]
    ImageDraw.Draw(photo).rectangle(rng.choice(boxes), fill=colour)


def _write_picture(picture: Image.Image, file: Path, *, fault: str) -> None:
    if fault == "image_missing":
        return
    exif = Image.Exif()
    if fault == "exif":
        picture, exif[0x0112] = picture.transpose(Image.Transpose.ROTATE_90), 6
    picture.save(file, quality=90, exif=exif)
    if fault == "image_unreadable":
        file.write_bytes(file.read_bytes()[:2000])


def _annotation(plan: Plan, boxes: Sequence[tuple[int, int, int, int]], *, rng: random.Random) -> dict[str, Any]:
    annotation: dict[str, Any] = {"source": plan.source, "pair_id": plan.pair_id}
    for number, (piece, box) in enumerate(zip(plan.pieces, boxes, strict=True), start=1):
        left, top, right, bottom = box
        points = [
            part
            for _ in range(LANDMARKS[piece.category_id])
            for part in (rng.randint(left, right), rng.randint(top, bottom), rng.randint(1, 2))
        ]
        annotation[f"item{number}"] = {
            "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            "scale": piece.scale,
            "viewpoint": piece.viewpoint,
            "zoom_in": piece.zoom_in,
            "landmarks": points,
            "style": piece.style,
            "bounding_box": list(box),
            "category_id": piece.category_id,
            "occlusion": piece.occlusion,
            "category_name": CATEGORIES[piece.category_id].name,
        }
    return annotation


def _write_annotation(annotation: dict[str, Any], file: Path, *, fault: str) -> None:
    if fault == "annotation_missing":
        return
    item = annotation["item1"]
    left, top, right, bottom = item["bounding_box"]
    changed: dict[str, Any] = {
        "box_empty": {"bounding_box": [left, top, left, bottom]},
        "box_inverted": {"bounding_box": [right, bottom, left, top]},
        "box_too_small": {"bounding_box": [left, top, left + 5, bottom]},
        "box_beyond": {"bounding_box": [-40, -40, right, bottom]},
        "unknown_category": {"category_id": 14, "category_name": "hat"},
        "bad_label": {"viewpoint": 0},
    }
    item.update(changed.get(fault, {}))
    if fault == "no_box":
        del item["bounding_box"]
    if fault == "no_items":
        annotation = {key: annotation[key] for key in ("source", "pair_id")}
    if fault == "annotation_incomplete":
        del annotation["pair_id"]
    text = json.dumps(annotation)
    file.write_text(text[: len(text) // 2] if fault == "annotation_unreadable" else text, encoding="utf-8")


def _pools(
    folder: Path, *, photos: Path | None, table: Path | None, images: int, seed: int
) -> dict[str, list[Garment]]:
    """The garments of each split; no group of photos is in two."""
    if photos is None:
        catalog = folder.with_name(folder.name + "-garments")
        if not (catalog / "styles.csv").exists():
            write_demo_catalog(catalog, items=min(1000, 20 + images // 4), shots=1, seed=seed)
        photos = catalog / "images"
    files = find_photos(photos, root=folder, limit=None, seed=seed)
    read = partial(read_groups, table, image_column="image", photos=files, folder=photos)
    groups, labels = read(group_column="sender_id"), read(group_column="label")
    garments: dict[str, list[Garment]] = {}
    for base, file in files.items():
        chance = stable_hash(f"{seed}/category/{base}")
        fitting = tuple(CATEGORIES) if table is None else LABELS.get(labels[base].removeprefix("group "), ())
        if fitting:
            garments.setdefault(groups[base], []).append(Garment(file, fitting[chance % len(fitting)]))
    names = sorted(garments, key=lambda group: stable_hash(f"{seed}/pool/{group}"))
    if len(names) < sum(SHARES.values()):
        raise InputError(
            f"{photos}: photos of {len(names)} groups, expected {sum(SHARES.values())} or more (a split's garments are "
            "in no other). Give a folder with more photos, or leave the table out."
        )
    deal = [split for split, share in SHARES.items() for _ in range(share)]
    pools: dict[str, list[Garment]] = {split: [] for split in SHARES}
    for place, name in enumerate(names):
        pools[deal[place % len(deal)]] += garments[name]
    return pools


def _plan_split(split: str, pool: Sequence[Garment], *, images: int, faults: bool, rng: random.Random) -> list[Plan]:
    plans: list[Plan] = []
    garments = _in_turns(pool, rng=rng)
    for pair_id in count(1):
        for source, pieces in _plan_pair(pair_id, garments, pool, rng=rng):
            if len(plans) == images:
                return plans
            number = len(plans) + 1
            turn, rest = divmod(number, FAULT_EVERY)
            fault = FAULTS[(turn - 1) % len(FAULTS)] if faults and not rest and split != "test" else ""
            plans.append(Plan(split, f"{number:06d}", source, pair_id, pieces, fault))
    raise AssertionError  # count() does not end


def _in_turns(pool: Sequence[Garment], *, rng: random.Random) -> Iterator[tuple[Garment, list[Colour | None]]]:
    """Garments at random, all once before one comes again, then in tints that it did not have yet."""
    tints: list[list[Colour | None]] = [[None, *rng.sample(TINTS, len(TINTS))] for _ in pool]
    while True:
        for place in rng.sample(range(len(pool)), len(pool)):
            most = rng.randint(1, 3)
            chosen, tints[place] = tints[place][:most], [*tints[place][most:], *tints[place][:most]]
            yield pool[place], chosen


def _plan_pair(
    pair_id: int,
    garments: Iterator[tuple[Garment, list[Colour | None]]],
    pool: Sequence[Garment],
    *,
    rng: random.Random,
) -> list[tuple[str, tuple[Piece, ...]]]:
    """The photos of a pair: who took each, and what it shows."""
    skus: list[tuple[Garment, Colour | None, int]] = []
    chosen = [next(garments) for _ in range(rng.randint(1, 2))]
    for garment, tints in {garment.category_id: (garment, tints) for garment, tints in chosen}.values():
        skus += [(garment, tint, len(skus) + number) for number, tint in enumerate(tints, start=1)]
    only = {0: "shop", 5: "user"}.get(pair_id % 10)  # who alone shows the last SKU
    photos = []
    for source, most in (("user", 3), ("shop", 2)):
        shown = skus if only in (None, source) or len(skus) == 1 else skus[:-1]
        slots = [sku for sku in shown for _ in range(rng.randint(1, most))]
        rng.shuffle(slots)
        while slots:
            pieces = [_piece(*slots.pop(), source=source, rng=rng)]
            if slots and rng.random() < 0.4:
                pieces.append(_piece(*slots.pop(), source=source, rng=rng))
            if rng.random() < 0.2:
                pieces.append(_piece(rng.choice(pool), None, 0, source=source, rng=rng))
            photos.append((source, tuple(pieces)))
    return photos


def _piece(garment: Garment, tint: Colour | None, style: int, *, source: str, rng: random.Random) -> Piece:
    shop = source == "shop"
    return Piece(
        file=garment.file,
        tint=tint,
        category_id=garment.category_id,
        style=style,
        occlusion=rng.choices((1, 2, 3), (8, 1, 1) if shop else (5, 3, 2))[0],
        viewpoint=rng.choices((1, 2, 3), (4, 5, 1) if shop else (1, 6, 3))[0],
        scale=rng.choices((1, 2, 3), (1, 3, 6) if shop else (2, 4, 4))[0],
        zoom_in=rng.choices((1, 2, 3), (8, 1, 1) if shop else (5, 3, 2))[0],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="new folder, to be DF2_ROOT")
    parser.add_argument("--photos", type=Path, help="folder of source photos (default: the demo catalogue's)")
    parser.add_argument("--table", type=Path, help="CSV with image, sender_id, label")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        written = write_deepfashion2_fixture(
            options.to, photos=options.photos, table=options.table, images=options.images, seed=options.seed
        )
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{options.to}: {options.images} photos; faults {written}")


if __name__ == "__main__":
    main()
