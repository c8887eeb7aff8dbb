"""Bringing an index up to date with its source: new photos are encoded, missing ones deleted, others left alone."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import numpy as np
import pandas as pd
from tqdm import tqdm

from fashionclip.atomic import locked, write_text
from fashionclip.errors import InputError
from fashionclip.foreign_text import safe_cell
from fashionclip.images import UnreadableImageError, load_image, open_file
from fashionclip.retrieval.index.filter_fields import Fields, field_named, kinds_of
from fashionclip.retrieval.index.index_folder import (
    FILE,
    IndexFacts,
    check_given,
    is_milvus,
    open_store,
    read_facts,
    write_facts,
)
from fashionclip.retrieval.index.index_source import Source
from fashionclip.retrieval.index.indexed_photo import IndexedPhoto
from fashionclip.retrieval.index.sqlite_store import FILE as PHOTOS
from fashionclip.retrieval.index.store import TOKEN, Known, Store, unit

if TYPE_CHECKING:
    import torch

    from fashionclip.retrieval.encoder import Encoder

BATCH = 64  # photos encoded and written at a time
UNREADABLE = "unreadable.csv"
LOCK = "lock"

Job = TypeVar("Job")
Done = TypeVar("Done")


@dataclass
class Changes:
    """What a run has changed in an index of photos, or in one of means, where a product counts as a photo.

    Attributes:
        added: Number of new photos.
        updated: Number of photos with other pixels.
        described: Number of photos with the same pixels and another text or other attributes.
        unchanged: Number of photos left alone.
        deleted: Number of photos that were deleted.
        unreadable: Reasons why photos cannot be read, by their paths.
        mean_by: Field of which each value has one vector, the mean of its photos; None: each photo has its own.
    """

    added: int = 0
    updated: int = 0
    described: int = 0
    unchanged: int = 0
    deleted: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    mean_by: str | None = None

    @property
    def indexed(self) -> int:
        """Number of vectors in the index."""
        return self.added + self.updated + self.described + self.unchanged


@dataclass(frozen=True)
class _Read:
    """Photos that share a vector, as they were found on disk."""

    photo: IndexedPhoto  # the first that can be read
    content: str  # hash of all that can be read, "" where none can
    pixels: list[torch.Tensor]  # (3, S, S) uint8 of each, where they may have to be encoded
    errors: dict[str, str]  # by path


def update_index(
    folder: Path,
    encoder: Encoder,
    source: Source,
    *,
    export: Path,
    milvus: str | None = None,
    mean_by: str | None = None,
    where: str | None = None,
    other_source: bool = False,
) -> Changes:
    """Makes an index, or brings one up to date.

    It may be stopped at any moment and run again: photos are written in batches, each all or nothing.

    Args:
        folder: Folder of the index.
        encoder: Encoder to embed with.
        source: All photos that the index is to have; others are deleted from it.
        export: Folder that `encoder` was loaded from, which the index remembers.
        milvus: Address of a Milvus server, or name of a file ("photos.db") that milvus-lite makes in the folder; None:
            what the index has, at first a store of its own. A token is sent to no other address.
        mean_by: Field such as "item" of which each value gets one vector, the normalised mean of its photos, with text
            and attributes of the first of them; None: what the index has, at first one vector a photo.
        where: Filter such as "domain = 'catalog'" that photos must pass to be indexed, "" for all of them; None: what
            the index has, at first "".
        other_source: Whether the photos may take the place of those of another folder.

    Raises:
        InputError: The folder holds something else; the index is of another export, store or source; another process
            is writing to it; or none of the photos can be read.
    """
    _check_ours(folder)
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another indexer is at it. Wait until it has ended, or choose another --to."
    with locked(folder / LOCK, name=folder, refuse=busy):
        facts = _facts(folder, encoder, source, export=export, milvus=milvus, other_source=other_source)
        facts = replace(facts, where=facts.where if where is None else where)
        source = source.passing(facts.where)
        fields = source.fields().to_json()
        if mean_by is not None:
            mean_by = field_named(mean_by, kinds_of(fields))
            if mean_by != facts.mean_by and (folder / FILE).is_file():
                has = "each photo" if facts.mean_by is None else f"each {facts.mean_by}"
                raise InputError(
                    f"--mean-by {mean_by}: {folder} has one vector for {has}. Leave it out, or choose another --to."
                )
        facts = replace(facts, fields=facts.fields | fields, mean_by=mean_by or facts.mean_by)
        write_facts(folder, facts)
        with closing(open_store(folder, facts, milvus=milvus)) as store:
            changes, indexed = _synchronise(store, encoder, source, mean_by=facts.mean_by)
        _write_unreadable(folder, changes)
        write_facts(folder, replace(facts, fields=indexed.to_json(), products=len(indexed.products)))
    return changes


def _check_ours(folder: Path) -> None:
    if folder.is_file():
        raise InputError(f"{folder}: is a file. Expected a folder of an index, or one that does not exist yet.")
    if not folder.exists() or (folder / FILE).is_file():
        return
    ours = (LOCK, PHOTOS, UNREADABLE, f".{FILE}", f".{UNREADABLE}")
    others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(ours))
    if others:
        raise InputError(
            f"{folder}: holds {others[:5]} and is no index, so it is left alone. Give a folder of its own to --to."
        )


def _facts(
    folder: Path, encoder: Encoder, source: Source, *, export: Path, milvus: str | None, other_source: bool
) -> IndexFacts:
    if milvus is not None and not is_milvus(milvus):
        raise InputError(
            f"--milvus {milvus}: expected the address of a server (http://host:19530; what it asks for stands in "
            f"{TOKEN}), or a plain file name that ends in .db, for milvus-lite within the index."
        )
    if not (folder / FILE).is_file():
        if (folder / PHOTOS).exists():
            raise InputError(f"{folder}: has {PHOTOS} but no {FILE} to say which export made it. Remove the folder.")
        return IndexFacts(
            export=str(export.resolve()),
            digest=encoder.digest,
            size=encoder.texts(["a"]).shape[1],
            source=str(source.root.resolve()),
            milvus=milvus,
            collection=f"fashionclip_{uuid4().hex}" if milvus else "",
        )
    facts = read_facts(folder)
    check_given(folder, facts, milvus)
    if facts.digest != encoder.digest:
        raise InputError(
            f"{folder}: was made by another export than {export} (by {facts.export}, as it was then); embeddings of "
            "two models cannot be compared. Remove the folder, or choose another --to."
        )
    root = str(source.root.resolve())
    if root != facts.source and not other_source:
        raise InputError(
            f"{folder}: is an index of {facts.source}, whose photos would be deleted from it. Choose another --to for "
            f"{root}, or add --other-photos to let these take their place (or if the folder has been moved)."
        )
    return replace(facts, export=str(export.resolve()), source=root)


def _synchronise(store: Store, encoder: Encoder, source: Source, *, mean_by: str | None) -> tuple[Changes, Fields]:
    known = store.known()
    changes, fields, waiting = Changes(mean_by=mean_by), Fields(), list[_Read]()
    gone = set(known)
    same = {one.content: image_id for image_id, one in known.items()}  # files of the same bytes are encoded once
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(source), desc="index", unit="photo") as bar:

        def look(photos: list[IndexedPhoto]) -> _Read:
            bar.update(len(photos))
            return _read(photos, source.root, encoder, known)

        for read in _in_order(pool, look, source.sharing(mean_by), ahead=BATCH + 2 * threads):
            changes.unreadable |= read.errors
            if not read.content:
                continue
            gone.discard(read.photo.image_id)
            fields.add(read.photo)
            before = known.get(read.photo.image_id)
            if before == Known(read.content, read.photo.digest):
                changes.unchanged += 1
                continue
            changes.added += before is None
            changes.updated += before is not None and before.content != read.content
            changes.described += before is not None and before.content == read.content
            waiting.append(read)
            if len(waiting) == BATCH:
                _write(store, encoder, waiting, known, same)
                waiting = []
    if waiting:
        _write(store, encoder, waiting, known, same)
    if len(changes.unreadable) == len(source):
        path, reason = next(iter(changes.unreadable.items()))
        raise InputError(f"none of {len(source):,} photos can be read; {path}: {reason}")
    ordered = sorted(gone)
    for start in range(0, len(ordered), 10 * BATCH):
        store.delete(ordered[start : start + 10 * BATCH])
    changes.deleted = len(ordered)
    return changes, fields


def _read(photos: list[IndexedPhoto], root: Path, encoder: Encoder, known: Mapping[str, Known]) -> _Read:
    """Runs in a thread. A file is hashed before it is decoded, so that one replaced in between is noticed next time."""
    errors: dict[str, str] = {}

    def each(work: Callable[[Path], Done], paths: Iterable[str]) -> dict[str, Done]:
        done: dict[str, Done] = {}
        for path in paths:
            try:
                done[path] = work(root / path)
            except (OSError, UnreadableImageError) as error:
                errors[path] = _reason(error, root / path)
        return done

    def pixels_of(path: Path) -> torch.Tensor:
        return encoder.pixels(load_image(path, at_least=encoder.decode_size))

    def read(contents: Sequence[str], pixels: Sequence[torch.Tensor]) -> _Read:
        first = next((photo for photo in photos if photo.path not in errors), photos[0])
        joined = contents[0] if len(contents) == 1 else _hash("".join(contents).encode()) if contents else ""
        return _Read(first, joined, list(pixels), errors)

    contents = each(_content, [photo.path for photo in photos])
    found = read(list(contents.values()), [])
    before = known.get(found.photo.image_id)
    if before is not None and before.content == found.content:
        return found
    pixels = each(pixels_of, contents)
    return read([contents[path] for path in pixels], list(pixels.values()))


def _content(path: Path) -> str:
    with open_file(path) as file:
        return _hash(file.read())


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _reason(error: Exception, path: Path) -> str:
    cause = error.__cause__ or error
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause) or type(cause).__name__
    return text.removeprefix(f"{path}: ").replace(f" {str(path)!r}", "")


def _write(store: Store, encoder: Encoder, waiting: list[_Read], known: dict[str, Known], same: dict[str, str]) -> None:
    """Writes those that wait; of files with the same bytes only one is encoded."""
    fresh = {read.content: read.pixels for read in waiting if read.pixels and read.content not in same}
    embedding = _embed(encoder, fresh)
    old = {read.content: same.get(read.content, read.photo.image_id) for read in waiting if read.content not in fresh}
    embedding |= dict(zip(old, store.embeddings(list(old.values())), strict=True))
    embeddings = np.stack([embedding[read.content] for read in waiting])
    store.put([read.photo for read in waiting], [read.content for read in waiting], embeddings)
    for read in waiting:
        before = known.get(read.photo.image_id)
        if before is not None and same.get(before.content) == read.photo.image_id:
            del same[before.content]  # its embedding is another one now
        known[read.photo.image_id] = Known(read.content, read.photo.digest)
    for read in waiting:
        same[read.content] = read.photo.image_id


def _embed(encoder: Encoder, pixels: Mapping[str, list[torch.Tensor]]) -> dict[str, np.ndarray]:
    """The embedding of each photo, or the normalised mean of those of several."""
    every = list(chain.from_iterable(pixels.values()))
    embeddings = iter(chain.from_iterable(encoder.embed(every[i : i + BATCH]) for i in range(0, len(every), BATCH)))
    found = {content: np.stack(list(islice(embeddings, len(several)))) for content, several in pixels.items()}
    return {content: part[0] if len(part) == 1 else unit(part.mean(axis=0)) for content, part in found.items()}


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Job], Done], jobs: Iterable[Job], *, ahead: int
) -> Iterator[Done]:
    """Results in the order of the jobs, of which only some are begun ahead; `pool.map` would begin all at once."""
    running: deque[Future[Done]] = deque()
    for job in jobs:
        running.append(pool.submit(work, job))
        if len(running) > ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _write_unreadable(folder: Path, changes: Changes) -> None:
    rows = [[safe_cell(path), safe_cell(reason)] for path, reason in changes.unreadable.items()]
    write_text(folder / UNREADABLE, pd.DataFrame(rows, columns=["path", "reason"]).to_csv(index=False))
