"""Search in an index: by text, by photo or by both, away from other words, among the photos that pass a filter."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.images import UnreadableImageError, load_image
from fashionclip.retrieval.encoder import Encoder, export_digest, load_encoder
from fashionclip.retrieval.index.filter_fields import Choices, choices_of, field_named, hints, kinds_of
from fashionclip.retrieval.index.filter_parser import Condition, parse_where
from fashionclip.retrieval.index.index_folder import FILE, IndexFacts, open_store, read_facts
from fashionclip.retrieval.index.indexed_photo import IndexedPhoto, Value
from fashionclip.retrieval.index.store import Found, Store, StoreUnavailable, search_groups, unit

NEGATIVE_WEIGHT = 0.5  # weight of words to move away from; at 1 they outweigh a text that is somewhat like them


@dataclass(frozen=True)
class Query:
    """A query; at least one of text, image and like is needed.

    Attributes:
        text: Words to look for.
        image: Upright RGB picture to look for, from `load_image`.
        like: The image_id of an indexed photo to look for, which is not a hit itself.
        negative: Words to move away from.
        where: Filter, such as `gender = 'Women' and price < 50`.
        image_weight: Weight, in [0, 1], of image or like against text where both are given.
        group_by: Field by which photos are grouped, such as "item": only the best photo of each group is a hit, and
            none of the group of `like`.
    """

    text: str | None = None
    image: Image.Image | None = None
    like: str | None = None
    negative: str | None = None
    where: str | None = None
    image_weight: float = 0.5
    group_by: str | None = None


@dataclass(frozen=True)
class Hit:
    """A photo found; `score` is its cosine with the query, in [-1, 1]."""

    image_id: str
    item_id: str
    score: float
    text: str
    category: str
    attributes: dict[str, Value]


class Searcher:
    """An index and the model that made it. Several threads may use one object.

    What `fashionclip index` changes meanwhile is found soon after, as `SqliteStore` says.
    """

    def __init__(
        self,
        facts: IndexFacts,
        store: Store,
        encoder: Encoder,
        *,
        folder: Path | None = None,
        photos: Path | None = None,
    ) -> None:
        self._facts = facts
        self._photos = photos
        self._file = None if folder is None else folder / FILE
        self._written = self._when_written()
        self.store = store
        self.encoder = encoder
        self._encoding = threading.Lock()  # two threads in one model are no faster, and some tokenizers refuse them

    @classmethod
    def open(
        cls,
        index: Path | str,
        *,
        export: Path | str | None = None,
        milvus: str | None = None,
        photos: Path | None = None,
        device: str = "cpu",
    ) -> Searcher:
        """Opens an index.

        Args:
            index: Folder of the index.
            export: Folder of the export that made it; None: where it was then.
            milvus: Address of its Milvus server, as in `open_store`.
            photos: Folder at which the paths of the photos begin; None: the one that the index names.
            device: Device to encode queries on.

        Raises:
            InputError: There is no index or no export, or another export made the index.
        """
        facts = read_facts(Path(index))
        place = Path(export or facts.export)
        digest = export_digest(place)
        if digest != facts.digest:  # before anything is loaded: the index may come from a stranger
            raise InputError(
                f"{index}: was not made by {place} as it is now; embeddings of two models cannot be compared. Give the "
                "export that made it (--export DIR), or index again to another folder."
            )
        encoder = load_encoder(place, device=device, digest=digest)
        store = open_store(Path(index), facts, milvus=milvus)
        return cls(facts, store, encoder, folder=Path(index), photos=photos)

    def __len__(self) -> int:
        return len(self.store)

    @property
    def facts(self) -> IndexFacts:
        """The content of `index.json` now; fields and their values change with the catalogue.

        Raises:
            StoreUnavailable: The file is gone or damaged.
        """
        written = self._when_written()
        if self._file is not None and written != self._written:
            try:
                self._facts, self._written = read_facts(self._file.parent), written
            except InputError as error:  # not a mistake in the query
                raise StoreUnavailable(str(error)) from None
        return self._facts

    def _when_written(self) -> int:
        return self._file.stat().st_mtime_ns if self._file is not None and self._file.exists() else 0

    @property
    def products(self) -> int:
        """Number of products that the photos show; 0 where an older index has not counted them."""
        return self.facts.products

    @property
    def fields(self) -> Choices:
        """Fields to offer as filters, as in `choices_of`."""
        return choices_of(self.facts.fields)

    def search_text(
        self, query: str, top_k: int = 10, *, where: str | None = None, negative: str | None = None
    ) -> list[Hit]:
        """The photos nearest to a text."""
        return self.search(Query(text=query, where=where, negative=negative), top_k)

    def search_image(self, image: Image.Image | Path | str, top_k: int = 10, *, where: str | None = None) -> list[Hit]:
        """The photos nearest to a photo, which is an upright RGB picture or a file."""
        if not isinstance(image, Image.Image):
            image = load_image(image, at_least=self.encoder.decode_size)
        return self.search(Query(image=image, where=where), top_k)

    def search(self, query: Query, top_k: int = 10) -> list[Hit]:
        """The photos nearest to a query, the best first, equal ones by image_id; fewer where there are no more.

        Raises:
            InputError: The query is empty, its filter is wrong, or `like` or `group_by` is unknown.
        """
        return self.search_many([query], top_k)[0]

    def search_many(self, queries: Sequence[Query], top_k: int = 10) -> list[list[Hit]]:
        """As `search`, for several queries whose texts and photos are encoded together."""
        if top_k < 1:
            raise InputError(f"top_k={top_k}: expected at least 1.")
        asked = [(self.check(query), self._grouped_by(query)) for query in queries]
        with self._encoding:
            vectors = self._embed(queries)
        found: list[Found] = [[] for _ in queries]
        for condition, field in dict.fromkeys(asked):
            chosen = [row for row, one in enumerate(asked) if one == (condition, field)]
            for row, answer in zip(chosen, self._nearest(vectors[chosen], top_k + 1, condition, field), strict=True):
                found[row] = answer  # one more than asked for: `like` finds itself
        likes = {query.like for query in queries if query.like is not None}
        photos = self.store.photos(sorted(likes.union(image_id for hits in found for image_id, _ in hits)))
        answers = []
        for hits, query, (_, field) in zip(found, queries, asked, strict=True):
            like = photos[query.like].group(field) if query.like in photos else None  # or deleted meanwhile
            known = [(photos[image_id], score) for image_id, score in hits if image_id in photos]
            answers.append([_hit(photo, score) for photo, score in known if photo.group(field) != like][:top_k])
        return answers

    def _nearest(self, vectors: np.ndarray, top_k: int, condition: Condition | None, field: str) -> list[Found]:
        if field == "image_id":
            return self.store.search(vectors, top_k, condition)
        return [search_groups(self.store, vector, top_k, condition, field) for vector in vectors]

    def _grouped_by(self, query: Query) -> str:
        """The field by which a query is grouped; with "image_id" each photo is a group."""
        return field_named(query.group_by or "image_id", kinds_of(self.facts.fields))

    def check(self, query: Query) -> Condition | None:
        """Reads the filter of a query, and refuses what cannot be searched.

        Raises:
            InputError: `search` would refuse the query.
        """
        if query.image is None and query.like is None and not (query.text or "").strip():
            raise InputError("empty query. Give a text, a photo, or the image_id of an indexed photo.")
        if not 0 <= query.image_weight <= 1:
            raise InputError(f"image_weight={query.image_weight}: expected between 0 and 1.")
        if query.like is not None and not self.store.photos([query.like]):
            raise InputError(f"like={query.like}: the index has no photo of that image_id.")
        self._grouped_by(query)
        where = (query.where or "").strip()
        return parse_where(where, kinds_of(self.facts.fields)) if where else None

    def hints(self, where: str) -> list[str]:
        """What the fields of a filter hold, in words, for a search that has found nothing."""
        return hints(parse_where(where, kinds_of(self.facts.fields)), self.facts.fields)

    def hit(self, image_id: str) -> Hit:
        """A photo as a hit with the score 1.

        Raises:
            KeyError: The index has no such photo.
        """
        return _hit(self.store.photos([image_id])[image_id], 1.0)

    def photo(self, image_id: str) -> Path:
        """The file of a photo, which lies below the folder of the photos, links resolved.

        Raises:
            KeyError: The index has no such photo.
            UnreadableImageError: The path leads elsewhere.
        """
        root = Path(self._photos or self.facts.source).resolve()
        path = self.store.photos([image_id])[image_id].path
        try:
            file = (root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # such as a name with a zero in it, or links in a circle
            raise UnreadableImageError(f"{path!r}: no name of a file ({error}). Index again.") from None
        if not file.is_relative_to(root):
            raise UnreadableImageError(f"{path!r}: lies outside of {root}, where the photos are. Index again.")
        return file

    def _embed(self, queries: Sequence[Query]) -> np.ndarray:
        """(Q, D) unit-norm vectors of Q queries."""
        texts = sorted({one for query in queries for one in (query.text, query.negative) if one and one.strip()})
        text: dict[str | None, np.ndarray] = dict(zip(texts, self.encoder.texts(texts), strict=True)) if texts else {}
        pictures = [query.image for query in queries if query.image is not None]
        image = iter(self.encoder.images(pictures) if pictures else [])
        vectors = []
        for query in queries:
            looks = [] if query.image is None else [next(image)]
            looks += [] if query.like is None else [self.store.embeddings([query.like])[0]]
            words = [text[query.text]] if query.text in text else []
            weight = query.image_weight if looks and words else float(bool(looks))
            vector = np.zeros(self.facts.size)
            if words:
                vector += (1 - weight) * words[0]
            if looks:
                vector += weight * unit(np.sum(looks, axis=0))
            vector = unit(vector)
            if query.negative in text:
                vector = unit(vector - NEGATIVE_WEIGHT * text[query.negative])
            vectors.append(vector)
        return np.array(vectors, dtype=np.float32)


def _hit(photo: IndexedPhoto, score: float) -> Hit:
    return Hit(photo.image_id, photo.item_id, score, photo.text, photo.category, dict(photo.attributes))
