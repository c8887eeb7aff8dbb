"""DeepFashion2's user and shop photos to crops by SKU: users' are the queries, shops' the catalogue.

A SKU is what has the same `pair_id`, the same `style` above 0 and the same `category_id`. Each split of the release
numbers its pairs by itself, so `item_id` and `group_id` begin with the split's name.

    <root>/<split>/catalog|query/<sku_id>/<photo_id>_item<k>.jpg
    <root>/<split>_sku_metadata.json, <split>_image_text.jsonl     for other tools; they keep the release's splits
    <root>/manifest.parquet, dropped.csv, dataset.json             as of every prepared dataset
"""

from __future__ import annotations

import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from tqdm import tqdm

from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, assign_splits
from fashionclip.parallel import on_all_cores
from fashionclip.prepare.conversion import conversion
from fashionclip.prepare.deepfashion2.annotations import CATEGORIES, Crop, Dropped, read_annotations
from fashionclip.prepare.deepfashion2.crops import cut_items
from fashionclip.prepare.deepfashion2.release import RELEASE_SPLITS, find_splits, named_splits
from fashionclip.prepare.deepfashion2.side_files import prompt_of, write_split_files
from fashionclip.prepare.near_duplicates import twins_across

ANNOTATIONS_A_JOB = 2048
PHOTOS_A_JOB = 64  # a stopped run that goes on cuts up to as many again for each core
FEWEST_FOR_PROCESSES = 4  # jobs; starting processes takes longer than fewer

CROP_COLUMNS = (
    "image_id", "path", "split", "domain", "item_id", "group_id", "text", "category", "garment", "sleeve",
    "release_split", "sku_id", "pair_id", "style", "category_id", "occlusion", "viewpoint", "scale", "zoom_in",
    "box", "item_idx", "orig_image_path", "paired",
)  # fmt: skip

Photo = TypeVar("Photo", tuple[str, str], list[Crop])  # an id with a file name, or the items to cut


def prepare_deepfashion2_sku(
    *,
    name: str = "deepfashion2-sku",
    source: Path | str,
    root: Path | str,
    splits: str | Sequence[str] = RELEASE_SPLITS,
    only_pairs: bool = True,
    keep_distractors: bool = False,
    dev_split: float = 0.1,
    min_side: int = 32,
    margin: float = 0.0,
    max_side: int = 448,
    check_counts: bool = True,
    seed: int = 0,
    workers: int | None = None,
) -> PreparedDataset:
    """Cuts every item that belongs to a SKU out of its photo, and writes the tables.

    The same source, settings and seed give the same bytes, whatever the number of workers and wherever a run before
    was stopped. Everything that is left out is counted by reason and listed in `dropped.csv`: `image_missing`,
    `image_unreadable`, `annotation_missing`, `annotation_unreadable`, `annotation_incomplete`, `no_items`,
    `item_unreadable`, `style_zero`, `unknown_category`, `bad_label`, `no_box`, `box_empty`, `box_too_small` and
    `unpaired`.

    Args:
        name: Name of the dataset, for the record.
        source: Folder of the release, as `find_splits` expects it.
        root: Folder of the prepared dataset.
        splits: Splits of the release, as a list or between spaces. A test split without annotations is skipped.
        only_pairs: Whether to keep only SKUs that have crops in both domains.
        keep_distractors: Whether to keep SKUs that only shops show as well: they make the gallery harder, and leave the
            queries as they are.
        dev_split: Share, in [0, 1), of the release's training pairs that becomes `val`; then its validation split
            becomes `test`. With 0 train, validation and test become `train`, `val` and `test`.
        min_side: Shorter side of a box, clamped to its photo, in pixels, at least.
        margin: Room around a box, as a share of its width and height on each side, 0 or more.
        max_side: Longer side of a written crop, in pixels, at most; about twice what the backbone sees.
        check_counts: Whether to refuse a split with nearly, but not exactly, as many photos as the release has.
        seed: Seed of the dev part.
        workers: Number of processes, by default one a core; 0 works in this process.

    Raises:
        InputError: Source or settings are not usable, or no crop is left.
    """
    if not (0 <= dev_split < 1 and min_side >= 1 and max_side >= 1 and 0 <= margin < math.inf):
        raise InputError(
            f"dataset: got dev_split={dev_split}, min_side={min_side}, max_side={max_side}, margin={margin}; expected "
            "dev_split in [0, 1), sides of 1 or more and margin of 0 or more. Mend these keys."
        )
    source, root = Path(source), Path(root)
    found = find_splits(source, named_splits(splits), check_counts=check_counts)
    config = {
        "name": name,
        "splits": [split.name for split in found],
        "only_pairs": only_pairs,
        "keep_distractors": keep_distractors,
        "dev_split": dev_split,
        "min_side": min_side,
        "margin": margin,
        "max_side": max_side,
        "seed": seed,
    }
    choose = partial(keep_skus, only_pairs=only_pairs, keep_distractors=keep_distractors)
    with conversion(root, config=config, files=chain.from_iterable(split.files() for split in found)) as new:
        if new.standing:
            return new.standing
        cut = partial(cut_items, folder=new.folder, margin=margin, min_side=min_side, max_side=max_side)
        read, dropped = 0, list[Dropped]()
        kept: dict[str, list[Crop]] = {}
        images = {split.name: split.images.relative_to(source).as_posix() for split in found}
        for split in found:
            look = partial(read_annotations, split=split.name, annos=split.annos, min_side=min_side)
            title = f"{split.name} annotations"
            crops, unusable = _in_jobs(look, split.photos, size=ANNOTATIONS_A_JOB, title=title, workers=workers)
            read += len(unusable) + len(crops)
            crops, unpaired = choose(crops)
            photos = [list(items) for _, items in groupby(crops, key=lambda crop: crop.photo_id)]
            work, title = partial(cut, images=split.images), f"{split.name} photos"
            crops, not_cut = _in_jobs(work, photos, size=PHOTOS_A_JOB, title=title, workers=workers)
            crops, bereft = choose(crops)  # of SKUs that lost their other domain's crops
            kept[split.name] = crops
            dropped += [*unusable, *unpaired, *not_cut, *bereft]
            write_split_files(
                new.folder, split=split.name, crops=crops, images=images[split.name], df2_root=source, out_root=root
            )
        shutil.rmtree(new.folder / "records", ignore_errors=True)
        manifest, twins = _manifest(kept, images), None
        if len(manifest):
            manifest["split"] = _splits(manifest, dev_split=dev_split, seed=seed)
            looks = [crop.look for crops in kept.values() for crop in crops]
            twins = twins_across(manifest["image_id"].tolist(), looks, manifest["split"].tolist())
        return new.finish(
            manifest=manifest,
            dropped=dropped,
            read=read,
            record={"source": str(source)},
            photo_folders=RELEASE_SPLITS,
            twins=twins,
            says=[f"{manifest['item_id'].nunique()} SKUs, crops {dict(Counter(manifest['domain']))}"],
        )


def keep_skus(crops: Sequence[Crop], *, only_pairs: bool, keep_distractors: bool) -> tuple[list[Crop], list[Dropped]]:
    """Parts the crops of SKUs that are kept, by two settings of `prepare_deepfashion2_sku`, from the others."""
    if not only_pairs:
        return list(crops), []
    domains = _domains(crops)
    kept, dropped = [], []
    for crop in crops:
        if len(domains[crop.sku_id]) == 2 or (keep_distractors and domains[crop.sku_id] == {"catalog"}):
            kept.append(crop)
        else:
            detail = f"SKU {crop.sku_id} has crops of the {crop.domain} alone"
            dropped.append(Dropped(crop.image_id, "unpaired", detail))
    return kept, dropped


def _domains(crops: Sequence[Crop]) -> dict[str, set[str]]:
    """Domains in which each SKU of a split has crops."""
    domains: dict[str, set[str]] = defaultdict(set)
    for crop in crops:
        domains[crop.sku_id].add(crop.domain)
    return domains


def _in_jobs(
    work: Callable[[Sequence[Photo]], tuple[list[Crop], list[Dropped]]],
    photos: Sequence[Photo],
    *,
    size: int,
    title: str,
    workers: int | None,
) -> tuple[list[Crop], list[Dropped]]:
    """The results of all photos, worked on `size` at a time, under a progress bar."""
    crops: list[Crop] = []
    dropped: list[Dropped] = []
    jobs = [photos[start : start + size] for start in range(0, len(photos), size)]
    done = on_all_cores(work, jobs, workers=workers, fewest=FEWEST_FOR_PROCESSES, chunksize=1)
    with tqdm(total=len(photos), desc=title, unit="photo") as bar:
        for job, (more, less) in zip(jobs, done, strict=True):
            crops += more
            dropped += less
            bar.update(len(job))
    return crops, dropped


def _manifest(kept: Mapping[str, Sequence[Crop]], images: Mapping[str, str]) -> pd.DataFrame:
    """One row a crop, the release's split in the column `split`.

    Args:
        kept: Crops of each split.
        images: Folder of each split's photos, relative to the release.
    """

    def rows() -> Iterator[tuple[Any, ...]]:
        for split, crops in kept.items():
            domains = _domains(crops)
            for crop in crops:
                category = CATEGORIES[crop.category_id]
                yield (
                    crop.image_id, crop.path, split, crop.domain, f"{split}/{crop.sku_id}",
                    f"{split}/{crop.pair_id:06d}", prompt_of(crop), *category, split, crop.sku_id, crop.pair_id,
                    crop.style, crop.category_id, crop.occlusion, crop.viewpoint, crop.scale, crop.zoom_in,
                    ",".join(map(str, crop.box)), crop.number, f"{images[split]}/{crop.file}",
                    len(domains[crop.sku_id]) == 2,
                )  # fmt: skip

    crops = rows()
    frames = [pd.DataFrame(columns=list(CROP_COLUMNS))]
    while some := list(islice(crops, 10_000)):  # in pieces: one list of all rows takes as much again as the table
        frames.append(pd.DataFrame(some, columns=list(CROP_COLUMNS)))
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _splits(manifest: pd.DataFrame, *, dev_split: float, seed: int) -> list[str]:
    later = {"validation": "test" if dev_split else "val", "test": "test"}
    ratios = {"train": 1 - dev_split, "val": dev_split, "test": 0.0}
    dealt = assign_splits(manifest["group_id"].tolist(), ratios=ratios, seed=seed)
    return [later.get(release, ours) for release, ours in zip(manifest["release_split"], dealt, strict=True)]
