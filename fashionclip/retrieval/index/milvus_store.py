"""The store in Milvus, for catalogues larger than a machine's memory: a server, a cluster, or milvus-lite in a file."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fashionclip.errors import InputError
from fashionclip.retrieval.index.filter_parser import Condition, Group
from fashionclip.retrieval.index.indexed_photo import IndexedPhoto
from fashionclip.retrieval.index.store import ADDRESS, TOKEN, Found, Known, StoreUnavailable, cut_ties

try:
    from pymilvus import DataType, MilvusClient  # type: ignore[import-untyped]
    from pymilvus.exceptions import MilvusException  # type: ignore[import-untyped]
except ImportError as error:
    raise InputError("Milvus needs the extra [milvus]: pip install 'fashionclip[milvus]'.") from error

MOST = 16_384  # hits that a Milvus server returns at most
ASKED = 500  # rows asked for at a time
PAGE = 2_000  # rows read at a time when all are read
LONGEST = 65_535  # bytes of a text field
WAIT = 60.0  # seconds that an answer of the server may take
STORED_COLUMNS = ("image_id", "item_id", "path", "text", "category")
ANY_PATTERN = (2, 4)  # first version of the server whose `like` takes more than the beginning of a text


class MilvusStore:
    """Exact search (a FLAT index) in one collection.

    milvus-lite writes to a log first, so a killed process loses no finished call. One process at a time can have its
    file open.

    Args:
        uri: Address of a server, or path of a file that ends in ".db".
        collection: Name of the collection; it is made where it is missing.
        size: D of the embeddings.
        token: Token of the server ("user:password" or a key), "" for none.

    Raises:
        StoreUnavailable: There is no connection, or another process has the file open.
    """

    def __init__(self, uri: str, *, collection: str, size: int, token: str = "") -> None:
        # They print each error with a traceback, besides raising it, and warn of what milvus-lite lacks.
        for name in ("pymilvus",) if "://" in uri else ("pymilvus", "milvus_lite", "grpc"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.uri = uri
        self.collection = collection
        self.size = size
        if "://" not in uri:
            way = "Does another process have it open? milvus-lite lets in one at a time."
        elif token:
            way = "Is it running, and is the token right?"
        else:
            way = (
                f"Is it running? If it asks for a token: {TOKEN} is sent only to an address that you give yourself, by "
                f"--milvus or {ADDRESS}."
            )
        try:
            self._client = MilvusClient(uri, token=token, timeout=WAIT)
            self.version = self._client.get_server_version()  # such as v2.3.5, or milvus_lite-3.2.2
            if not self._client.has_collection(collection):
                self._create()
            if not self._client.list_indexes(collection):  # a process was killed between the two
                self._client.create_index(collection, _index_parameters())
            self._client.load_collection(collection)
        except MilvusException as error:
            raise StoreUnavailable(f"{uri}: Milvus could not be opened ({error.message}). {way}") from None

    def _create(self) -> None:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        # A hash of image_id, since the client does not quote keys in its expressions.
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=32)
        for name in STORED_COLUMNS:
            schema.add_field(name, DataType.VARCHAR, max_length=LONGEST)
        schema.add_field("attributes", DataType.JSON)
        schema.add_field("content", DataType.VARCHAR, max_length=64)
        schema.add_field("digest", DataType.VARCHAR, max_length=64)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=self.size)
        self._client.create_collection(self.collection, schema=schema, consistency_level="Strong")

    def __len__(self) -> int:
        with self._asked():
            counted = self._client.query(self.collection, filter="", output_fields=["count(*)"], timeout=WAIT)
        return int(counted[0]["count(*)"])

    def known(self) -> dict[str, Known]:
        found = {}
        with self._asked():
            pages = self._client.query_iterator(
                self.collection,
                filter="",
                output_fields=["image_id", "content", "digest"],
                batch_size=PAGE,
                timeout=WAIT,
            )
            while page := pages.next():
                found.update({row["image_id"]: Known(row["content"], row["digest"]) for row in page})
            pages.close()
        return found

    def put(self, photos: Sequence[IndexedPhoto], contents: Sequence[str], embeddings: np.ndarray) -> None:
        rows = [
            {
                "key": _key(photo.image_id),
                "image_id": photo.image_id,
                "item_id": photo.item_id,
                "path": photo.path,
                "text": photo.text,
                "category": photo.category,
                "attributes": dict(photo.attributes),
                "content": content,
                "digest": photo.digest,
                "embedding": np.asarray(embedding, dtype=np.float32),
            }
            for photo, content, embedding in zip(photos, contents, embeddings, strict=True)
        ]
        if not rows:
            return
        try:
            self._client.upsert(self.collection, rows, timeout=WAIT)
        except MilvusException as error:  # such as a text that is too long
            raise InputError(
                f"{self.uri}: Milvus refuses {len(rows)} photos, {photos[0].image_id!r} and so on: {error.message}"
            ) from None

    def delete(self, image_ids: Sequence[str]) -> None:
        if image_ids:
            with self._asked():
                self._client.delete(self.collection, ids=[_key(one) for one in image_ids], timeout=WAIT)

    def photos(self, image_ids: Sequence[str]) -> dict[str, IndexedPhoto]:
        return {
            row["image_id"]: IndexedPhoto(**{name: row[name] for name in (*STORED_COLUMNS, "attributes")})
            for row in self._of([*STORED_COLUMNS, "attributes"], image_ids)
        }

    def embeddings(self, image_ids: Sequence[str]) -> np.ndarray:
        found = {row["image_id"]: row["embedding"] for row in self._of(["image_id", "embedding"], image_ids)}
        return np.array([found[one] for one in image_ids], dtype=np.float32).reshape(len(image_ids), self.size)

    def search(self, queries: np.ndarray, top_k: int, where: Condition | None) -> list[Found]:
        if top_k >= MOST:
            raise InputError(f"top_k={top_k - 1:,}: Milvus gives at most {MOST - 2:,} hits.")
        condition = ""
        if where is not None:
            check_patterns(where, self.version)
            condition = to_expression(where)

        def nearest(queries: np.ndarray, limit: int) -> list[Found]:
            with self._asked(filtered=where is not None):
                answers = self._client.search(
                    self.collection,
                    data=queries.astype(np.float32).tolist(),
                    limit=min(limit, MOST),
                    filter=condition,
                    output_fields=["image_id"],
                    timeout=WAIT,
                )
            # Rounded, since the same vector may have two scores in two segments.
            return [[(hit["entity"]["image_id"], round(hit["distance"], 6)) for hit in answer] for answer in answers]

        return cut_ties(nearest, queries, top_k)

    def close(self) -> None:
        self._client.close()
        if "://" not in self.uri:
            from milvus_lite.server_manager import server_manager_instance  # type: ignore[import-untyped]

            server_manager_instance.release_server(self.uri)  # else the file stays locked as long as this process runs

    def _of(self, columns: list[str], image_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(image_ids), ASKED):
            keys = json.dumps([_key(one) for one in image_ids[start : start + ASKED]])
            with self._asked():
                rows = self._client.query(self.collection, filter=f"key in {keys}", output_fields=columns, timeout=WAIT)
            yield from rows

    @contextmanager
    def _asked(self, *, filtered: bool = False) -> Iterator[None]:
        """Turns errors of Milvus into ours."""
        try:
            yield
        except MilvusException as error:
            if filtered and re.search(r"\bexpr|UnknownError", error.message):  # the latter where it is too deep
                raise InputError(
                    f"filter: Milvus {self.version} cannot evaluate it ({_reason(error.message)}). Say it with fewer "
                    "conditions within each other, or keep the index in a newer Milvus or in a store of its own."
                ) from None
            raise StoreUnavailable(
                f"{self.uri}: Milvus gives no answer ({_reason(error.message)}). Is it running? Run the command again."
            ) from None


def _index_parameters() -> Any:
    parameters = MilvusClient.prepare_index_params()
    parameters.add_index("embedding", index_type="FLAT", metric_type="IP")
    return parameters


def _reason(message: str) -> str:
    """The reason that a message of Milvus ends with; it begins with the whole expression."""
    return message[-200:].rpartition("error: ")[2].strip()


def _key(image_id: str) -> str:
    return hashlib.blake2b(image_id.encode(), digest_size=16).hexdigest()


def to_expression(where: Condition) -> str:
    """A condition in the language of Milvus.

    `json.dumps` quotes as Milvus does, so that the user's text stays text. Each test asks first whether the photo has
    the field. `in` is spelled out, since milvus-lite does not know it for JSON values. Each operation stands in
    parentheses, which servers before 2.5 need around `exists`. Many parts become a tree: a server reads
    `a or b or c or ...` as nested, and refuses more than some ninety levels.
    """
    if isinstance(where, Group):
        return _joined(where.operator, [to_expression(part) for part in where.parts])
    if where.field in STORED_COLUMNS:
        field, exists = where.field, f'({where.field} != "")'
    else:
        field = f"attributes[{json.dumps(where.field, ensure_ascii=False)}]"
        exists = f"(exists {field})"
    if where.operator == "is not null":
        return exists
    if where.operator == "is null":
        return f"(not {exists})"
    values = [json.dumps(value, ensure_ascii=False) for value in where.values]
    if where.operator in ("in", "="):
        test = _joined("or", [f"({field} == {value})" for value in values])
    elif where.operator in ("not in", "<>"):
        test = _joined("and", [f"({field} != {value})" for value in values])
    elif where.operator == "not like":
        test = f"(not ({field} like {values[0]}))"
    else:
        test = f"({field} {where.operator} {values[0]})"
    return f"({exists} and {test})"


def _joined(operator: str, parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(operator, parts[:half])} {operator} {_joined(operator, parts[half:])})"


def check_patterns(where: Condition, version: str) -> None:
    """Refuses patterns that a server of this version misreads; milvus-lite reads all of them.

    Before 2.4 a server knows `%` at the end of a pattern alone, and reads `_` as itself. Later ones read `_` at the end
    as any number of characters.

    Args:
        where: Condition to check.
        version: Version of the server, such as "v2.3.5" or "milvus_lite-3.2.2".

    Raises:
        InputError: The condition has such a pattern.
    """
    if isinstance(where, Group):
        for part in where.parts:
            check_patterns(part, version)
        return
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if where.operator not in ("like", "not like") or numbers is None:
        return
    pattern = str(where.values[0])
    beginning = pattern.rstrip("%_")
    if (int(numbers[1]), int(numbers[2])) >= ANY_PATTERN:
        misread, able = "_" in pattern[len(beginning) :], "no `_` at the end of a pattern"
    else:
        misread, able = bool(re.search(r"_|%[^%]", pattern)), "no wildcard but `%` at the end of a pattern"
    if misread:
        raise InputError(
            f"filter: {where.field} {where.operator} {pattern!r}: Milvus {version} knows {able}. Write one such as "
            "'Dress%', compare with = or in, or keep the index in a store of its own (index without --milvus)."
        )
