"""Finding photos that show the same picture, among many."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of 256 bits. On 7,000 photos, quality 70 or scaling to 0.75 moves 99.7 % of hashes by at most 4, all by at most 7.
MAX_DISTANCE = 4
BITS = 256
TWIN_DISTANCE = 12  # of 256 bits of a `twin_hash`
TWIN_COLOUR = 12  # mean difference of its colours, of 255
TWIN_SHAPE = 0.06  # difference of its logarithms of width / height
CHUNK = 256  # photos that are looked up at a time, so that memory does not grow with what a search finds
LISTED = 10  # pairs of twins


def near_pairs(hashes: Sequence[str], *, max_distance: int = MAX_DISTANCE) -> list[tuple[int, int]]:
    """All pairs of hashes that differ in at most `max_distance` bits.

    Args:
        hashes: N perceptual hashes of 256 bits, as hex strings.
        max_distance: Hamming distance, in bits.

    Returns:
        Pairs `(i, j)` of positions with i < j, sorted. Among equal hashes only neighbours are paired, which joins them.
    """
    last: dict[str, int] = {}  # where each distinct hash stands, and stood before
    pairs = []
    for i, value in enumerate(hashes):
        if value in last:
            pairs.append((last[value], i))
        last[value] = i
    bits = np.frombuffer(bytes.fromhex("".join(last)), np.uint8).reshape(-1, BITS // 8)
    index = NearIndex(max_distance=max_distance)
    index.add(bits)
    place = np.array(list(last.values()), dtype=int)
    one, other = (place[found] for found in index.near(bits))
    return sorted(pairs + [(int(i), int(j)) for i, j in zip(one, other, strict=True) if i < j])


def twins_across(ids: Sequence[str], hashes: Sequence[bytes], splits: Sequence[str]) -> dict[str, Any]:
    """Photos of val that have a twin in train, and photos of test that have one in train or val, by another hash.

    On 7,000 photos of Kaggle's set, 24 million pairs, 76 are twins: 73 of them near pairs, the others the same picture
    as well, on another canvas or under another name. Of photos moved by 2 % it sees 99 %, on a canvas wider by 3 % all,
    cropped by 2 % 54 %; `near_pairs` 0, 0 and 3 %. At 16 bits half of what is new is wrong.

    Memory grows with the number of photos alone, to 1 GB for 1,000,000.

    Args:
        ids: Id of each of N photos.
        hashes: Hash of each, from `twin_hash`.
        splits: Split of each.

    Returns:
        What `dataset.json` keeps: `hash` and `max_distance`; `photos`, their number by split; and `pairs`, the ids of
        some of them with that of a twin.
    """
    looks = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 84)  # (N, 84)
    bits, colours = looks[:, :32], looks[:, 32:80].astype(np.int16)
    shapes = np.ascontiguousarray(looks[:, 80:]).view(np.float32)[:, 0]
    index, known = NearIndex(max_distance=TWIN_DISTANCE), np.empty(0, np.int64)
    pairs: list[list[str]] = []
    photos = {}
    split = np.asarray(splits)
    for earlier, later in (("train", "val"), ("val", "test")):
        new, asked = np.flatnonzero(split == earlier), np.flatnonzero(split == later)
        new = new[np.unique(looks[new], axis=0, return_index=True)[1]]  # thousands may be equal, such as blank ones
        index.add(bits[new])
        known = np.concatenate([known, new])
        photos[later] = 0
        for start in range(0, len(asked), CHUNK):
            one, other = index.near(bits[asked[start : start + CHUNK]])
            one, other = asked[start + one], known[other]
            alike = np.abs(colours[one] - colours[other]).mean(axis=1) <= TWIN_COLOUR
            alike &= np.abs(shapes[one] - shapes[other]) <= TWIN_SHAPE
            found, first = np.unique(one[alike], return_index=True)
            photos[later] += len(found)
            pairs += [[ids[a], ids[b]] for a, b in zip(found, other[alike][first], strict=True)]
            del pairs[LISTED:]
    return {
        "hash": "signs of a 16x16 DCT of what is not background, with colours and shape",
        "max_distance": TWIN_DISTANCE,
        "photos": photos,
        "pairs": pairs,
    }


class NearIndex:
    """Hashes of 256 bits, in which those within a distance are found without comparing each with each.

    What differs in d bits is equal in one of d + 1 bands of bits, of which each is looked up in a table. The bits of a
    band come from all over the hash, since many photos are alike in one part, such as the background above.

    Args:
        max_distance: Hamming distance of what is found, in bits.
    """

    def __init__(self, *, max_distance: int) -> None:
        logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which instructions this processor lacks
        import faiss

        self.max_distance, bands = max_distance, max_distance + 1
        self._index = faiss.IndexBinaryMultiHash(BITS, bands, min(BITS // bands, 64))
        by_band = [np.arange(BITS)[band::bands] for band in range(bands)]
        size = BITS // bands
        self._order = np.concatenate([*(bits[:size] for bits in by_band), *(bits[size:] for bits in by_band)])

    def add(self, hashes: NDArray[np.uint8]) -> None:
        """Adds (N, 32) hashes."""
        if len(hashes):
            self._index.add(self._arranged(hashes))

    def near(self, hashes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of (N, 32) hashes, and beside each that of one which was added and is near; each (P,)."""
        if not len(hashes):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        ends, _, near = self._index.range_search(
            self._arranged(hashes), self.max_distance + 1
        )  # those closer than that
        return np.arange(len(hashes)).repeat(np.diff(ends.astype(np.int64)).astype(np.int64)), near

    def _arranged(self, hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        parts = [hashes[start : start + 65536] for start in range(0, len(hashes), 65536)]  # a bit takes a byte
        arranged = [np.packbits(np.unpackbits(p, axis=1)[:, self._order], axis=1, bitorder="little") for p in parts]
        return np.concatenate(arranged)
