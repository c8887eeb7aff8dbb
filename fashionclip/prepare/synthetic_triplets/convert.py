"""Any folder of photos to anchors, positives and semi-positives: captions and logos laid over each photo."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from tqdm import tqdm

from fashionclip.drawing.catalog import write_demo_catalog
from fashionclip.errors import InputError
from fashionclip.manifest import RATIOS, PreparedDataset, assign_splits, joined_groups, ratios_with_val
from fashionclip.parallel import on_all_cores
from fashionclip.prepare.conversion import conversion
from fashionclip.prepare.find_photos import TWO_NEEDED, find_photos, read_groups
from fashionclip.prepare.near_duplicates import near_pairs, twins_across
from fashionclip.prepare.synthetic_triplets.captions import read_captions
from fashionclip.prepare.synthetic_triplets.eval_triplets import draw_triplets
from fashionclip.prepare.synthetic_triplets.families import BasePhoto, Rules, draw_variants, picture_of, plan_variants
from fashionclip.prepare.synthetic_triplets.held_out import Stock, stocks_of
from fashionclip.prepare.synthetic_triplets.hugging_face import require_datasets, save_hugging_face
from fashionclip.prepare.synthetic_triplets.overlays import (
    Content,
    LogoOverlay,
    NotDrawnError,
    Overlay,
    TextOverlay,
    safe_box,
)

FEWEST_FOR_PROCESSES = 16  # base photos; starting processes takes longer than fewer
TRIALS = 10  # on an empty photo; what never fits there would be dropped from nearly all photos
VARIANT_COLUMNS = (
    "image_id", "path", "split", "domain", "item_id", "group_id", "text", "category",
    "base_id", "picture_id", "kind", "overlay", "caption", "rendered_caption", "edit", "semipos_distance",
    "font", "colour", "size", "box", "unseen",
)  # fmt: skip


def prepare_synthetic_triplet(
    *,
    name: str = "synthetic-triplet",
    source: Path | str | None = None,
    demo_source: Path | str = "data/raw/demo-240x1",
    demo_items: int = 240,
    limit: int | None = None,
    groups_file: Path | str | None = None,
    groups_image_column: str = "image",
    groups_column: str = "sender_id",
    root: Path | str,
    captions: Path | str | None = None,
    min_length: int = 4,
    max_length: int = 40,
    max_captions: int | None = None,
    captions_per_photo: int = 2,
    logo_sets_per_photo: int = 1,
    positives: int = 2,
    semipositives: int = 2,
    max_edited_share: float = 0.5,
    replaced_share: float = 0.5,
    held_out: float = 0.25,
    overlays: Mapping[str, Overlay | None] | None = None,
    keep_in_centre_crop: bool = True,
    max_side: int = 320,
    triplets_per_anchor: int = 2,
    save_hf: bool = False,
    ratios: Mapping[str, float] = RATIOS,
    seed: int = 0,
    workers: int | None = None,
) -> PreparedDataset:
    """Splits photos, draws the variants of each, and fixes the triplets of val and test.

    Beside the manifest there are `boxes.parquet` (a row a placed logo: image_id, class, x0, y0, x1, y1 in pixels) and
    `triplets.parquet` (see `draw_triplets`). The same source, settings and seed give the same bytes, whatever the
    number of workers. Base photos that show the same picture, or are of one group, share a split. Some captions, logos
    and fonts are shown in val and test alone, by half of their families (column `unseen`), and the others by all.

    Args:
        name: Name of the dataset, for the record.
        source: Folder of photos, in any subfolder (see `photos_below`); None for those of the demo catalogue.
        demo_source: Folder where that catalogue is drawn, unless it is there.
        demo_items: Number of products of that catalogue, each of which has one photo.
        limit: Number of base photos, taken by chance; None for all.
        groups_file: CSV that says which photos belong together, such as those of one sender; None if none do.
        groups_image_column: Column of that file with the photo: file name or path, with suffix or without.
        groups_column: Column of that file with the group.
        root: Folder of the prepared dataset.
        captions: Text file with a caption a line; None for those that come with this package.
        min_length, max_length: Length of the shortest and of the longest caption, in characters.
        max_captions: Number of captions taken of the file by chance; None for all.
        captions_per_photo, logo_sets_per_photo: Number of families of a base photo with text, and with logos.
        positives, semipositives: Number of positives and of semi-positives in a family, from 1.
        max_edited_share: Share of a caption's characters that is edited at most, in (0, 1].
        replaced_share: Share of the captions' semi-positives, in [0, 1], that show another caption, not an edited one.
        held_out: Share of captions, logos and fonts, in [0, 1), that train never shows (`stocks_of`).
        overlays: Overlay of captions, under `text`, and of logos, under `logo`; None there leaves that kind out. None
            here takes both with their defaults.
        keep_in_centre_crop: Whether overlays stay in the centre square, so that a backbone's crop does not cut them.
        max_side: Longer side of a written photo, in pixels, at most.
        triplets_per_anchor: Number of triplets of each anchor of val and test.
        save_hf: Whether to write also `hf/`, with the triplets of all splits (extra `[hf]`).
        ratios: Shares of train, val and test; without val a tenth of train becomes val.
        seed: Seed of everything left to chance.
        workers: Number of processes, by default one a core; 0 works in this process.

    Raises:
        InputError: Source, captions, groups or settings are not usable, or fewer than two base photos are left.
    """
    ratios = ratios_with_val(ratios)
    rules = Rules(
        captions_per_photo=captions_per_photo,
        logo_sets_per_photo=logo_sets_per_photo,
        positives=positives,
        semipositives=semipositives,
        max_edited_share=max_edited_share,
        replaced_share=replaced_share,
    )
    if overlays is None:
        overlays = {"text": TextOverlay(), "logo": LogoOverlay()}
    used = {kind: overlay for kind, overlay in overlays.items() if overlay is not None}
    if not used or set(used) - {"text", "logo"}:
        raise InputError(f"dataset.overlays: got {sorted(used)}, expected text, logo or both. Name one of these.")
    if not 0 <= held_out < 1:
        raise InputError(f"dataset.held_out={held_out}: expected a share in [0, 1). Give 0.25, or 0 for none.")
    if save_hf:
        require_datasets()
    texts = read_captions(captions, min_length=min_length, max_length=max_length, most=max_captions, seed=seed)
    _check_room(used, texts, max_side=max_side, keep_in_centre_crop=keep_in_centre_crop)
    if source is None:
        if not Path(demo_source, "styles.csv").exists():
            write_demo_catalog(Path(demo_source), items=demo_items, shots=1)
        source = Path(demo_source, "images")
    folder, root = Path(source), Path(root)
    photos = find_photos(folder, root=root, limit=limit, seed=seed)
    groups = read_groups(
        groups_file, image_column=groups_image_column, group_column=groups_column, photos=photos, folder=folder
    )
    config = {
        "name": name,
        "rules": asdict(rules),
        "held_out": held_out,
        "overlays": {kind: repr(overlay) for kind, overlay in used.items()},
        "keep_in_centre_crop": keep_in_centre_crop,
        "max_side": max_side,
        "triplets_per_anchor": triplets_per_anchor,
        "save_hf": save_hf,
        "ratios": ratios,
        "seed": seed,
    }
    files = [*photos.values(), *(Path(file) for overlay in used.values() for file in overlay.files)]
    with conversion(root, config=config, files=files, besides={"captions": texts, "groups": groups}) as new:
        if new.standing:
            return new.standing
        stocks = _stocks(texts, used, share=held_out, seed=seed)
        bases = _base_photos(photos, groups, max_side=max_side, ratios=ratios, seed=seed, workers=workers)
        split = bases["split"].to_dict()
        logos: Any = used.get("logo")
        named = bool(logos) and isinstance(logos.positions, Mapping)
        plan = partial(
            plan_variants,
            logos_per_photo=logos.per_photo if logos else (0, 0),
            position_of=logos.position_of if logos else None,
            rules=rules,
            seed=seed,
        )
        of_train = {kind: of[:1] for kind, of in stocks.items()}
        jobs = [
            # a photo that cannot be read is of no split
            BasePhoto(base, file, plan(base, stocks=of_train if split.get(base, "train") == "train" else stocks))
            for base, file in photos.items()
        ]
        draw = partial(
            draw_variants,
            folder=new.folder,
            overlays=used,
            max_side=max_side,
            keep_in_centre_crop=keep_in_centre_crop,
            seed=seed,
        )
        rows, boxes, dropped = [], [], []
        drawn = on_all_cores(draw, jobs, workers=workers, fewest=FEWEST_FOR_PROCESSES, chunksize=4)
        for done in tqdm(drawn, total=len(jobs), desc="base photos", unit="photo"):
            rows += done["rows"]
            boxes += done["boxes"]
            dropped += done["dropped"]
        shown = list(dict.fromkeys(row["base_id"] for row in rows))
        if len(shown) == 1:
            raise InputError(f"{folder}: variants of only one base photo, {shown[0]!r}; {TWO_NEEDED}")
        manifest = pd.DataFrame(rows, columns=VARIANT_COLUMNS).astype({"semipos_distance": "float64", "size": "int64"})
        for column in ("picture_id", "group_id", "split"):
            manifest[column] = manifest["base_id"].map(bases[column])
        triplets = draw_triplets(manifest, per_anchor=triplets_per_anchor, seed=seed)
        fixed = triplets["anchor"].map(manifest.set_index("image_id")["split"]) != "train"
        if save_hf:
            save_hugging_face(triplets, manifest=manifest, folder=new.folder / "hf", root=root)
        shutil.rmtree(new.folder / "rows", ignore_errors=True)  # they are in the manifest now
        of_split = dict(Counter(split[base] for base in shown))
        found = bases.loc[shown]
        return new.finish(
            manifest=manifest,
            dropped=dropped,
            read=sum(len(job.variants) for job in jobs),
            twins=twins_across(shown, found["look"].tolist(), found["split"].tolist()),
            record={"source": str(folder), "captions": str(captions or "built in"), "captions_used": len(texts)},
            tables={
                "boxes": pd.DataFrame(boxes, columns=["image_id", "class", "x0", "y0", "x1", "y1"]),
                "triplets": triplets[fixed].reset_index(drop=True),
            },
            says=[
                f"variants of {len(shown)} base photos, split {of_split}",
                f"{int(fixed.sum())} triplets of val and test",
                *(f"  {'captions' if kind == 'text' else 'logos'}: {_listed(of)}" for kind, of in stocks.items()),
                *(
                    ["  logos at named positions leave nothing to chance: a positive equals its anchor"]
                    if named
                    else ()
                ),
            ],
        )


def _stocks(
    captions: Sequence[str], overlays: Mapping[str, Overlay], *, share: float, seed: int
) -> dict[str, tuple[Stock, ...]]:
    """Stocks of each kind of overlay: first that of all splits, then perhaps that of val and test alone."""
    stocks = {}
    if "text" in overlays:
        stocks["text"] = stocks_of(captions, fonts=overlays["text"].files, needed=2, share=share, seed=seed)
    if "logo" in overlays:
        logos: Any = overlays["logo"]
        at = Counter(logos.position_of.values())
        named = isinstance(logos.positions, Mapping)
        lone = [name for name in logos.classes if named and at[logos.position_of[name]] == 1]
        others = [name for name in logos.classes if name not in lone]
        first, *unseen = stocks_of(others, needed=logos.per_photo[1] + 1, share=share, seed=seed)
        # Held out, the only logo of a position would leave it empty in train.
        stocks["logo"] = (replace(first, contents=(*first.contents, *lone)), *unseen)
    return stocks


def _base_photos(
    photos: Mapping[str, Path],
    groups: Mapping[str, str],
    *,
    max_side: int,
    ratios: Mapping[str, float],
    seed: int,
    workers: int | None,
) -> pd.DataFrame:
    """`picture_id`, `group_id`, `split` and `look` (`twin_hash`) of each base photo that can be read, by base_id."""
    look = partial(picture_of, max_side=max_side)
    seen = on_all_cores(look, list(photos.values()), workers=workers, fewest=FEWEST_FOR_PROCESSES, chunksize=4)
    looks = tqdm(zip(photos, seen, strict=True), total=len(photos), desc="looking at photos", unit="photo")
    hashes = {base: picture for base, picture in looks if picture}
    bases, pairs = list(hashes), near_pairs([near for near, _ in hashes.values()])
    group = joined_groups(bases, keys=[[groups[base] for base in bases]], pairs=pairs)
    return pd.DataFrame(
        {
            "picture_id": joined_groups(bases, pairs=pairs),
            "group_id": group,
            "split": assign_splits(group, ratios=ratios, seed=seed),
            "look": [look for _, look in hashes.values()],
        },
        index=bases,
    )


def _listed(stocks: Sequence[Stock]) -> str:
    """Number of contents and fonts in each stock, as a line of the report."""
    return ", ".join(
        f"{len(stock.contents)}{f' in {len(stock.fonts)} fonts' if stock.fonts else ''} in "
        + ("val and test alone" if stock.unseen else "all splits")
        for stock in stocks
    )


def _check_room(
    overlays: Mapping[str, Overlay], captions: Sequence[str], *, max_side: int, keep_in_centre_crop: bool
) -> None:
    """Refuses what does not fit on an empty photo: the shortest caption, a logo, or two that may stand together."""
    shown = {"text": [Content("", min(captions, key=len))]}
    logos: Any = overlays.get("logo")
    if logos:
        sets: list[tuple[str, ...]] = [(name,) for name in logos.classes]
        if logos.per_photo[1] > 1 and isinstance(logos.positions, Mapping):
            sets += combinations({at: name for name, at in logos.position_of.items()}.values(), 2)
        elif logos.per_photo[1] > 1:
            sets.append(logos.classes[:2])
        shown["logo"] = [Content("", " and ".join(names), logos=names) for names in sets]
    blank = Image.new("RGB", (max_side, max_side), "white")
    safe = safe_box(blank.size, keep_in_centre_crop=keep_in_centre_crop)
    for kind, overlay in overlays.items():
        for content in shown[kind]:
            for attempt in range(TRIALS):
                try:
                    overlay.draw(blank.copy(), content, safe=safe, rng=random.Random(attempt))
                    break
                except NotDrawnError as error:
                    fault = error
            else:
                if fault.reason in ("too_small", "no_place"):
                    raise InputError(
                        f"dataset.overlays.{kind}: {fault}, an empty photo of dataset.max_side. Change its sizes, "
                        "padding or positions, or lower its min_size."
                    )
