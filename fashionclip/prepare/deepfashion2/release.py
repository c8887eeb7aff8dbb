"""The folders of DeepFashion2's release: which splits are there, with which photos and annotations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fashionclip.errors import InputError
from fashionclip.images import SUFFIXES

RELEASE_SPLITS = ("train", "validation", "test")
RELEASE_PHOTOS = {"train": 191_961, "validation": 32_153}  # as published
FULL = 0.95  # a split with this share of the published photos is taken for the whole release


@dataclass(frozen=True)
class ReleaseSplit:
    """A split with annotations.

    Attributes:
        name: One of `RELEASE_SPLITS`.
        images, annos: Folders of its photos and annotations.
        photos: Ids of photos, sorted, each with its file name, which is empty where only an annotation exists.
    """

    name: str
    images: Path
    annos: Path
    photos: tuple[tuple[str, str], ...]

    def files(self) -> Iterator[Path]:
        """Every file of both folders, one at a time: a full list of paths would take 200 MB."""
        for folder in (self.images, self.annos):
            for name in sorted(os.listdir(folder)):
                yield folder / name


def named_splits(splits: str | Sequence[str]) -> list[str]:
    """The splits that are asked for, in the release's order.

    Args:
        splits: Names of splits in a list, or between spaces or commas.

    Raises:
        InputError: No split is named, or one that the release does not have.
    """
    names = re.split(r"[\s,]+", splits.strip()) if isinstance(splits, str) else list(splits)
    if not any(names) or set(names) - set(RELEASE_SPLITS):
        raise InputError(
            f"dataset.splits: got {splits!r}, expected some of {' '.join(RELEASE_SPLITS)}. Correct the setting, or the "
            "environment variable SPLITS."
        )
    return [name for name in RELEASE_SPLITS if name in names]


def find_splits(source: Path, names: Sequence[str], *, check_counts: bool) -> list[ReleaseSplit]:
    """Finds the folders of splits and lists their photos. Says that a test split without annotations is skipped.

    A split is `<source>/<split>/{image,annos}`. An unzipped archive's own folder around it is accepted:
    `<source>/<split>/<split>/...`, or `<source>/<any>/<split>/...`.

    Args:
        source: Folder of the release.
        names: Splits from `named_splits`.
        check_counts: Whether to refuse a split that has most of the published photos, but not all.

    Raises:
        InputError: A split that the release annotates is missing or not whole, or no split is left.
    """
    if not source.is_dir():
        raise InputError(
            f"dataset.source={source}: no such folder. Expected DeepFashion2 as it unzips, with train/image and "
            "train/annos. Give its path as dataset.source or in the environment variable DF2_ROOT."
        )
    found = []
    for name in names:
        folder = _split_folder(source, name)
        if folder is not None and _annotated(folder):
            split = ReleaseSplit(name, folder / "image", folder / "annos", _photos(folder))
            if check_counts:
                _check_whole(split)
            found.append(split)
        elif name == "test":
            photos = 0 if folder is None else sum(1 for _ in os.scandir(folder / "image"))
            print(f"test: skipped, {photos} photos without annotations (the release has none for this split)")
        else:
            raise InputError(
                f"{source}/{name}: no folders image and annos with files there, nor in a folder within. Unzip it, or "
                f"leave it out: dataset.splits=[...] or the environment variable SPLITS, now {' '.join(names)!r}."
            )
    if not found:
        raise InputError(
            f"{source}: none of the splits {' '.join(names)!r} has annotations. Name train or validation in "
            "dataset.splits or the environment variable SPLITS."
        )
    return found


def _split_folder(source: Path, name: str) -> Path | None:
    places = [source / name, *sorted(source.glob(f"*/{name}")), *sorted(source.glob(f"*/{name}/{name}"))]
    return next((place for place in places if (place / "image").is_dir()), None)


def _annotated(folder: Path) -> bool:
    annos = folder / "annos"
    return annos.is_dir() and any(name.endswith(".json") for name in os.listdir(annos))


def _photos(folder: Path) -> tuple[tuple[str, str], ...]:
    files: dict[str, str] = {}
    for name in sorted(os.listdir(folder / "image")):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            files.setdefault(stem, name)
    for name in os.listdir(folder / "annos"):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() == ".json":
            files.setdefault(stem, "")
    return tuple(sorted(files.items()))


def _check_whole(split: ReleaseSplit) -> None:
    photos, published = sum(1 for _, file in split.photos if file), RELEASE_PHOTOS.get(split.name, 0)
    if FULL * published <= photos != published > 0:
        raise InputError(
            f"{split.images}: {photos:,} photos, expected the {published:,} of the release. Unzip it again, or accept "
            "what is there with dataset.check_counts=false."
        )
