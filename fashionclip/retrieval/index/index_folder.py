"""An index on disk:

<index>/index.json     format version, the export that made it, the source, the store, and what it can be filtered by
<index>/photos.sqlite  photos and embeddings, where the store is the index's own (`sqlite_store.py`)
<index>/unreadable.csv photos that could not be decoded, and why, of the last run
<index>/lock           held while an indexer runs
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fashionclip.atomic import write_text
from fashionclip.errors import InputError
from fashionclip.retrieval.index.sqlite_store import SqliteStore
from fashionclip.retrieval.index.store import ADDRESS, TOKEN, Store

FORMAT = 1
FILE = "index.json"
EXPORT = "fashionclip.json"  # which every export has
LARGEST = 1 << 16  # numbers of an embedding, at most


@dataclass(frozen=True)
class IndexFacts:
    """What `index.json` holds.

    Attributes:
        export: Folder of the export whose embeddings these are.
        digest: Digest of that export; embeddings of another one cannot be compared with these.
        size: D of an embedding.
        source: Folder that the photos' paths begin at.
        milvus: Address of a server, or name of a ".db" file in this folder; None for the index's own store.
        collection: Name of the collection in that Milvus.
        fields: Fields to filter by, from `Fields.to_json`.
        products: Number of different products; 0 of an index from before they were counted.
        mean_by: Field of which each value has one vector, the mean of its photos; None: each photo has one.
        format: Version of the file's format.
    """

    export: str
    digest: str
    size: int
    source: str
    milvus: str | None = None
    collection: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    products: int = 0
    mean_by: str | None = None
    format: int = FORMAT


def read_facts(folder: Path) -> IndexFacts:
    """Reads `index.json`.

    Raises:
        InputError: There is no index, or it is of another version.
    """
    file = folder / FILE
    if (folder / EXPORT).is_file():
        raise InputError(
            f"{folder}: is an export, not an index yet. Run: fashionclip index {shlex.quote(str(folder))} PHOTOS "
            "--to INDEX, and give it."
        )
    if not file.is_file():
        raise InputError(
            f"{folder}: no index there (no {FILE}). Run: fashionclip index EXPORT PHOTOS --to "
            f"{shlex.quote(str(folder))}"
        )
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file}: cannot be read ({error}). Bring it back, or remove the folder and index again."
        ) from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        got = facts.get("format") if isinstance(facts, dict) else None
        raise InputError(f"{file}: format {got}, this code reads {FORMAT}. Remove the folder and index again.")
    try:
        read = IndexFacts(**facts)
        sound = (
            all(isinstance(one, str) for one in (read.export, read.digest, read.source))
            and isinstance(read.size, int)
            and 0 < read.size <= LARGEST
            and (read.milvus is None or is_milvus(read.milvus))
            and isinstance(read.products, int)
            and isinstance(read.mean_by, str | None)
            and re.fullmatch(r"\w*", read.collection, re.ASCII) is not None
            and all(map(_is_field, read.fields.values()))
        )
    except (TypeError, AttributeError, KeyError):  # other names or types than these
        sound = False
    if not sound:
        raise InputError(f"{file}: is not as `fashionclip index` writes it. Remove the folder and index again.")
    return read


def is_milvus(place: object) -> bool:
    """Whether an index can be there: the address of a server, without a password, or the name of a file to make."""
    return isinstance(place, str) and bool(re.fullmatch(r"(https?|tcp)://[^@\s]+|[^/\\:\0]+\.db", place))


def photos_to_serve(folder: Path, facts: IndexFacts, photos: Path | None) -> Path:
    """The folder whose photos may be handed out to whoever asks.

    `index.json` names one, and may be a stranger's: only what lies within the index is taken from it unasked.

    Args:
        folder: Folder of the index.
        facts: Content of its `index.json`.
        photos: Folder of the photos, if the user names one.

    Raises:
        InputError: The user says nothing, and the photos lie elsewhere; or there is no such folder.
    """
    root = (Path(facts.source) if photos is None else photos).resolve()
    if photos is None and not root.is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder}: its photos lie elsewhere, in {root} as it says. What lies there is shown to whoever can reach "
            f"this page: confirm it with --photos {shlex.quote(str(root))}, or name the folder where they lie now."
        )
    if not root.is_dir():
        raise InputError(f"{root}: no folder there. Name the one where the photos of {folder} lie now: --photos DIR")
    return root


def check_given(folder: Path, facts: IndexFacts, milvus: str | None) -> None:
    """Refuses a Milvus given by the user that is not the one of the index."""
    if milvus not in (None, facts.milvus):
        raise InputError(
            f"--milvus {milvus}: {folder} is kept in {facts.milvus or 'a store of its own'}. Leave --milvus out, or "
            "choose another index."
        )


def _is_field(field: Any) -> bool:
    """Whether it is one of those that `Fields.to_json` writes."""
    if field["kind"] == "number":
        return len(field["range"]) == 2 and all(map(math.isfinite, field["range"]))
    values = field["values"]
    return field["kind"] == "text" and (values is None or all(isinstance(value, str) for value in values))


def write_facts(folder: Path, facts: IndexFacts) -> None:
    """Writes `index.json` in one step."""
    write_text(folder / FILE, json.dumps(asdict(facts), indent=2, ensure_ascii=False) + "\n")


def open_store(folder: Path, facts: IndexFacts, *, milvus: str | None = None) -> Store:
    """Where the index keeps its embeddings.

    Args:
        folder: Folder of the index.
        facts: Content of its `index.json`.
        milvus: Address that the user gives. What the environment variable `MILVUS_TOKEN` holds is sent there or to
            that of `MILVUS_ADDRESS`, and never to one that stands in `index.json` alone: that may be a stranger's.

    Raises:
        InputError: It is a Milvus that cannot be reached, or another one than the user says.
    """
    check_given(folder, facts, milvus)
    if facts.milvus is None:
        return SqliteStore(folder, size=facts.size)
    from fashionclip.retrieval.index.milvus_store import MilvusStore  # an extra

    uri = facts.milvus if "://" in facts.milvus else str(folder / facts.milvus)
    given = facts.milvus in (milvus, os.environ.get(ADDRESS))
    token = os.environ.get(TOKEN, "") if given else ""
    return MilvusStore(uri, collection=facts.collection, size=facts.size, token=token)
