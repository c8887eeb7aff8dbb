"""The variants of a base photo: which there are, and drawing them.

A family is an anchor with its positives, which show the same content, and its semi-positives, which show another.
"""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fashionclip.atomic import write_text
from fashionclip.errors import InputError
from fashionclip.images import UnreadableImageError, difference_hash, fit_within, load_image, twin_hash
from fashionclip.manifest import stable_hash
from fashionclip.prepare.photos import JPEG_QUALITY, write_jpeg
from fashionclip.prepare.synthetic_triplets.captions import caption_distance, edit_caption, replace_caption
from fashionclip.prepare.synthetic_triplets.held_out import Stock
from fashionclip.prepare.synthetic_triplets.overlays import Content, NotDrawnError, Overlay, safe_box

TRIES = 20  # to find a set of logos that the photo does not have yet


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How many variants a base photo has, and of which kind: six settings of `prepare_synthetic_triplet`.

    Raises:
        InputError: A number is out of its range.
    """

    captions_per_photo: int
    logo_sets_per_photo: int
    positives: int
    semipositives: int
    max_edited_share: float
    replaced_share: float

    def __post_init__(self) -> None:
        if (
            min(self.positives, self.semipositives) < 1
            or min(self.captions_per_photo, self.logo_sets_per_photo) < 0
            or not 0 < self.max_edited_share <= 1
            or not 0 <= self.replaced_share <= 1
        ):
            raise InputError(
                f"dataset: got {asdict(self)}, expected positives and semipositives of 1 or more, no count below 0, "
                "max_edited_share in (0, 1] and replaced_share in [0, 1]. Mend these keys."
            )


@dataclass(frozen=True)
class Variant:
    """One photo to draw.

    Attributes:
        image_id: Id of the photo in the manifest.
        kind: Role in its family: "anchor", "positive" or "semipositive".
        overlay: Kind of its overlay: "text" or "logo".
        content: Content of the overlay.
        unseen: Whether train shows none of the captions or logos that the family is made of.
    """

    image_id: str
    kind: str
    overlay: str
    content: Content
    unseen: bool


@dataclass(frozen=True)
class BasePhoto:
    """A photo of the source and the variants to draw of it, each family's anchor first."""

    base_id: str
    source: Path
    variants: tuple[Variant, ...]


def plan_variants(
    base_id: str,
    *,
    stocks: Mapping[str, Sequence[Stock]],
    logos_per_photo: tuple[int, int],
    rules: Rules,
    seed: int,
    position_of: Mapping[str, str] | None = None,
) -> tuple[Variant, ...]:
    """Chooses what the variants of a base photo show.

    Args:
        base_id: Id of the base photo; the choice depends on nothing but it, the seed and the other arguments.
        stocks: Stocks of captions under "text" and of logos under "logo", of which the families of a base photo take
            turns. A stock has at least two captions, or more logos than are shown on a photo.
        logos_per_photo: Least and largest number of logos on a photo.
        rules: Counts and shares.
        seed: Seed of the choice.
        position_of: Position of each class of logos, of which a photo shows one logo; None if each has its own.
    """
    rng = random.Random(f"{seed}/plan/{base_id}")
    variants: list[Variant] = []

    def add(overlay: str, number: int, stock: Stock, contents: Iterator[Content]) -> None:
        anchor = next(contents)
        shown = [("anchor", anchor), *((f"positive{k}", anchor) for k in range(rules.positives))]
        shown += [(f"semipositive{k}", next(contents)) for k in range(rules.semipositives)]
        for name, content in shown:
            image_id = f"{base_id}/{overlay}{number}_{name}"
            kind = name.rstrip("0123456789")
            variants.append(Variant(image_id, kind, overlay, replace(content, fonts=stock.fonts), stock.unseen))

    said: set[str] = set()
    for number, stock in enumerate(_in_turns(stocks.get("text", ()), count=rules.captions_per_photo, rng=rng)):
        left = [caption for caption in stock.contents if caption not in said]
        if left:
            said.add(caption := rng.choice(left))
            contents = _caption_contents(caption, captions=stock.contents, rules=rules, rng=rng)
            add("text", number, stock, contents)
    sets: set[frozenset[str]] = set()
    for number, stock in enumerate(_in_turns(stocks.get("logo", ()), count=rules.logo_sets_per_photo, rng=rng)):
        by_position: dict[str, list[str]] = defaultdict(list)
        for name in stock.contents:
            by_position[(position_of or {}).get(name, name)].append(name)
        drawn = (_logos(by_position, count=rng.randint(*logos_per_photo), rng=rng) for _ in range(TRIES))
        chosen = next((one for one in drawn if frozenset(one.values()) not in sets), None)
        if chosen:
            sets.add(frozenset(chosen.values()))
            add("logo", number, stock, _logo_contents(chosen, by_position=by_position, rng=rng))
    return tuple(variants)


def picture_of(source: Path, *, max_side: int) -> tuple[str, bytes] | None:
    """The `difference_hash` and `twin_hash` of a base photo as its variants show it; None where it cannot be read."""
    try:
        photo = fit_within(load_image(source, at_least=max_side), max_side=max_side)
    except UnreadableImageError:
        return None
    return difference_hash(photo), twin_hash(photo)


def draw_variants(
    photo: BasePhoto,
    *,
    folder: Path,
    overlays: Mapping[str, Overlay],
    max_side: int,
    keep_in_centre_crop: bool,
    seed: int,
) -> dict[str, Any]:
    """Draws and writes the variants of a base photo, one at a time, unless a stopped run has done so.

    Args:
        photo: Base photo with its variants.
        folder: Folder of the dataset; photos go to `images/`, and what is returned also to `rows/`.
        overlays: Overlays by kind.
        max_side: Longer side of a written photo, in pixels, at most.
        keep_in_centre_crop: Whether overlays lie within the centre square.
        seed: Seed of what is left to chance; with it each variant seeds its own, so that their order does not matter.

    Returns:
        Values of JSON, without pictures: `rows` of the manifest, `boxes` of placed logos, and `dropped` variants
        (image_id, reason, detail).
    """
    record = folder / "rows" / f"{photo.base_id}.json"
    if record.is_file():
        return json.loads(record.read_text(encoding="utf-8"))
    done: dict[str, Any] = {"rows": [], "boxes": [], "dropped": []}
    try:
        base = fit_within(load_image(photo.source, at_least=max_side), max_side=max_side)
    except UnreadableImageError as error:
        done["dropped"] = [[variant.image_id, "photo_unreadable", str(error)] for variant in photo.variants]
        return done
    safe = safe_box(base.size, keep_in_centre_crop=keep_in_centre_crop)
    (folder / "images" / photo.base_id).mkdir(parents=True, exist_ok=True)
    without_anchor: set[tuple[str, str]] = set()
    for variant in photo.variants:
        content, family = variant.content, (variant.overlay, variant.content.caption)
        canvas, rng = base.copy(), random.Random(f"{seed}/draw/{variant.image_id}")
        try:
            if family in without_anchor:
                raise NotDrawnError("no_anchor", f"the anchor of {content.caption!r} could not be drawn")
            drawn = overlays[variant.overlay].draw(canvas, content, safe=safe, rng=rng)
        except NotDrawnError as error:
            without_anchor |= {family} if variant.kind == "anchor" else set()
            done["dropped"].append([variant.image_id, error.reason, str(error)])
            continue
        path = f"images/{variant.image_id}.jpg"
        write_jpeg(canvas, folder / path, quality=JPEG_QUALITY, subsampling=0)
        shown = "\n".join(sorted(content.logos)) or content.rendered  # two logos are the same in either order
        done["rows"].append(
            {
                "image_id": variant.image_id,
                "path": path,
                "domain": "synthetic",
                "item_id": f"{stable_hash(f'{photo.base_id}/{variant.overlay}/{shown}'):016x}",
                "text": content.rendered,
                "category": variant.overlay,
                "base_id": photo.base_id,
                "kind": variant.kind,
                "overlay": variant.overlay,
                "caption": content.caption,
                "rendered_caption": content.rendered,
                "edit": content.edit,
                "semipos_distance": content.distance,
                "font": drawn.font,
                "colour": drawn.colour,
                "size": drawn.size,
                "box": ",".join(map(str, drawn.box)),
                "unseen": variant.unseen,
            }
        )
        done["boxes"] += [[variant.image_id, name, *box] for name, box in drawn.logos]
    record.parent.mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps(done), sync=False)  # last, so that a base photo with a record is whole
    return done


def _caption_contents(caption: str, *, captions: Sequence[str], rules: Rules, rng: random.Random) -> Iterator[Content]:
    """The anchor's content, then those of as many semi-positives as are asked for."""
    yield Content(caption, caption)
    phase = rng.random()
    while True:
        # Edited and replaced captions take turns by their shares; a random start lets the shares hold overall.
        phase += rules.replaced_share
        if phase >= 1:
            edit, rendered = "replaced", replace_caption(caption, captions=captions, rng=rng)
        else:
            edit, rendered = "edited", edit_caption(caption, max_share=rules.max_edited_share, rng=rng)
        phase -= math.floor(phase)
        yield Content(caption, rendered, edit, caption_distance(caption, rendered))


def _in_turns(stocks: Sequence[Stock], *, count: int, rng: random.Random) -> list[Stock]:
    """A list of `count` stocks that take turns; the first is chosen by chance, so that each has its share overall."""
    first = rng.randrange(len(stocks)) if stocks else 0
    return [stocks[(first + turn) % len(stocks)] for turn in range(count if stocks else 0)]


def _logos(by_position: Mapping[str, Sequence[str]], *, count: int, rng: random.Random) -> dict[str, str]:
    """A logo for each of `count` positions taken by chance, or of all if there are fewer."""
    positions = rng.sample(list(by_position), min(count, len(by_position)))
    return {at: of[0] if len(of := by_position[at]) == 1 else rng.choice(of) for at in positions}


def _logo_contents(
    chosen: dict[str, str], *, by_position: Mapping[str, Sequence[str]], rng: random.Random
) -> Iterator[Content]:
    """The anchor's content, then those of as many semi-positives as are asked for.

    Args:
        chosen: Logos of the anchor by position.
        by_position: All logos by position, more than are chosen.
        rng: Source of chance.
    """
    anchor = ", ".join(chosen.values())
    yield Content(anchor, anchor, logos=tuple(chosen.values()))
    others = {at: [name for name in of if name != chosen.get(at)] for at, of in by_position.items()}
    others = {at: of for at, of in others.items() if of}
    while True:
        changed = rng.sample(list(chosen), rng.randint(1, min(len(chosen), len(others))))
        free = {at: of for at, of in others.items() if at in changed or at not in chosen}
        if len(free) < len(changed):  # a position with a single logo has no other to show
            continue
        # The others keep their place in the list, so that a distance of lists is that of sets.
        new = dict(zip(changed, _logos(free, count=len(changed), rng=rng).values(), strict=True))
        shown = tuple((chosen | new).values())
        yield Content(anchor, ", ".join(shown), "replaced", len(changed) / len(chosen), shown)
