"""Putting a prepared dataset together, which ends every converter.

    with conversion(root, config=config, files=files) as new:
        if new.standing:  # prepared before from the same files with the same settings
            return new.standing
        ...               # write photos below new.folder
        return new.finish(manifest=manifest, dropped=dropped, read=read, record={"source": str(source)})

The folder is put together beside its root and renamed when complete, so a killed run leaves the old dataset or none,
and goes on from what it has written. Another process that prepares the same root waits.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.atomic import (
    alone_at,
    begin_folder,
    discard_folder,
    finish_folder,
    is_begun,
    naming,
    restore_folder,
    write_text,
)
from fashionclip.errors import InputError
from fashionclip.foreign_text import safe_cell
from fashionclip.manifest import SCHEMA_VERSION, SPLITS, PreparedDataset, check_manifest, read_dataset


@contextmanager
def conversion(
    root: Path,
    *,
    config: Mapping[str, Any],
    files: Iterable[Path] = (),
    data: bytes = b"",
    besides: Mapping[str, Any] | None = None,
) -> Iterator[Conversion]:
    """Lets one process at a time put a dataset together at `root`.

    An `InputError` leaves only what an earlier run has done; whatever else stops it leaves all that is done.

    Args:
        root: Final folder of the dataset.
        config: Settings, which `dataset.json` records.
        files: Files of the source, which are compared by name, size and time.
        data: Contents of a table, compared byte for byte.
        besides: What the dataset depends on besides, without being recorded.

    Raises:
        InputError: `root` holds something that is not a prepared dataset; nothing is touched.
    """
    fingerprint = _fingerprint({**config, **(besides or {})}, files, data=data)
    with alone_at(root):
        restore_folder(root)
        earlier = is_begun(root)
        try:
            yield Conversion(root, config=config, fingerprint=fingerprint)
        except InputError:
            if not earlier:
                discard_folder(root)
            raise


class Conversion:
    """A dataset that is being put together.

    Attributes:
        standing: The dataset at `root`, where it was prepared from this source with these settings and has all its
            photos as they were written; None where it is to be made.
        folder: Folder to make it in, with a folder `images` and perhaps photos of a stopped run.
    """

    def __init__(self, root: Path, *, config: Mapping[str, Any], fingerprint: str) -> None:
        self.standing: PreparedDataset | None = None
        self._root, self._config, self._fingerprint = root, config, fingerprint
        if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not (root / "dataset.json").is_file())):
            raise InputError(
                f"{root}: exists and is no prepared dataset, so it is left alone. Choose another dataset.root."
            )
        info = root / "dataset.json"
        found = json.loads(info.read_text(encoding="utf-8")) if info.is_file() else {}
        self._replaces_another = found.get("fingerprint", fingerprint) != fingerprint
        if (found.get("fingerprint"), found.get("schema_version")) == (fingerprint, SCHEMA_VERSION):
            if _has_all_photos(root, found):
                print(f"{root}: already prepared from this source with these settings.")
                self.standing = read_dataset(root)
                return
            print(f"{root}: photos or manifest are missing or damaged since it was prepared, so it is prepared again")
        self.folder = begin_folder(root)
        mark = self.folder / "fingerprint"
        if not mark.is_file() or mark.read_text() != fingerprint:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        (self.folder / "images").mkdir(exist_ok=True)
        mark.write_text(fingerprint)

    def finish(
        self,
        *,
        manifest: pd.DataFrame,
        dropped: Sequence[Sequence[str]],
        read: int,
        record: Mapping[str, Any] | None = None,
        about: Mapping[str, Sequence[str]] | None = None,
        tables: Mapping[str, pd.DataFrame] | None = None,
        photo_folders: Sequence[str] = (),
        says: Sequence[str] = (),
        twins: Mapping[str, Any] | None = None,
    ) -> PreparedDataset:
        """Writes the tables beside the photos, renames the folder to `root`, and reports.

        Args:
            manifest: Rows to keep; each of their photos is in the folder.
            dropped: Image id, reason and detail of each row that is left out.
            read: Number of rows that the source had.
            record: What `dataset.json` says in `config` beside the settings.
            about: Columns of the manifest by what `dataset.json` calls them, such as `text_fields`.
            tables: Further tables by name, written as `<name>.parquet`.
            photo_folders: Folders beside `images` that hold photos and nothing else.
            says: Lines of the report beside what is kept, split and dropped.
            twins: Result of `twins_across` for its photos; None where they are not compared.

        Raises:
            InputError: No row is left, or the manifest breaks its contract.
        """
        folder, root = self.folder, self._root
        reasons = dict(Counter(reason for _, reason, _ in dropped))
        if manifest.empty:
            raise InputError(
                f"no rows left of {read} read; dropped {reasons}. First: "
                f"{dropped[0][2] if dropped else 'the table is empty'}. Mend dataset.source, then re-run."
            )
        check_manifest(manifest)
        manifest = manifest.assign(photo_hash=[_hash_of(folder / path) for path in manifest["path"]])
        keep = set(manifest["path"])
        for photos in ("images", *photo_folders):
            _remove_unlisted(folder, photos, keep)
        safe = pd.DataFrame(
            [[safe_cell(cell) for cell in row] for row in dropped], columns=["image_id", "reason", "detail"]
        )
        with naming(root):
            for name, table in {"manifest": manifest, **(tables or {})}.items():
                table.to_parquet(folder / f"{name}.parquet", index=False)
            safe.to_csv(folder / "dropped.csv", index=False)
        counts = Counter(manifest["split"])
        splits = {name: counts[name] for name in SPLITS}
        info = {
            "schema_version": SCHEMA_VERSION,
            "counts": {
                "read": read,
                "kept": len(manifest),
                "dropped": reasons,
                "splits": splits,
            },
            **(about or {}),
            **({"twins": twins} if twins else {}),
            "photo_bytes": _bytes(folder, manifest["path"]),
            "fingerprint": self._fingerprint,
            "config": {**self._config, **(record or {})},
        }
        write_text(folder / "dataset.json", json.dumps(info, indent=2, default=str) + "\n")
        (folder / "fingerprint").unlink()
        finish_folder(root)
        print(f"{root}: kept {len(manifest)} of {read} rows, split {splits}")
        for line in says:
            print(line)
        print(f"dropped {reasons or 'none'} (listed in dropped.csv)")
        first = {reason: f"{image_id!r}: {detail}" for image_id, reason, detail in reversed(dropped)}
        for reason in reasons:
            print(f"  {reason}, such as {first[reason]}")
        if twins and (pairs := twins["pairs"]):
            print(
                f"twins across splits, by a hash that did not split: {sum(twins['photos'].values()):,} photo(s) of val "
                f"and test, such as {pairs[0][0]!r}, which looks like {pairs[0][1]!r}; some are in dataset.json"
            )
        if empty := [name for name in ("train", "val") if not splits[name]]:
            print(
                f"{root}: no row fell to {' or '.join(empty)}. train.py needs rows in train and val. Prepare more "
                "rows, or with other dataset.ratios (of df2: dataset.dev_split or splits)."
            )
        elif not splits["test"]:
            print(f"{root}: no test split, so train.py measures on val, on which it chooses the checkpoint as well")
        if self._replaces_another:
            print(
                f"{root}: took the place of a dataset of other source, content or settings. Runs trained on that one "
                "keep its fingerprint. To keep both, prepare into another dataset.root."
            )
        return PreparedDataset(root=root, manifest=manifest, info=info)


def _fingerprint(config: Mapping[str, Any], files: Iterable[Path], *, data: bytes) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode() + data)
    for path in files:
        try:
            stat = path.stat()
            facts = f"{stat.st_size}/{stat.st_mtime_ns}"
        except FileNotFoundError:  # a link to nowhere
            facts = "missing"
        digest.update(os.fsencode(path.name) + f"/{facts}\n".encode())
    return digest.hexdigest()


def _has_all_photos(root: Path, info: Mapping[str, Any]) -> bool:
    """Whether each photo is there, and all of them have as many bytes as were written (where that was recorded)."""
    try:
        written = _bytes(root, pd.read_parquet(root / "manifest.parquet", columns=["path"])["path"])
    except (OSError, ValueError):  # the manifest may be lost or torn too
        return False
    return written == info.get("photo_bytes", written)


def _bytes(folder: Path, paths: Iterable[str]) -> int:
    return sum(os.stat(folder / path).st_size for path in paths)


def _hash_of(photo: Path) -> str:
    return hashlib.blake2b(photo.read_bytes(), digest_size=16).hexdigest()


def _remove_unlisted(folder: Path, photos: str, keep: set[str]) -> None:
    """Removes photos that were written for rows dropped later, then folders that are empty."""
    for parent, _, names in os.walk(folder / photos, topdown=False):
        for file in (Path(parent, name) for name in names):
            if file.relative_to(folder).as_posix() not in keep:
                file.unlink()
        if not any(os.scandir(parent)):
            os.rmdir(parent)
