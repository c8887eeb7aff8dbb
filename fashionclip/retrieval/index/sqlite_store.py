"""The store within an index: SQLite holds everything in one file, and faiss searches a copy of the embeddings."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fashionclip.retrieval.index.filter_parser import Condition, Group
from fashionclip.retrieval.index.indexed_photo import TEXT_FIELDS, IndexedPhoto, Value
from fashionclip.retrieval.index.store import Found, Known, StoreUnavailable, cut_ties

FILE = "photos.sqlite"
FRESH = 30.0  # seconds until it is checked whether another process has changed the file
WAIT = 60.0  # seconds that a reader and a writer wait for each other
ASKED = 500  # rows asked for at a time; older versions of SQLite take 999 values in a statement
REMEDIES = {  # of what SQLite says
    "disk is full": "Make room, then run the same command again.",
    "disk I/O error": "Check the disk and its quota, then run the same command again.",
    "readonly database": "Choose another place, or change what protects this one.",
    "is locked": "Another process is writing to it. Run the same command again.",
}
_TABLE = """
create table if not exists photos (
    row integer primary key,
    image_id text not null unique,
    item_id text not null,
    path text not null,
    text text not null,
    category text not null,
    attributes text not null,
    content text not null,
    digest text not null,
    embedding blob not null
)
"""
_SCHEMA = "select type, name, tbl_name, sql from sqlite_master order by name"
_PUT = """
insert into photos (image_id, item_id, path, text, category, attributes, content, digest, embedding)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (image_id) do update set item_id = excluded.item_id, path = excluded.path, text = excluded.text,
    category = excluded.category, attributes = excluded.attributes, content = excluded.content,
    digest = excluded.digest, embedding = excluded.embedding
"""


@dataclass(frozen=True)
class _Searchable:
    """A copy of the table in memory.

    Attributes:
        index: Index of the vectors.
        vectors: (N, D) view of the same vectors.
        image_ids: The image_id of each vector, in ascending order.
        rows: (N,) row of each vector in the table.
    """

    index: faiss.IndexFlatIP
    vectors: np.ndarray
    image_ids: list[str]
    rows: np.ndarray


class SqliteStore:
    """Exact search of up to some millions of photos, as many as fit into memory (4 bytes a number).

    Search finds what this object has written at once, and what another process has written, such as an indexer, after
    at most `FRESH` seconds; then all embeddings are read again.

    Args:
        folder: Folder of the index.
        size: D of the embeddings.

    Raises:
        StoreUnavailable: The file is damaged, or holds something else than our table.
    """

    def __init__(self, folder: Path, *, size: int) -> None:
        self.size = size
        self._file = folder / FILE
        # In SQLite's default journal a commit that was cut off is undone by whoever opens the file next.
        self._database = sqlite3.connect(self._file, timeout=WAIT, check_same_thread=False)
        self._lock = threading.RLock()
        self._searchable: _Searchable | None = None
        self._version, self._looked = -1, 0.0  # SQLite's count of changes by others, and when it was read
        self._passing = lru_cache(maxsize=64)(self._find_passing)
        with self._asked():
            for setting in ("case_sensitive_like = on", "trusted_schema = off", "cell_size_check = on"):
                self._database.execute(f"pragma {setting}")  # the first as in Milvus; the file may come from a stranger
        with self._transaction():
            self._database.execute(_TABLE)
        if self._read(_SCHEMA) != _expected_schema():  # a view called `photos` may count for ever
            self._database.close()
            raise self._damaged("holds something else than the table of photos")

    def __len__(self) -> int:
        return int(self._read("select count(*) from photos")[0][0])

    def known(self) -> dict[str, Known]:
        return {row[0]: Known(*row[1:]) for row in self._read("select image_id, content, digest from photos")}

    def put(self, photos: Sequence[IndexedPhoto], contents: Sequence[str], embeddings: np.ndarray) -> None:
        rows = [
            (
                photo.image_id,
                photo.item_id,
                photo.path,
                photo.text,
                photo.category,
                json.dumps(dict(photo.attributes), ensure_ascii=False),
                content,
                photo.digest,
                np.ascontiguousarray(embedding, dtype="<f4").tobytes(),
            )
            for photo, content, embedding in zip(photos, contents, embeddings, strict=True)
        ]
        with self._transaction():
            self._database.executemany(_PUT, rows)

    def delete(self, image_ids: Sequence[str]) -> None:
        with self._transaction():
            self._database.executemany("delete from photos where image_id = ?", [(one,) for one in image_ids])

    def photos(self, image_ids: Sequence[str]) -> dict[str, IndexedPhoto]:
        found = self._of("image_id, item_id, path, text, category, attributes", image_ids)
        with self._asked():
            return {row[0]: _photo(*row) for row in found}

    def embeddings(self, image_ids: Sequence[str]) -> np.ndarray:
        with self._asked():
            found = {row[0]: np.frombuffer(row[1], dtype="<f4") for row in self._of("image_id, embedding", image_ids)}
            return np.array([found[one] for one in image_ids], dtype=np.float32).reshape(len(image_ids), self.size)

    def search(self, queries: np.ndarray, top_k: int, where: Condition | None) -> list[Found]:
        with self._lock:  # so that both have the same state
            searchable = self._load()
            passing = None if where is None else self._passing(where)
        return cut_ties(partial(_nearest, searchable, passing), queries, top_k)

    def close(self) -> None:
        self._database.close()

    def _load(self) -> _Searchable:
        with self._lock:
            if time.monotonic() - self._looked > FRESH:
                version = self._read("pragma data_version")[0][0]
                if version != self._version:
                    self._forget()
                self._version, self._looked = version, time.monotonic()
            if self._searchable is None:
                self._searchable = self._read_all()
            return self._searchable

    def _read_all(self) -> _Searchable:
        with self._asked():
            self._database.execute("begin")  # so that both statements see one state
            try:
                count = len(self)
                vectors = np.empty((count, self.size), dtype=np.float32)
                rows, image_ids = np.empty(count, dtype=np.int64), []
                cursor = self._database.execute("select row, image_id, embedding from photos order by image_id")
                for position, (row, image_id, embedding) in enumerate(cursor):
                    rows[position], vectors[position] = row, np.frombuffer(embedding, dtype="<f4")
                    image_ids.append(image_id)
            finally:
                self._database.rollback()
        if not math.isfinite(float(vectors.sum())):  # a test of each number takes more memory
            raise self._damaged("an embedding is not of numbers")
        index = faiss.IndexFlatIP(self.size)
        index.add(vectors)
        # A view of faiss' own copy, so that `vectors` can be freed.
        inside = faiss.rev_swig_ptr(index.get_xb(), count * self.size).reshape(count, self.size)
        return _Searchable(index=index, vectors=inside, image_ids=image_ids, rows=rows)

    def _find_passing(self, where: Condition) -> np.ndarray:
        """One bit a position, set where the photo passes a condition."""
        condition, values = to_sql(where)
        rows = [row for (row,) in self._read(f"select row from photos where {condition}", values)]
        return np.packbits(np.isin(self._load().rows, rows), bitorder="little")

    def _of(self, columns: str, image_ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(image_ids), ASKED):
            some = image_ids[start : start + ASKED]
            marks = ", ".join("?" * len(some))
            yield from self._read(f"select {columns} from photos where image_id in ({marks})", some)

    def _read(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._asked():
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._asked(), self._database:
            yield
            self._forget()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Turns errors of SQLite, and content that we would not have written, into `StoreUnavailable`."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            for reason, remedy in REMEDIES.items():
                if reason in str(error):
                    raise StoreUnavailable(f"{self._file}: {error}. {remedy}") from None
            raise self._damaged(str(error)) from None
        except (ValueError, TypeError) as error:  # from numpy and json, for content that others have written
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._file}: cannot be used ({reason}). If it is damaged, remove the folder and index again."
        )

    def _forget(self) -> None:
        self._searchable = None
        self._passing.cache_clear()


def _nearest(searchable: _Searchable, passing: np.ndarray | None, queries: np.ndarray, limit: int) -> list[Found]:
    limit = min(limit, len(searchable.image_ids))
    if limit == 0:
        return [[] for _ in queries]
    # faiss's stubs describe its C++ side.
    parameters: Any = (
        faiss.SearchParameters()
        if passing is None
        else faiss.SearchParameters(
            sel=faiss.IDSelectorBitmap(passing)  # type: ignore[call-arg, arg-type]
        )
    )
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    _, positions = searchable.index.search(queries, limit, params=parameters)  # (Q, limit), -1 where there are no more
    answers = []
    for query, row in zip(queries, positions, strict=True):
        row = row[row >= 0]
        # Computed again vector by vector, so that equal vectors have equal scores.
        scores = (searchable.vectors[row] * query).sum(axis=1).tolist()
        answers.append([(searchable.image_ids[position], score) for position, score in zip(row, scores, strict=True)])
    return answers


def _photo(image_id: str, item_id: str, path: str, text: str, category: str, attributes: str) -> IndexedPhoto:
    known = json.loads(attributes)
    for value in (image_id, item_id, path, text, category, *known):
        if not isinstance(value, str):
            raise TypeError(f"{value!r} where a text belongs")
    if not all(isinstance(value, str) or math.isfinite(value) for value in known.values()):
        raise ValueError(f"{image_id}: an attribute is not finite")
    return IndexedPhoto(image_id, item_id, path, text, category, known)


@lru_cache(maxsize=1)
def _expected_schema() -> list[tuple[Any, ...]]:
    """The result of `_SCHEMA` in a file that this code has made."""
    database = sqlite3.connect(":memory:")
    database.execute(_TABLE)
    found = database.execute(_SCHEMA).fetchall()
    database.close()
    return found


def to_sql(where: Condition) -> tuple[str, list[Value]]:
    """A condition in the language of SQLite, without any text of the user, and the values for its question marks."""
    if isinstance(where, Group):
        parts = [to_sql(part) for part in where.parts]
        joined = f" {where.operator} ".join(condition for condition, _ in parts)
        return f"({joined})", [value for _, values in parts for value in values]
    if where.field in TEXT_FIELDS:
        field, path = f"nullif({where.field}, '')", []
    else:
        field, path = "json_extract(attributes, ?)", [f'$."{where.field}"']
    if where.operator in ("is null", "is not null"):
        return f"{field} {where.operator}", [*path]
    if where.operator in ("in", "not in"):
        # All in one value, since a statement takes 32,766 at most.
        return f"{field} {where.operator} (select value from json_each(?))", [*path, json.dumps(where.values)]
    return f"{field} {where.operator} ?", [*path, *where.values]
