"""What a store of an index does. There are two: `sqlite_store.py`, within the index, and `milvus_store.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fashionclip.errors import InputError
from fashionclip.retrieval.index.filter_parser import Clause, Condition, Group
from fashionclip.retrieval.index.indexed_photo import IndexedPhoto, Value

TOKEN = "MILVUS_TOKEN"  # environment variable with the token of a server ("user:password" or a key)
ADDRESS = "MILVUS_ADDRESS"  # environment variable with a server that the token may be sent to, as with --milvus
PHOTOS_A_GROUP = 4  # photos asked for to find one group
MOST_AT_ONCE = 10_000  # photos asked for at a time to find groups; a Milvus server gives 16,384
SAME_SCORE = 1e-6  # cosines with one and the same vector differ by less, depending on how a library blocks its sums


class StoreUnavailable(InputError):
    """An index that cannot be read or written at all: its server is down, its files are gone or damaged, its disk is
    full. The message names the address or the file."""


class Known(NamedTuple):
    """What shows whether a photo has changed: the hash of its file, and `IndexedPhoto.digest`."""

    content: str
    digest: str


Found = list[tuple[str, float]]  # image_id and cosine, the best first, equal ones by image_id


class Store(Protocol):
    """Photos and their embeddings. A call that writes does all or nothing, even when the process is killed."""

    def __len__(self) -> int: ...

    def known(self) -> dict[str, Known]:
        """What is known of every photo, by image_id."""
        ...

    def put(self, photos: Sequence[IndexedPhoto], contents: Sequence[str], embeddings: np.ndarray) -> None:
        """Adds N photos, or replaces those of the same image_id.

        Args:
            photos: Photos with different image_ids.
            contents: Hashes of their files.
            embeddings: (N, D) float32 embeddings of unit norm.
        """
        ...

    def delete(self, image_ids: Sequence[str]) -> None: ...

    def photos(self, image_ids: Sequence[str]) -> dict[str, IndexedPhoto]:
        """Photos by image_id; unknown ones are left out."""
        ...

    def embeddings(self, image_ids: Sequence[str]) -> np.ndarray:
        """(N, D) float32 embeddings of known photos, in the order given."""
        ...

    def search(self, queries: np.ndarray, top_k: int, where: Condition | None) -> list[Found]:
        """The photos nearest to each of (Q, D) unit-norm queries, among those that pass a condition."""
        ...

    def close(self) -> None: ...


def search_groups(store: Store, query: np.ndarray, top_k: int, where: Condition | None, field: str) -> Found:
    """The best photo of each of the nearest groups of photos that have the same value of a field.

    It is exact however large a group is: photos of other groups are asked for until there are enough.

    Args:
        store: Store to search.
        query: (D,) unit-norm query.
        top_k: Number of groups to return.
        where: Condition that photos must pass.
        field: Name of the field; a photo without a value is a group by itself.
    """
    best: dict[tuple[Value, str], tuple[str, float]] = {}  # photo and score by group
    others = where
    while True:
        limit = min(PHOTOS_A_GROUP * (top_k - len(best)), MOST_AT_ONCE)
        nearest = store.search(query[None], limit, others)[0]
        photos = store.photos([image_id for image_id, _ in nearest])
        for hit in nearest:
            if hit[0] in photos:  # else it has been deleted meanwhile
                best.setdefault(photos[hit[0]].group(field), hit)
        if len(best) >= top_k or len(nearest) < limit:
            return sorted(best.values(), key=lambda hit: (-hit[1], hit[0]))[:top_k]
        others = _of_other_groups(best, field)
        others = others if where is None else Group("and", (where, others))


def _of_other_groups(groups: Collection[tuple[Value, str]], field: str) -> Condition:
    values = tuple(value for value, image_id in groups if not image_id)
    alone = tuple(image_id for _, image_id in groups if image_id)
    has_another = Clause(field, "not in", values) if values else Clause(field, "is not null", ())
    has_none: Condition = Clause(field, "is null", ())
    if alone:
        has_none = Group("and", (has_none, Clause("image_id", "not in", alone)))
    return Group("or", (has_another, has_none))


def unit(vector: np.ndarray) -> np.ndarray:
    """A (D,) vector scaled to the length 1; zeros stay zeros."""
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def cut_ties(search: Callable[[np.ndarray, int], list[Found]], queries: np.ndarray, top_k: int) -> list[Found]:
    """Decides by image_id which photos come last where more have the same score than there are places.

    Args:
        search: Function of (Q, D) queries and a number n that finds the n nearest of each, or all there are, the best
            first and equal ones in any order.
        queries: (Q, D) embeddings.
        top_k: Number of photos to return for each.
    """
    answers = search(queries, top_k + 1)
    return [
        sorted(_with_equals(search, query, answer, top_k), key=lambda hit: (-hit[1], hit[0]))[:top_k]
        for query, answer in zip(queries, answers, strict=True)
    ]


def _with_equals(
    search: Callable[[np.ndarray, int], list[Found]], query: np.ndarray, answer: Found, top_k: int
) -> Found:
    limit = top_k + 1
    while len(answer) == limit and answer[-1][1] >= answer[top_k - 1][1] - SAME_SCORE:
        limit *= 2
        answer = search(query[None], limit)[0]
    return answer
