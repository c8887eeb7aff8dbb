"""The prepared dataset on disk: reading, checking and splitting it (`fashionclip.prepare.conversion` writes it).

<root>/images/...          the photos (DeepFashion2: <split>/catalog|query/...)
<root>/manifest.parquet    one row an image: `MANIFEST_COLUMNS`, the source's own attributes, `photo_hash`
<root>/triplets.parquet    optional: triplets fixed for evaluation
<root>/judgements.parquet  optional: texts that match a photo, and texts that do not
<root>/dropped.csv         what was left out, and why
<root>/dataset.json        schema version, counts, twins across splits, source fingerprint, seed and config
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.atomic import alone_at, restore_folder, swap_is_torn
from fashionclip.errors import InputError

SCHEMA_VERSION = 1
MANIFEST_COLUMNS = ("image_id", "path", "split", "domain", "item_id", "group_id", "text", "category")
SPLITS = ("train", "val", "test")
RATIOS = {"train": 0.8, "val": 0.1, "test": 0.1}  # of the splits, unless others are given
VAL_OF_TRAIN = 0.1  # share of train that becomes val, where no val is asked for
ROLES = ("anchor", "positive", "semipositive", "negative")
LABELS = ("match", "mismatch")


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset as read from disk.

    Attributes:
        root: Its folder; `manifest.path` is relative to it.
        manifest: One row an image, with at least `MANIFEST_COLUMNS`, all of them text without missing values.
        info: What `dataset.json` holds.
    """

    root: Path
    manifest: pd.DataFrame
    info: dict[str, Any]


def read_dataset(root: Path | str) -> PreparedDataset:
    """Reads and checks a prepared dataset (1,000,000 rows take about 6 s, most of them for the checks).

    Raises:
        InputError: It is missing, of another schema version, or breaks the contract (every breach is listed).
    """
    root = Path(root)
    if swap_is_torn(root):
        with alone_at(root):
            restore_folder(root)
    for file in ("dataset.json", "manifest.parquet"):
        if not (root / file).is_file():
            raise InputError(f"{root}: no prepared dataset there (no {file}). Run prepare.py first.")
    info = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    if info.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{root}/dataset.json: schema version {info.get('schema_version')}, this code reads {SCHEMA_VERSION}. "
            "Re-run prepare.py."
        )
    manifest = pd.read_parquet(root / "manifest.parquet")
    check_manifest(manifest, where=f"{root}/manifest.parquet")
    return PreparedDataset(root=root, manifest=manifest, info=info)


def read_triplets(dataset: PreparedDataset) -> pd.DataFrame | None:
    """Reads the triplets that a preparation fixed for evaluation; None where it fixed none.

    Returns:
        One row a triplet: `anchor, positive, semipositive, negative` as row numbers of the manifest,
        `semipos_distance` in [0, 1], what was done to make the semi-positive: `overlay` and `edit`; and perhaps
        `unseen`, whether train never shows what the three first show.

    Raises:
        InputError: A triplet names an image that the manifest lacks, or a distance is outside [0, 1].
    """
    file = dataset.root / "triplets.parquet"
    if not file.is_file():
        return None
    table = pd.read_parquet(file)
    ids = pd.Index(dataset.manifest["image_id"])
    rows = table.assign(**{role: ids.get_indexer(table[role]) for role in ROLES})
    wrong = (rows[list(ROLES)] < 0).any(axis=1) | ~rows["semipos_distance"].between(0, 1)
    if wrong.any():
        raise InputError(
            f"{file}: {wrong.sum()} of {len(table)} triplets name an unknown image or a distance outside [0, 1], the "
            f"first: {table[wrong].iloc[0].to_dict()}. Remove the dataset's folder and re-run prepare.py."
        )
    return rows


def read_judgements(dataset: PreparedDataset) -> pd.DataFrame | None:
    """Reads the judgements that a preparation made; None where it made none.

    Returns:
        One row a judgement: `image_row` (row number of the manifest), `text`, `label` (one of `LABELS`) and `kind`
        (what is wrong; of a match, what is wrong of the mismatches that it is compared with, or "match": of all).

    Raises:
        InputError: A judgement names an image that the manifest lacks, has no text, or another label, or those of a
            split have one label only.
    """
    file = dataset.root / "judgements.parquet"
    if not file.is_file():
        return None
    table = pd.read_parquet(file)
    image_row = pd.Index(dataset.manifest["image_id"]).get_indexer(table["image_id"])
    wrong = (image_row < 0) | (table["text"] == "") | ~table["label"].isin(LABELS)
    if wrong.any():
        raise InputError(
            f"{file}: {wrong.sum()} of {len(table)} judgements name an unknown image, have no text, or another label "
            f"than {' or '.join(LABELS)}, the first: {table[wrong].iloc[0].to_dict()}. Remove the dataset's folder and "
            "re-run prepare.py."
        )
    check_labels(table["label"], dataset.manifest["split"].iloc[image_row], where=str(file))
    return table.assign(image_row=image_row)


def check_labels(labels: Iterable[str], splits: Iterable[str], *, where: str, needed: Sequence[str] = SPLITS) -> None:
    """Refuses judgements of which a split has one label only: nothing can be learned, chosen or measured by them.

    Args:
        labels, splits: Label and split of each judgement.
        where: Place of the judgements, for the message.
        needed: Splits that must have both labels, if they have judgements; for others it is only printed.

    Raises:
        InputError: With the counts of such a split.
    """
    counts = Counter(zip(splits, labels, strict=True))
    for split in SPLITS:
        matches, mismatches = (counts[split, label] for label in LABELS)
        if (matches > 0) == (mismatches > 0):
            continue
        says = (
            f"{where}: {split} has {matches} match and {mismatches} mismatch, training needs both labels in each split"
        )
        if split in needed:
            raise InputError(f"{says}. Add judgements of the missing label, or prepare with other dataset.ratios.")
        print(says)


def check_manifest(manifest: pd.DataFrame, *, where: str = "manifest") -> None:
    """Checks the contract of a manifest.

    Raises:
        InputError: Naming each column, check, value and row that breaks it.
    """
    if manifest.empty:
        raise InputError(f"{where}: no rows. Look at dropped.csv for what was left out, and why.")
    outside = r"^/|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)"
    rules: list[tuple[str, str, Callable[[pd.Series], pd.Series]]] = [
        *((name, "a text", lambda cells: cells.map(lambda cell: isinstance(cell, str))) for name in MANIFEST_COLUMNS),
        *((name, "in this row alone", lambda cells: ~cells.duplicated()) for name in ("image_id", "path")),
        ("path", "relative to the dataset, without '..'", lambda cells: ~cells.astype(str).str.contains(outside)),
        ("split", f"one of {', '.join(SPLITS)}", lambda cells: cells.isin(SPLITS)),
    ]
    has = sorted(map(str, manifest.columns))
    breaches = [f"column {name!r} is missing; has {has}" for name in MANIFEST_COLUMNS if name not in manifest]
    for column, expected, holds in rules:
        cells = manifest.get(column, pd.Series(dtype=str))
        wrong = cells[~holds(cells).astype(bool)]
        breaches += [f"column {column!r}, row {row}: {cell!r}, expected {expected}" for row, cell in wrong.items()]
    if breaches:
        raise InputError(
            f"{where}: {len(breaches)} breaches of the manifest's contract, the first:\n  "
            + "\n  ".join(breaches[:10])
            + "\nRemove the dataset's folder and re-run prepare.py."
        )
    straddling = manifest[["group_id", "split"]].drop_duplicates()["group_id"]
    straddling = straddling[straddling.duplicated()]
    if len(straddling):
        raise InputError(
            f"{where}: group_id {straddling.iloc[0]!r} lies in two splits ({len(straddling)} groups do); "
            "a group may never straddle. Remove the dataset's folder and re-run prepare.py."
        )


@lru_cache(maxsize=1 << 16)  # judgements ask for the same few texts again and again
def text_key(text: str) -> str:
    """What texts that differ only in case, spaces, punctuation or other marks between their words have in common.

    Source: Unicode Standard Annex 15, normalisation form KC, and section 3.13, case folding.

    >>> text_key("Men\u2019s  T-Shirt, blue") == text_key("MEN'S t shirt Blue")
    True
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # Letters, marks and numbers: \w would lack the marks that tell words of many scripts apart.
    worded = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join(worded.split()) or " ".join(folded.split())  # of a text of signs alone, the signs


def joined_groups(
    ids: Sequence[str], *, keys: Iterable[Sequence[str]] = (), pairs: Iterable[tuple[int, int]] = ()
) -> list[str]:
    """Names the connected groups of rows that belong together.

    Args:
        ids: Unique id of each of N rows.
        keys: Any number of columns of N values; rows equal in one of them belong together.
        pairs: Positions of rows that belong together.

    Returns:
        For each row the group's name: the id in it that sorts first by its hash. A name changes only when rows join.
    """
    parent = list(range(len(ids)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for column in keys:
        first: dict[str, int] = {}
        for row, value in enumerate(column):
            parent[root(row)] = root(first.setdefault(value, row))
    for one, other in pairs:
        parent[root(one)] = root(other)
    name: dict[int, str] = {}
    for row in sorted(range(len(ids)), key=lambda row: stable_hash(ids[row])):
        name.setdefault(root(row), ids[row])
    return [name[root(row)] for row in range(len(ids))]


def check_ratios(ratios: object) -> dict[str, float]:
    """The share of each split; one that is left out has none.

    Raises:
        InputError: Shares are no mapping, have other names, are below 0, or do not sum to 1.
    """
    given = dict(ratios) if isinstance(ratios, Mapping) else ratios
    shares = list(given.values()) if isinstance(given, dict) and set(given) <= set(SPLITS) else [None]
    numbers = [share for share in shares if isinstance(share, (int, float)) and share >= 0]
    if len(numbers) != len(shares) or abs(sum(numbers) - 1) > 1e-6:
        raise InputError(
            f"dataset.ratios: got {given!r}, expected train, val and test >= 0 that sum to 1. Give such as "
            "dataset.ratios='{train: 0.8, val: 0.1, test: 0.1}'."
        )
    return dict.fromkeys(SPLITS, 0.0) | given  # type: ignore[operator]  # a dict, as is checked


def ratios_with_val(ratios: object) -> dict[str, float]:
    """The share of each split, where a tenth of train becomes val if none is asked for, which is printed.

    Without it nothing could be chosen, such as the best checkpoint or a threshold, or only on train or test.

    Raises:
        InputError: By `check_ratios`.
    """
    shares = check_ratios(ratios)
    if shares["train"] and not shares["val"]:
        print(f"dataset.ratios: no val, so {VAL_OF_TRAIN:.0%} of train become val; nothing is chosen on train or test")
        held_out = VAL_OF_TRAIN * shares["train"]
        shares |= {"train": shares["train"] - held_out, "val": held_out}
    return shares


def assign_splits(groups: Sequence[str], *, ratios: Mapping[str, float], seed: int) -> list[str]:
    """Gives each group a split by a stable hash of its name, so that new rows never move old groups.

    Args:
        groups: Group name of each row.
        ratios: Share of each of `SPLITS`, in [0, 1], summing to 1; they are met on average.
        seed: Another seed gives another split.

    Raises:
        InputError: By `check_ratios`.
    """
    ratios = check_ratios(ratios)

    def split(group: str) -> str:
        place = stable_hash(f"{seed}/{group}") / 2**64
        for name in SPLITS[:-1]:
            if place < ratios[name]:
                return name
            place -= ratios[name]
        return SPLITS[-1]

    chosen = {group: split(group) for group in dict.fromkeys(groups)}
    return [chosen[group] for group in groups]


def stable_hash(text: str) -> int:
    """A 64-bit hash that is the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
