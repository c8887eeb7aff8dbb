"""An index on disk:

<index>/index.json     format version, the export that made it, the source, the store, and what it can be filtered by
<index>/photos.sqlite  photos and embeddings, where the store is the index's own (`faiss_store.py`)
<index>/unreadable.csv photos that could not be decoded, and why, of the last run
<index>/lock           held while an indexer runs
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fashionclip.errors import InputError
from fashionclip.retrieval.faiss_store import FaissStore
from fashionclip.retrieval.store import Store

FORMAT = 1
FILE = "index.json"


@dataclass(frozen=True)
class IndexFacts:
    """What `index.json` holds.

    Attributes:
        export: Folder of the export whose embeddings these are.
        digest: Its digest; embeddings of another one cannot be compared with them.
        size: D of an embedding.
        source: Folder that the photos' paths begin at.
        milvus: Address of a server, or name of a ".db" file in this folder; None for the index's own store.
        collection: Of that Milvus.
        fields: From `Fields.to_json`.
        format: Version of all this.
    """

    export: str
    digest: str
    size: int
    source: str
    milvus: str | None = None
    collection: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def read_facts(folder: Path) -> IndexFacts:
    """Reads `index.json`.

    Raises:
        InputError: There is no index, or it is of another version.
    """
    file = folder / FILE
    if not file.is_file():
        raise InputError(f"{folder}: no index there (no {FILE}). Run: fashionclip index EXPORT PHOTOS --to {folder}")
    facts = json.loads(file.read_text(encoding="utf-8"))
    if facts.get("format") != FORMAT:
        raise InputError(
            f"{file}: format {facts.get('format')}, this code reads {FORMAT}. Remove the folder and index again."
        )
    return IndexFacts(**facts)


def write_facts(folder: Path, facts: IndexFacts) -> None:
    """Writes `index.json` in one step."""
    temporary = folder / (FILE + ".tmp")
    temporary.write_text(json.dumps(asdict(facts), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, folder / FILE)


def open_store(folder: Path, facts: IndexFacts) -> Store:
    """Where the index keeps its embeddings.

    Raises:
        InputError: It is a Milvus that cannot be reached.
    """
    if facts.milvus is None:
        return FaissStore(folder, size=facts.size)
    from fashionclip.retrieval.milvus_store import MilvusStore  # an extra

    uri = facts.milvus if "://" in facts.milvus else str(folder / facts.milvus)
    return MilvusStore(uri, collection=facts.collection, size=facts.size)
