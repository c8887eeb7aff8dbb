"""The prepared dataset on disk: reading, checking, splitting and writing it.

    <root>/images/...          the photos (DeepFashion2: <split>/catalog|query/...)
    <root>/manifest.parquet    one row an image: `MANIFEST_COLUMNS`, the source's own attributes, `photo_hash`
    <root>/triplets.parquet    optional: triplets fixed for evaluation
    <root>/judgements.parquet  optional: texts that match a photo, and texts that do not
    <root>/dropped.csv         what was left out, and why
    <root>/dataset.json        schema version, counts, source fingerprint, seed and config

A dataset is put together beside its root and renamed when complete, so a killed run leaves the old one or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pandas as pd

from fashionclip.atomic import (
    alone_at,
    begin_folder,
    discard_folder,
    finish_folder,
    is_begun,
    naming,
    restore_folder,
    swap_is_torn,
    write_text,
)
from fashionclip.errors import InputError
from fashionclip.foreign_text import safe_cell

SCHEMA_VERSION = 1
MANIFEST_COLUMNS = ("image_id", "path", "split", "domain", "item_id", "group_id", "text", "category")
SPLITS = ("train", "val", "test")
ROLES = ("anchor", "positive", "semipositive", "negative")
LABELS = ("match", "mismatch")

Settings = ParamSpec("Settings")
Prepared = TypeVar("Prepared")


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
        labels, splits: Of each judgement.
        where: They are, for the message.
        needed: Splits that must have both labels, if they have judgements; of others it is printed.

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


def check_ratios(ratios: object) -> None:
    """Refuses shares of the splits that are no mapping, have other names, are below 0, or do not sum to 1.

    Raises:
        InputError: With what was given.
    """
    given = dict(ratios) if isinstance(ratios, Mapping) else ratios
    shares = list(given.values()) if isinstance(given, dict) and set(given) == set(SPLITS) else []
    numbers = [share for share in shares if isinstance(share, (int, float)) and share >= 0]
    if len(numbers) != len(SPLITS) or abs(sum(numbers) - 1) > 1e-6:
        raise InputError(
            f"dataset.ratios: got {given!r}, expected train, val and test >= 0 that sum to 1. Give all three, such as "
            "dataset.ratios.train=0.8 dataset.ratios.val=0.1 dataset.ratios.test=0.1."
        )


def assign_splits(groups: Sequence[str], *, ratios: Mapping[str, float], seed: int) -> list[str]:
    """Gives each group a split by a stable hash of its name, so that new rows never move old groups.

    Args:
        groups: Group name of each row.
        ratios: Share of each of `SPLITS`, in [0, 1], summing to 1; they are met on average.
        seed: Another seed gives another split.

    Raises:
        InputError: Ratios with other names, below 0, or not summing to 1.
    """
    check_ratios(ratios)

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


def fingerprint_of(config: Mapping[str, object], files: Iterable[Path], *, data: bytes = b"") -> str:
    """Tells whether a dataset was prepared with these settings and bytes from these files, by their sizes and times."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode() + data)
    for path in files:
        try:
            stat = path.stat()
            facts = f"{stat.st_size}/{stat.st_mtime_ns}"
        except FileNotFoundError:  # a link to nowhere
            facts = "missing"
        digest.update(os.fsencode(path.name) + f"/{facts}\n".encode())
    return digest.hexdigest()


def preparation(prepare: Callable[Settings, Prepared]) -> Callable[Settings, Prepared]:
    """Makes a function that puts a dataset together at its argument `root` the only one at it: another one waits.

    Where it refuses its input, it leaves only what an earlier run has done; where it is stopped, all it has done.
    """

    @wraps(prepare)
    def alone(*args: Settings.args, **settings: Settings.kwargs) -> Prepared:
        root = Path(str(settings["root"]))
        with alone_at(root):
            restore_folder(root)
            earlier = is_begun(root)
            try:
                return prepare(*args, **settings)
            except InputError:
                if not earlier:
                    discard_folder(root)
                raise

    return alone


def begin_dataset(root: Path, *, fingerprint: str, restart: bool = False) -> Path | None:
    """Opens the folder in which a dataset is put together.

    Args:
        root: Where the dataset shall be in the end.
        fingerprint: Of source and config; a stopped run goes on only from a folder of the same fingerprint.
        restart: Begin anew even where a finished dataset of this fingerprint stands.

    Returns:
        A folder, perhaps with photos of a stopped run in it; None where the dataset stands already, with all its photos
        as they were written.

    Raises:
        InputError: `root` holds something that is not a prepared dataset; nothing is touched.
    """
    restore_folder(root)
    if root.exists():
        if not root.is_dir() or (any(root.iterdir()) and not (root / "dataset.json").is_file()):
            raise InputError(
                f"{root}: exists and is no prepared dataset, so it is left alone. Choose another dataset.root."
            )
        info = root / "dataset.json"
        found = json.loads(info.read_text(encoding="utf-8")) if info.is_file() else {}
        same = (found.get("fingerprint"), found.get("schema_version")) == (fingerprint, SCHEMA_VERSION)
        if same and not restart:
            if _has_all_photos(root, found):
                return None
            print(f"{root}: photos are missing or damaged since it was prepared, so it is prepared again")
    building = begin_folder(root)
    mark = building / "fingerprint"
    if not mark.is_file() or mark.read_text() != fingerprint:
        shutil.rmtree(building)
        building.mkdir()
    (building / "images").mkdir(exist_ok=True)
    mark.write_text(fingerprint)
    return building


def _has_all_photos(root: Path, info: Mapping[str, Any]) -> bool:
    """Whether each photo is there, and all of them have as many bytes as were written (where that was recorded)."""
    paths = pd.read_parquet(root / "manifest.parquet", columns=["path"])["path"]
    try:
        written = _bytes(root, paths)
    except FileNotFoundError:
        return False
    return written == info.get("photo_bytes", written)


def _bytes(folder: Path, paths: Iterable[str]) -> int:
    return sum(os.stat(folder / path).st_size for path in paths)


def finish_dataset(
    building: Path,
    root: Path,
    *,
    manifest: pd.DataFrame,
    dropped: pd.DataFrame,
    fingerprint: str,
    read: int,
    config: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame] | None = None,
    photo_folders: Sequence[str] = (),
) -> PreparedDataset:
    """Writes the tables beside the photos and renames the folder to `root`.

    Args:
        building: From `begin_dataset`, with every photo of the manifest in it.
        root: Final folder; a dataset already there is replaced.
        manifest: Rows to keep.
        dropped: Columns `image_id, reason, detail`.
        fingerprint: As given to `begin_dataset`.
        read: Number of rows the source had.
        config: The settings used, for the record.
        tables: Further ones by name, written as `<name>.parquet`.
        photo_folders: Those beside `images/` that hold photos and nothing else, where a source has a layout of its own.

    Raises:
        InputError: No row is left, or the manifest breaks its contract.
    """
    reasons = dict(Counter(dropped["reason"]))
    if manifest.empty:
        raise InputError(
            f"no rows left of {read} read; dropped {reasons}. First: "
            f"{dropped['detail'].iloc[0] if len(dropped) else 'the table is empty'}. Mend dataset.source, then re-run."
        )
    check_manifest(manifest)
    manifest = manifest.assign(photo_hash=[_hash_of(building / path) for path in manifest["path"]])
    keep = set(manifest["path"])
    for folder in ("images", *photo_folders):
        _remove_unlisted(building, folder, keep)
    safe = dropped.map(lambda cell: safe_cell(cell) if isinstance(cell, str) else cell)
    with naming(root):
        for name, table in {"manifest": manifest, **(tables or {})}.items():
            table.to_parquet(building / f"{name}.parquet", index=False)
        safe.to_csv(building / "dropped.csv", index=False)
    splits = manifest["split"].value_counts()
    empty = [name for name in SPLITS if name not in splits]
    if empty:
        print(
            f"{root}: no row fell to {' or '.join(empty)}. train.py needs rows in all three splits, evaluate.py in "
            "test. Prepare more rows, or with other dataset.ratios (of df2: dataset.dev_split or splits)."
        )
    info = {
        "schema_version": SCHEMA_VERSION,
        "counts": {
            "read": read,
            "kept": len(manifest),
            "dropped": reasons,
            "splits": {name: int(splits.get(name, 0)) for name in SPLITS},
        },
        "photo_bytes": _bytes(building, manifest["path"]),
        "fingerprint": fingerprint,
        "config": dict(config),
    }
    write_text(building / "dataset.json", json.dumps(info, indent=2, default=str) + "\n")
    (building / "fingerprint").unlink()
    finish_folder(root)
    return PreparedDataset(root=root, manifest=manifest, info=info)


def _hash_of(photo: Path) -> str:
    return hashlib.blake2b(photo.read_bytes(), digest_size=16).hexdigest()


def _remove_unlisted(building: Path, folder: str, keep: set[str]) -> None:
    """Removes photos that were written for rows dropped later, then folders that are empty."""
    for parent, _, names in os.walk(building / folder, topdown=False):
        for file in (Path(parent, name) for name in names):
            if file.relative_to(building).as_posix() not in keep:
                file.unlink()
        if not any(os.scandir(parent)):
            os.rmdir(parent)
