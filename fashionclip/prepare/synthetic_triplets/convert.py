"""Any folder of photos to anchors, positives and semi-positives: captions and logos laid over each photo.

The parameters of the pipeline that this one replaces, and where they are now in
`configs/dataset/synthetic-triplet.yaml`; `text` is `overlays.text`, `logo` is `overlays.logo`:

| there                                     | here                                                                  |
| ----------------------------------------- | --------------------------------------------------------------------- |
| DATA_PATH, raw_folder, image_name         | source                                                                |
| NUM_IMAGES                                | limit                                                                 |
| TEXT_PATH                                 | captions                                                              |
| MIN_LENGTH_TEXTS, MAX_LENGHT_TEXTS        | min_length, max_length (characters, inclusive)                        |
| NUM_TEXTS                                 | max_captions (of the file), captions_per_photo (of those, on a photo) |
| ALL_FONTS, fonts_list                     | text.fonts (a folder)                                                 |
| ALL_COLOURS, colour_list                  | text.colours                                                          |
| text padding, font sizes                  | text.padding, text.scale, text.min_size, text.max_width, .max_height  |
| position                                  | text.places (null: anywhere)                                          |
| image_will_be_cropped                     | keep_in_centre_crop                                                   |
| semipos (share of edited letters)         | max_edited_share, replaced_share; column semipos_distance             |
| NUM_TRIPLETS_PER_EXAMPLE                  | triplets_per_anchor                                                   |
| DATASET_SAVE_PATH, processed_folder       | root; save_hf writes root/hf                                          |
| num_augment                               | positives + 1 (photos with one content)                               |
| logo_folders                              | logo.folder (nested folders are read)                                 |
| logo_list                                 | logo.classes                                                          |
| logo_class                                | a logo's path below logo.folder; column class of boxes.parquet        |
| several predefined_positions on a photo   | logo.per_photo                                                        |
| place_images_randomly                     | logo.boxes=null                                                       |
| predefined_positions (pixels)             | logo.boxes (shares of the safe box)                                   |
| keep_asp_ratio                            | logo.keep_aspect                                                      |
| padding (pixels)                          | logo.padding (share of the safe box)                                  |
| min_percent, max_percent (of the logo)    | logo.scale (shares of the safe box)                                   |
| IMAGE_GENERATION_MAX_LOGO_PIXELS          | logo.scale's upper end                                                |
| train_or_test                             | ratios                                                                |
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from fashionclip.drawing.catalog import write_demo_catalog
from fashionclip.errors import InputError
from fashionclip.manifest import (
    PreparedDataset,
    assign_splits,
    begin_dataset,
    check_ratios,
    fingerprint_of,
    finish_dataset,
    joined_groups,
    preparation,
    read_dataset,
)
from fashionclip.parallel import on_all_cores
from fashionclip.prepare.find_photos import TWO_NEEDED, find_photos, read_groups
from fashionclip.prepare.near_duplicates import near_pairs
from fashionclip.prepare.synthetic_triplets.captions import read_captions
from fashionclip.prepare.synthetic_triplets.eval_triplets import draw_triplets
from fashionclip.prepare.synthetic_triplets.families import BasePhoto, Rules, draw_variants, picture_of, plan_variants
from fashionclip.prepare.synthetic_triplets.held_out import Stock, stocks_of
from fashionclip.prepare.synthetic_triplets.hugging_face import require_datasets, save_hugging_face
from fashionclip.prepare.synthetic_triplets.overlays import Overlay

FEWEST_FOR_PROCESSES = 16  # base photos; starting processes takes longer than fewer
VARIANT_COLUMNS = (
    "image_id", "path", "split", "domain", "item_id", "group_id", "text", "category",
    "base_id", "picture_id", "kind", "overlay", "caption", "rendered_caption", "edit", "semipos_distance",
    "font", "colour", "size", "box", "unseen",
)  # fmt: skip


@preparation
def prepare_synthetic_triplet(
    *,
    name: str,
    source: Path | str | None,
    demo_source: Path | str,
    demo_items: int,
    demo_shots: int,
    limit: int | None,
    groups_file: Path | str | None,
    groups_image_column: str,
    groups_column: str,
    root: Path | str,
    captions: Path | str | None,
    min_length: int,
    max_length: int,
    max_captions: int | None,
    captions_per_photo: int,
    logo_sets_per_photo: int,
    positives: int,
    semipositives: int,
    max_edited_share: float,
    replaced_share: float,
    held_out: float,
    overlays: Mapping[str, Overlay | None],
    keep_in_centre_crop: bool,
    max_side: int,
    triplets_per_anchor: int,
    save_hf: bool,
    ratios: Mapping[str, float],
    seed: int,
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
        demo_source: Where that catalogue is drawn, unless it is there.
        demo_items, demo_shots: Its products, and photos of each.
        limit: Use so many base photos, by chance; None for all.
        groups_file: CSV that says which photos belong together, such as those of one sender; None if none do.
        groups_image_column, groups_column: Its columns with the photo (file name or path, suffix or not) and the group.
        root: Folder of the prepared dataset.
        captions, min_length, max_length, max_captions: See `read_captions`.
        captions_per_photo, logo_sets_per_photo, positives, semipositives: See `Rules`.
        max_edited_share, replaced_share: See `Rules`.
        held_out: Share of captions, logos and fonts that train never shows, in [0, 1); see `stocks_of`.
        overlays: What draws captions, under `text`, and logos, under `logo`; None leaves that kind out.
        keep_in_centre_crop: Keep overlays in the centre square, so that a backbone's crop does not cut them.
        max_side: Longer side of a written photo, in pixels, at most.
        triplets_per_anchor: Of val and test.
        save_hf: Write also `hf/`, with the triplets of all splits (extra `[hf]`).
        ratios: Share of train, val and test.
        seed: Of everything left to chance.
        workers: Processes, default one a core; 0 works in this process.

    Raises:
        InputError: Source, captions, groups or settings are not usable, or fewer than two base photos are left.
    """
    check_ratios(ratios)
    rules = Rules(
        captions_per_photo=captions_per_photo,
        logo_sets_per_photo=logo_sets_per_photo,
        positives=positives,
        semipositives=semipositives,
        max_edited_share=max_edited_share,
        replaced_share=replaced_share,
    )
    used = _check_settings(overlays, rules, held_out=held_out)
    if save_hf:
        require_datasets()
    texts = read_captions(captions, min_length=min_length, max_length=max_length, most=max_captions, seed=seed)
    root = Path(root)
    folder = Path(source) if source is not None else _demo_photos(Path(demo_source), demo_items, demo_shots)
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
        "ratios": dict(ratios),
        "seed": seed,
    }
    files = [*photos.values(), *(Path(file) for overlay in used.values() for file in overlay.files)]
    fingerprint = fingerprint_of({**config, "captions": texts, "groups": groups}, files)
    building = begin_dataset(root, fingerprint=fingerprint)
    if building is None:
        print(f"{root}: already prepared from this source with these settings.")
        return read_dataset(root)

    fonts = used["text"].files if "text" in used else ()
    logos: Any = used.get("logo")
    most_logos = logos.per_photo[1] if logos else 0
    parted = partial(stocks_of, share=held_out, seed=seed)
    caption_stocks = parted(texts, fonts=fonts, needed=2) if "text" in used else ()
    logo_stocks = parted(logos.classes, needed=most_logos + 1) if logos else ()

    seen = on_all_cores(
        partial(picture_of, max_side=max_side),
        list(photos.values()),
        workers=workers,
        fewest=FEWEST_FOR_PROCESSES,
        chunksize=4,
    )
    looks = tqdm(zip(photos, seen, strict=True), total=len(photos), desc="looking at photos", unit="photo")
    hashes = {base: picture for base, picture in looks if picture}
    bases = list(hashes)
    pairs = near_pairs(list(hashes.values()))
    pictures = dict(zip(bases, joined_groups(bases, pairs=pairs), strict=True))
    group = dict(zip(bases, joined_groups(bases, keys=[[groups[base] for base in bases]], pairs=pairs), strict=True))
    split = dict(zip(bases, assign_splits([group[base] for base in bases], ratios=ratios, seed=seed), strict=True))

    def job(base: str) -> BasePhoto:
        stocks = 1 if split.get(base, "train") == "train" else 2
        planned = plan_variants(
            base,
            captions=caption_stocks[:stocks],
            logos=logo_stocks[:stocks],
            logos_per_photo=logos.per_photo if logos else (0, 0),
            rules=rules,
            seed=seed,
        )
        return BasePhoto(base, photos[base], planned)

    jobs = [job(base) for base in photos]
    draw = partial(
        draw_variants,
        folder=building,
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
    for row in rows:
        base = row["base_id"]
        row["picture_id"], row["group_id"], row["split"] = pictures[base], group[base], split[base]
    manifest = pd.DataFrame(rows, columns=VARIANT_COLUMNS).astype({"semipos_distance": "float64", "size": "int64"})
    triplets = draw_triplets(manifest, pictures=pictures, per_anchor=triplets_per_anchor, seed=seed)
    fixed = triplets["anchor"].map(manifest.set_index("image_id")["split"]) != "train"
    if save_hf:
        save_hugging_face(triplets, manifest=manifest, folder=building / "hf")
    shutil.rmtree(building / "rows", ignore_errors=True)  # they are in the manifest now
    dataset = finish_dataset(
        building,
        root,
        manifest=manifest,
        dropped=pd.DataFrame(dropped, columns=["image_id", "reason", "detail"]),
        fingerprint=fingerprint,
        read=sum(len(job.variants) for job in jobs),
        config={**config, "source": str(folder), "captions": str(captions or "built in"), "captions_used": len(texts)},
        tables={
            "boxes": pd.DataFrame(boxes, columns=["image_id", "class", "x0", "y0", "x1", "y1"]),
            "triplets": triplets[fixed].reset_index(drop=True),
        },
    )
    counts = dataset.info["counts"]
    print(f"{root}: {counts['kept']} variants of {len(shown)} base photos, split {counts['splits']}")
    print(f"base photos {dict(Counter(split[base] for base in shown))}, {int(fixed.sum())} triplets of val and test")
    for overlay, stocks in (("captions", caption_stocks), ("logos", logo_stocks)):
        if stocks:
            print(f"  {overlay}: {_listed(stocks)}")
    print(f"dropped {counts['dropped'] or 'none'} (listed in dropped.csv)")
    return dataset


def _listed(stocks: Sequence[Stock]) -> str:
    """How many contents and fonts are shown where."""
    return ", ".join(
        f"{len(stock.contents)}{f' in {len(stock.fonts)} fonts' if stock.fonts else ''} in "
        + ("val and test alone" if stock.unseen else "all splits")
        for stock in stocks
    )


def _check_settings(overlays: Mapping[str, Overlay | None], rules: Rules, *, held_out: float) -> dict[str, Overlay]:
    """The overlays that are used, after a check of what would otherwise fail late or write nothing."""
    used = {str(kind): overlay for kind, overlay in overlays.items() if overlay is not None}
    if not used or set(used) - {"text", "logo"}:
        raise InputError(f"dataset.overlays: got {sorted(used)}, expected text, logo or both. Name one of these.")
    if not 0 <= held_out < 1:
        raise InputError(f"dataset.held_out={held_out}: expected a share in [0, 1). Give 0.25, or 0 for none.")
    counts = asdict(rules)
    shares = {key: counts.pop(key) for key in ("max_edited_share", "replaced_share")}
    low = {key: count for key, count in counts.items() if count < (0 if key.endswith("_photo") else 1)}
    if low or not 0 < shares["max_edited_share"] <= 1 or not 0 <= shares["replaced_share"] <= 1:
        raise InputError(
            f"dataset: got {counts | shares}, expected positives and semipositives of 1 or more, no count below 0, "
            "max_edited_share in (0, 1] and replaced_share in [0, 1]. Mend these keys."
        )
    return used


def _demo_photos(folder: Path, items: int, shots: int) -> Path:
    if not (folder / "styles.csv").exists():
        write_demo_catalog(folder, items=items, shots=shots)
    return folder / "images"
