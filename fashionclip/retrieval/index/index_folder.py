"""An index on disk:

<index>/index.json     version of the format, export, source, store, and the fields to filter by
<index>/photos.sqlite  photos and embeddings, where the index has a store of its own (`sqlite_store.py`)
<index>/unreadable.csv photos that the last run could not decode, and why
<index>/lock           locked while the index is written
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
EXPORT = "fashionclip.json"  # a file that every export has
LARGEST = 1 << 16  # largest size of an embedding


@dataclass(frozen=True)
class IndexFacts:
    """The content of `index.json`.

    Attributes:
        export: Folder of the export whose embeddings these are.
        digest: Digest of that export; embeddings of another one are not comparable.
        size: D of an embedding.
        source: Folder at which the paths of the photos begin.
        milvus: Address of a server, or name of a ".db" file in this folder; None for the index's own store.
        collection: Name of the collection in that Milvus.
        fields: Fields to filter by, from `Fields.to_json`.
        products: Number of different products; 0 of an index from before they were counted.
        mean_by: Field of which each value has one vector, the mean of its photos; None: each photo has its own.
        where: Filter that the photos of the source must pass to be in the index, "" for none.
        format: Version of the format.
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
    where: str = ""
    format: int = FORMAT


def read_facts(folder: Path) -> IndexFacts:
    """Reads `index.json`.

    Raises:
        InputError: There is no index, or one of another version, or the file is damaged.
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
            all(isinstance(one, str) for one in (read.export, read.digest, read.source, read.where))
            and isinstance(read.size, int)
            and 0 < read.size <= LARGEST
            and (read.milvus is None or is_milvus(read.milvus))
            and isinstance(read.products, int)
            and isinstance(read.mean_by, str | None)
            and re.fullmatch(r"\w*", read.collection, re.ASCII) is not None
            and all(map(_is_field, read.fields.values()))
        )
    except (TypeError, AttributeError, KeyError):  # names or types are others
        sound = False
    if not sound:
        raise InputError(f"{file}: is not as `fashionclip index` writes it. Remove the folder and index again.")
    return read


def is_milvus(place: object) -> bool:
    """Whether it is the address of a server, without a password, or the name of a file for milvus-lite."""
    return isinstance(place, str) and bool(re.fullmatch(r"(https?|tcp)://[^@\s]+|[^/\\:\0]+\.db", place))


def photos_to_serve(folder: Path, facts: IndexFacts, photos: Path | None) -> Path:
    """The folder whose photos may be shown to anyone who asks.

    `index.json` may have been written by a stranger: the folder that it names is taken without asking only if it lies
    within the index.

    Args:
        folder: Folder of the index.
        facts: Content of its `index.json`.
        photos: Folder that the user names; None: the one of `index.json`.

    Raises:
        InputError: The user names none and the photos lie outside the index, or there is no such folder.
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
    """Refuses a Milvus of the user that is not that of the index."""
    if milvus not in (None, facts.milvus):
        raise InputError(
            f"--milvus {milvus}: {folder} is kept in {facts.milvus or 'a store of its own'}. Leave --milvus out, or "
            "choose another index."
        )


def _is_field(field: Any) -> bool:
    """Whether a field is as `Fields.to_json` writes it."""
    if field["kind"] == "number":
        return len(field["range"]) == 2 and all(map(math.isfinite, field["range"]))
    values = field["values"]
    return field["kind"] == "text" and (values is None or all(isinstance(value, str) for value in values))


def write_facts(folder: Path, facts: IndexFacts) -> None:
    """Writes `index.json`, all or nothing."""
    write_text(folder / FILE, json.dumps(asdict(facts), indent=2, ensure_ascii=False) + "\n")


def open_store(folder: Path, facts: IndexFacts, *, milvus: str | None = None) -> Store:
    """Opens the store of an index.

    Args:
        folder: Folder of the index.
        facts: Content of its `index.json`.
        milvus: Address of its Milvus server, if the user gives it. The token of the environment variable `MILVUS_TOKEN`
            is sent to this address or to that of `MILVUS_ADDRESS`, and to none that stands in `index.json` alone, which
            may have been written by a stranger.

    Raises:
        InputError: The Milvus of the index cannot be reached, or is another one than the user gives.
    """
    check_given(folder, facts, milvus)
    if facts.milvus is None:
        return SqliteStore(folder, size=facts.size)
    from fashionclip.retrieval.index.milvus_store import MilvusStore  # an extra

    uri = facts.milvus if "://" in facts.milvus else str(folder / facts.milvus)
    given = facts.milvus in (milvus, os.environ.get(ADDRESS))
    token = os.environ.get(TOKEN, "") if given else ""
    return MilvusStore(uri, collection=facts.collection, size=facts.size, token=token)
