"""Items a second: preparing DeepFashion2 with ours against a plain loop that opens, crops and saves each item.

    python benchmarks/df2_prepare.py --work DIR [--photos DIR] [--images 1000 10000]

Writes a tree of each size, in the release's format, into `--work` (it is kept for the next run), then prepares it both
ways, each in a process of its own. The plain loop reads the annotations, keeps the items of SKUs that both domains
show, and then takes item by item: open, make upright, crop, scale to the same size, save with the same quality. It
skips what cannot be read. Both end with the same crops; ours also writes its tables, checks them, and could be stopped
anywhere. Memory is the peak of the process itself plus, for each worker, that of the largest of them.

Run it with nothing beside it. About 15 minutes on 2 cores, most of them for drawing; results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageOps

from fashionclip.images import fit_within
from fashionclip.prepare.deepfashion2.crops import JPEG_QUALITY

MAX_SIDE, MIN_SIDE = 448, 32  # as in configs/dataset/deepfashion2-sku.yaml
SPLITS = ("train", "validation")
VARIANTS = ("plain loop", "fashionclip")


def plain_loop(tree: Path, out: Path) -> int:
    """Number of items saved."""
    saved = 0
    for split in SPLITS:
        crops: list[tuple[str, dict, dict]] = []
        domains = defaultdict(set)
        for file in sorted((tree / split / "annos").iterdir()):
            try:
                annotation = json.loads(file.read_text())
                for key in annotation:
                    if key.startswith("item") and _usable(annotation, annotation[key]):
                        crops.append((f"{file.stem}_{key}", annotation, annotation[key]))
                        domains[_sku(annotation, annotation[key])].add(annotation["source"])
            except (ValueError, KeyError, TypeError):
                continue
        for name, annotation, item in crops:
            sku = _sku(annotation, item)
            if len(domains[sku]) < 2:
                continue
            domain = "catalog" if annotation["source"] == "shop" else "query"
            try:
                photo = Image.open(tree / split / "image" / f"{name.split('_')[0]}.jpg")
                photo = ImageOps.exif_transpose(photo).convert("RGB")
            except OSError:
                continue
            left, top, right, bottom = item["bounding_box"]
            crop = photo.crop((max(left, 0), max(top, 0), min(right, photo.width), min(bottom, photo.height)))
            if min(crop.size) < MIN_SIDE:
                continue
            folder = out / split / domain / sku
            folder.mkdir(parents=True, exist_ok=True)
            fit_within(crop, max_side=MAX_SIDE).save(folder / f"{name}.jpg", quality=JPEG_QUALITY)
            saved += 1
    return saved


def _usable(annotation: dict, item: dict) -> bool:
    left, top, right, bottom = item["bounding_box"]
    box = right - left >= MIN_SIDE and bottom - top >= MIN_SIDE
    return "pair_id" in annotation and box and item["style"] > 0 and item["category_id"] <= 13 and item["viewpoint"] > 0


def _sku(annotation: dict, item: dict) -> str:
    return f"{annotation['pair_id']:06d}_{item['style']:02d}_{item['category_id']:02d}"


def ours(tree: Path, out: Path) -> int:
    """Number of items saved."""
    from fashionclip.prepare.deepfashion2.convert import prepare_deepfashion2_sku

    dataset = prepare_deepfashion2_sku(
        name="deepfashion2-sku",
        source=tree,
        root=out,
        splits=SPLITS,
        only_pairs=True,
        keep_distractors=False,
        dev_split=0.1,
        min_side=MIN_SIDE,
        margin=0.0,
        max_side=MAX_SIDE,
        check_counts=True,
        seed=0,
    )
    return len(dataset.manifest)


def measure(variant: str, tree: Path, out: Path) -> None:
    """Prints items, seconds and megabytes."""
    start = time.perf_counter()
    saved = (plain_loop if variant == VARIANTS[0] else ours)(tree, out)
    seconds = time.perf_counter() - start
    workers = 0 if variant == VARIANTS[0] else os.cpu_count() or 1
    own, worker = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{saved} {seconds} {(own + workers * worker) / 1024}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for trees and crops")
    parser.add_argument("--photos", type=Path, help="folder of source photos (default: the demo catalogue's)")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000], help="sizes of the trees")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        variant, tree, out = options.measure
        measure(variant, Path(tree), Path(out))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    seconds: dict[tuple[str, int], float] = {}
    for images in options.images:
        tree = options.work / f"df2-{images}"
        if not (tree / "whole").exists():
            shutil.rmtree(tree, ignore_errors=True)
            write = [sys.executable, "-m", "fashionclip.prepare.deepfashion2.standin"]
            photos = ["--photos", str(options.photos)] if options.photos else []
            subprocess.run([*write, "--to", str(tree), "--images", str(images), *photos], check=True)
            (tree / "whole").touch()
        counts = []
        for file in tree.rglob("*.*"):
            file.read_bytes()  # so that the first of the two does not read for the second
        for variant in VARIANTS:
            out = options.work / f"out-{VARIANTS.index(variant)}"
            shutil.rmtree(out, ignore_errors=True)
            command = [sys.executable, __file__, "--work", str(options.work), "--measure", variant, str(tree), str(out)]
            output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
            items, took, memory = map(float, output.split()[-3:])
            seconds[variant, images] = took
            counts.append(items)
            ratio = seconds[VARIANTS[0], images] / took
            note = "" if variant == VARIANTS[0] else f"   {ratio:.2f} times the plain loop"
            print(
                f"{images:>6} photos  {variant:<12} {items:6.0f} items {took:7.1f} s {items / took:7.1f} items/s "
                f"{memory:5.0f} MB{note}",
                flush=True,
            )
        # The plain loop keeps crops whose only fellows could not be decoded.
        assert abs(counts[0] - counts[1]) < 0.05 * counts[0], f"the two saved {counts} crops"
    if len(options.images) > 1:
        few, many = min(options.images), max(options.images)
        grown = seconds[VARIANTS[1], many] / seconds[VARIANTS[1], few]
        print(f"{many / few:.1f} times the photos take fashionclip {grown:.1f} times as long")


if __name__ == "__main__":
    main()
