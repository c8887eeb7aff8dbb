"""Draws a small fashion catalogue in the layout of the Kaggle set 'Fashion Product Images'.

It needs no download and no font, and is prepared as real data are. What every picture shows is known exactly, because
its text is written from the attributes that the garment is drawn from.

    styles.csv          one row a photo; the photos of an item share its name and have ids of their own
    images/<id>.jpg     the first photo of an item is shop-like, the others are user-like
"""

import csv
import math
import random
from collections.abc import Sequence
from functools import partial
from itertools import product, zip_longest
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter
from tqdm import tqdm

from fashionclip.atomic import alone_at, restore_folder, whole_folder
from fashionclip.drawing.garments import (
    ARTICLES,
    COLOURS,
    HANGABLE,
    SOLID,
    Colour,
    DrawnItem,
    draw_garment,
    levels,
    luma,
    mix,
    soft_noise,
)
from fashionclip.errors import InputError
from fashionclip.parallel import on_all_cores

HEADER = "id gender masterCategory subCategory articleType baseColour season year usage productDisplayName"
FIRST_ID = 1_000_001  # above every id of the release, so that drawn and real photos never mix
BRANDS = ("Nordlund", "Quillmere", "Tavasko", "Brindlewick", "Zephrane", "Halvenne", "Dravica", "Mirrowen")
READABLE = 60  # least difference in brightness, 0 to 255, between the two colours of a pattern
SMALL_JOB = 40  # photos; fewer are drawn before worker processes have started


def draw_items(*, count: int, seed: int) -> list[DrawnItem]:
    """Chooses different items, spread evenly over the articles and, within an article, over the patterns.

    No two items agree in all the attributes that a picture shows, so no two share a name.

    Raises:
        InputError: `count` is below 1 or above the number of distinct combinations of attributes.
    """
    rng = random.Random(f"items/{seed}")
    items = in_turns([shuffled_items(article=article, rng=rng) for article in ARTICLES])
    if count < 1:
        raise InputError(f"items: got {count}, expected at least 1. Ask for one or more.")
    if count > len(items):
        raise InputError(
            f"items: got {count:,}, expected at most {len(items):,}, the number of distinct combinations of "
            "attributes. Ask for fewer, or add rows to ARTICLES in fashionclip/drawing/garments.py."
        )
    return items[:count]


def shuffled_items(*, article: str, rng: random.Random) -> list[DrawnItem]:
    """Every combination of attributes that an article can have, the patterns taking turns."""
    kind = ARTICLES[article]
    by_pattern = []
    for pattern in rng.sample(kind.patterns, k=len(kind.patterns)):
        colours = [(colour, accent) for colour in COLOURS for accent in accents(colour=colour, pattern=pattern)]
        looks = list(product(kind.genders, colours, kind.sleeves, kind.lengths))
        rng.shuffle(looks)
        items = []
        for gender, (colour, accent), sleeve, length in looks:
            brand, season, year = rng.choice(BRANDS), rng.choice(kind.seasons), rng.randint(2012, 2018)
            items.append(DrawnItem(article, gender, colour, accent, pattern, sleeve, length, brand, season, year))
        by_pattern.append(items)
    return in_turns(by_pattern)


def accents(*, colour: str, pattern: str) -> list[str]:
    """The second colours that can be told from the first in a small picture."""
    if pattern == SOLID:
        return [""]
    return [name for name, rgb in COLOURS.items() if abs(luma(rgb) - luma(COLOURS[colour])) >= READABLE]


def in_turns(lists: list[list[DrawnItem]]) -> list[DrawnItem]:
    return [item for turn in zip_longest(*lists) for item in turn if item is not None]


def draw_shot(item: DrawnItem, *, shot: int, seed: int, size: tuple[int, int] = (240, 320)) -> Image.Image:
    """Photographs an item: shot 0 as a shop would, every later one as its owner would.

    Args:
        item: Item to draw.
        shot: Number of the picture, from 0.
        seed: Seed of the picture, with item and shot.
        size: Width and height in pixels.

    Returns:
        An RGB picture.
    """
    rng = random.Random(f"shot/{seed}/{shot}/{item.name}")
    hanger = shot > 0 and ARTICLES[item.article].sub in HANGABLE and rng.random() < 0.4
    garment = draw_garment(item=item, side=max(size), hanger=hanger, seed=seed)
    if shot == 0:
        # White needs a background that it stands out from.
        grey = rng.randint(206, 220) if item.colour == "White" else rng.randint(232, 248)
        scene = tinted(soft_noise(size=size, cells=(2, 3), low=242, rng=rng), (grey, grey, grey + rng.randint(0, 4)))
        return lay_down(garment, scene=scene, frame=camera_frame(garment=garment, size=size, zoom=1.16), drop=(0, 5))
    frame = camera_frame(
        garment=garment,
        size=size,
        zoom=rng.uniform(1.0, 1.6),
        turn=math.radians(rng.uniform(-10, 10) if hanger else rng.uniform(-35, 35)),
        shift=(rng.uniform(-0.13, 0.13), rng.uniform(-0.1, 0.1)),
        tilt=[rng.uniform(-0.1, 0.1) for _ in range(8)],
    )
    scene = rng.choice((draw_floor, draw_sheet, draw_room))(size=size, rng=rng)
    photo = lay_down(garment, scene=scene, frame=frame, drop=(rng.randint(-5, 5), rng.randint(2, 6)))
    if rng.random() < 0.45:
        add_clutter(photo, rng=rng)
    return add_snapshot_look(photo, rng=rng)


def camera_frame(
    *,
    garment: Image.Image,
    size: tuple[int, int],
    zoom: float,
    turn: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    tilt: Sequence[float] = (0.0,) * 8,
) -> list[float]:
    """Where the corners of the picture lie on the garment: x, y of upper left, lower left, lower right, upper right.

    Args:
        garment: Garment, cut out.
        size: Width and height of the picture, of which only the ratio counts.
        zoom: Size of the picture over that of the garment; below 1 the garment is cut off.
        turn: Rotation in radians.
        shift: Distance of the garment from the middle, as shares of the picture's width and height.
        tilt: Distances that the corners are moved, as shares of the picture's width and height: perspective and shear.
    """
    height = zoom * max(garment.height, garment.width * size[1] / size[0])
    width = height * size[0] / size[1]
    frame: list[float] = []
    for corner, (right, down) in enumerate(((-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5))):
        x = (right - shift[0] + tilt[2 * corner]) * width
        y = (down - shift[1] + tilt[2 * corner + 1]) * height
        frame.append(garment.width / 2 + x * math.cos(turn) - y * math.sin(turn))
        frame.append(garment.height / 2 + x * math.sin(turn) + y * math.cos(turn))
    return frame


def lay_down(garment: Image.Image, *, scene: Image.Image, frame: list[float], drop: tuple[int, int]) -> Image.Image:
    """The scene with the garment on it, seen through the camera frame, and with a soft shadow beside it."""
    seen = garment.transform(scene.size, Image.Transform.QUAD, frame, Image.Resampling.BILINEAR)
    shadow = levels(seen.getchannel("A").filter(ImageFilter.BoxBlur(6)), high=102)
    scene.paste((30, 26, 24), drop, shadow)
    scene.paste(seen, mask=seen)
    return scene


def tinted(light: Image.Image, colour: Colour) -> Image.Image:
    """Colours a grey picture: white becomes the colour, black stays."""
    return Image.merge("RGB", [levels(light, high=part) for part in colour])


def draw_floor(*, size: tuple[int, int], rng: random.Random) -> Image.Image:
    wood = mix(rng.choice(((196, 152, 106), (158, 112, 74), (214, 184, 146))), (128, 112, 96), rng.uniform(0, 0.3))
    # Noise with many cells across and few down is grain.
    floor = tinted(soft_noise(size=size, cells=(size[0] // 3, 4), low=205, rng=rng), wood)
    pencil, plank = ImageDraw.Draw(floor, "RGBA"), size[0] // rng.randint(4, 6)
    for left in range(-rng.randint(0, plank), size[0], plank):
        pencil.rectangle((left, 0, left + plank, size[1]), fill=(60, 36, 16, rng.randint(0, 60)))
        pencil.line((left, 0, left, size[1]), fill=(50, 30, 16, 190), width=2)
        joint = rng.randint(0, size[1])
        pencil.line((left, joint, left + plank, joint), fill=(50, 30, 16, 190), width=2)
    return floor


def draw_sheet(*, size: tuple[int, int], rng: random.Random) -> Image.Image:
    linen = rng.choice(((226, 222, 214), (190, 206, 222), (214, 200, 190), (200, 212, 196), (216, 204, 222)))
    # Turned stripes of noise; the square is large enough to have no empty corner in the picture.
    board, (width, height) = 2 * max(size), size
    creases = soft_noise(size=(board, board), cells=(26, 9), low=178, rng=rng).rotate(rng.uniform(20, 70))
    left, top = (board - width) // 2, (board - height) // 2
    return tinted(creases.crop((left, top, left + width, top + height)), linen)


def draw_room(*, size: tuple[int, int], rng: random.Random) -> Image.Image:
    wall = rng.choice(((214, 208, 196), (186, 200, 206), (204, 212, 190), (222, 200, 186), (176, 178, 184)))
    room = tinted(soft_noise(size=size, cells=(3, 3), low=215, rng=rng), wall)
    pencil, width, height = ImageDraw.Draw(room), *size
    edge = round(height * rng.uniform(0.62, 0.82))
    pencil.rectangle((0, edge, width, height), fill=mix(wall, (92, 66, 46), 0.75))
    pencil.rectangle((0, edge - height // 24, width, edge), fill=mix(wall, (255, 255, 255), 0.6))
    left, top = rng.choice((-0.08, 0.74)) * width, rng.uniform(0.03, 0.2) * height
    window = (left, top, left + width * 0.34, top + height * 0.3)
    pencil.rectangle(window, fill=(196, 214, 226), outline=(96, 74, 56), width=5)
    return room


def add_clutter(photo: Image.Image, *, rng: random.Random) -> None:
    """Lays a mug or a phone on the edge of the picture, where it covers only a little of the garment."""
    layer = Image.new("RGBA", (2 * photo.width, 2 * photo.height))
    pencil, unit = ImageDraw.Draw(layer), layer.width / 100
    x, y = rng.choice((3, 97)) * unit, rng.uniform(0.1, 0.95) * layer.height
    if rng.random() < 0.5:
        pencil.circle((x, y), 14 * unit, fill=(238, 238, 234), outline=(150, 150, 150), width=3)
        pencil.circle((x, y), 11 * unit, fill=(92, 58, 36), outline=(190, 190, 186), width=3)
    else:
        box = (x - 11 * unit, y - 21 * unit, x + 11 * unit, y + 21 * unit)
        pencil.rounded_rectangle(box, 4 * unit, fill=(86, 110, 140), outline=(28, 28, 32), width=round(2 * unit))
    small = layer.reduce(2)
    photo.paste(small, mask=small)


def add_snapshot_look(photo: Image.Image, *, rng: random.Random) -> Image.Image:
    """Uneven light, a warm or cool tint, a little blur and grain."""
    warmth, exposure = rng.uniform(-0.05, 0.09), rng.uniform(0.9, 1.14)
    gains = (exposure * (1 + warmth), exposure, exposure * (1 - warmth))
    light = tinted(soft_noise(size=photo.size, cells=(2, 2), low=212, rng=rng), (255, 255, 255))
    photo = ImageChops.multiply(photo, light)
    photo = photo.point([min(255, round(value * gain)) for gain in gains for value in range(256)])
    photo = photo.filter(ImageFilter.BoxBlur(rng.uniform(0.0, 0.8)))
    strength = rng.randint(4, 22)
    grain = Image.frombytes("L", photo.size, rng.randbytes(photo.width * photo.height))
    return ImageChops.add(photo, tinted(grain, (strength,) * 3), offset=-strength // 2)


def write_demo_catalog(
    folder: Path,
    *,
    items: int = 300,
    shots: int = 3,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Writes a catalogue; the same items, shots and seed give the same bytes.

    The folder is there whole or not at all. One process writes it; another waits and finds it written.

    Args:
        folder: Folder to write, created where it is missing.
        items: Number of products.
        shots: Number of photos of each product.
        seed: Seed of items and pictures.
        workers: Number of processes, by default one a core; 0 draws in this process.

    Returns:
        The folder.

    Raises:
        InputError: A count is below 1, there are not so many different items, or the folder holds something already,
            perhaps the real release.
    """
    if shots < 1:
        raise InputError(f"shots: got {shots}, expected at least 1. Ask for one or more.")
    products = draw_items(count=items, seed=seed)
    table = folder / "styles.csv"
    if table.exists():
        raise InputError(f"{table}: found a catalogue, expected none. Remove it or name another folder.")
    with alone_at(folder):
        restore_folder(folder)
        if table.exists():
            return folder  # by the process that was waited for
        if folder.exists() and any(folder.iterdir()):
            raise InputError(
                f"{folder}: holds something but no catalogue (no styles.csv), so it is left alone. Empty it or name "
                "another folder."
            )
        jobs = [(FIRST_ID + number * shots, item) for number, item in enumerate(products)]
        with (
            whole_folder(folder) as new,
            tqdm(total=items * shots, desc="drawing the demo catalogue", unit="photo", disable=None) as bar,
        ):
            (new / "images").mkdir()
            draw = partial(save_shots, folder=new / "images", shots=shots, seed=seed)
            for done in on_all_cores(draw, jobs, workers=workers, fewest=SMALL_JOB // shots + 1, chunksize=4):
                bar.update(done)
            write_table(new / "styles.csv", [(first + shot, item) for first, item in jobs for shot in range(shots)])
    return folder


def save_shots(job: tuple[int, DrawnItem], *, folder: Path, shots: int, seed: int) -> int:
    first_id, item = job
    for shot in range(shots):
        draw_shot(item, shot=shot, seed=seed).save(folder / f"{first_id + shot}.jpg", quality=90)
    return shots


def write_table(path: Path, photos: Sequence[tuple[int, DrawnItem]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER.split())
        for photo_id, item in photos:
            article = ARTICLES[item.article]
            kind = (article.master, article.sub, item.article)
            made = (item.colour, item.season, item.year, article.usage)
            writer.writerow((photo_id, item.gender, *kind, *made, item.name))
