"""How quickly a catalogue is indexed, and how quickly and exactly it is searched.

    python benchmarks/search.py --export EXPORT --data data/prepared/kaggle-products

Indexes the dataset into a temporary folder (and once more, when nothing has changed), then fills each store with so
many vectors as `--sizes` says: the dataset's own, and above them copies of those with noise, of the same size. Each
store and size has a process of its own, which prints the time of opening, p50 and p95 of a search in the store alone,
with a filter, and of `search_text` end to end, recall@10 against numpy's exact answer, and memory. Run it with nothing
beside it; results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fashionclip.retrieval.encoder import load_encoder
from fashionclip.retrieval.index.filter_fields import kinds_of
from fashionclip.retrieval.index.filter_parser import parse_where
from fashionclip.retrieval.index.index import update_index
from fashionclip.retrieval.index.index_folder import open_store, read_facts, write_facts
from fashionclip.retrieval.index.index_source import read_source
from fashionclip.retrieval.index.store import SAME_SCORE, Found, Store
from fashionclip.retrieval.search.search import Searcher

TOP_K = 10
BATCH = 2_000  # vectors written at a time
PATIENCE = 60.0  # seconds after which a measurement ends with fewer queries
NOISE = 0.3  # length of what is added to a unit vector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True, help="a folder of `fashionclip export`")
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset with texts and attributes")
    parser.add_argument("--sizes", type=int, nargs="*", default=[7_000, 100_000, 1_000_000], help="of the own store")
    parser.add_argument("--milvus-sizes", type=int, nargs="*", default=[7_000, 100_000], help="of milvus-lite")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--where", default="gender = 'Women'", help="the filter that is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        index = Path(temporary, "index")
        measure_indexing(index, options.export, options.data)
        cases = [(None, size) for size in options.sizes] + [("photos.db", size) for size in options.milvus_sizes]
        for milvus, size in cases:
            folder = Path(temporary, f"{milvus}-{size}")
            arguments = (folder, index, milvus, size, options.queries, options.where)
            for work in (fill, measure_search):
                process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{work.__name__} ended with {process.exitcode}")


def measure_indexing(index: Path, export: Path, data: Path) -> None:
    encoder, source = load_encoder(export), read_source(data)
    for label in ("indexed", "indexed again, unchanged"):
        start = time.perf_counter()
        update_index(index, encoder, source, export=export)
        seconds = time.perf_counter() - start
        print(f"{label}: {len(source):,} photos in {seconds:.1f} s, {len(source) / seconds:,.1f} photos/s", flush=True)


def fill(folder: Path, index: Path, milvus: str | None, size: int, queries: int, where: str) -> None:
    """Writes an index of `size` photos, the first of them those of `index`."""
    facts = replace(read_facts(index), milvus=milvus, collection="photos" if milvus else "")
    with closing(open_store(index, read_facts(index))) as store:
        image_ids = sorted(store.known())
        photos, vectors = store.photos(image_ids), store.embeddings(image_ids)
    folder.mkdir()
    write_facts(folder, facts)
    random = np.random.default_rng(0)
    start = time.perf_counter()
    with closing(open_store(folder, facts)) as store:
        for first in range(0, size, BATCH):
            rows = np.arange(first, min(first + BATCH, size))
            like = rows % len(image_ids)
            noise = random.normal(size=(len(rows), facts.size)) * NOISE / np.sqrt(facts.size)
            noise[rows < len(image_ids)] = 0
            some = vectors[like] + noise
            some /= np.linalg.norm(some, axis=1, keepdims=True)
            names = [f"{image_ids[one]}/{row // len(image_ids)}" for one, row in zip(like, rows, strict=True)]
            here = [
                replace(photos[image_ids[one]], image_id=name) for one, name in zip(like.tolist(), names, strict=True)
            ]
            store.put(here, [""] * len(here), some.astype(np.float32))
    seconds = time.perf_counter() - start
    kind = "milvus-lite" if milvus else "own store"
    print(f"\n{kind}, {size:,} photos: written in {seconds:.1f} s, {size / seconds:,.0f} a second", flush=True)


def measure_search(folder: Path, index: Path, milvus: str | None, size: int, queries: int, where: str) -> None:
    """Prints times, recall and memory of one index."""
    facts = read_facts(folder)
    encoder = load_encoder(facts.export)
    texts = [photo.text for photo in read_source(Path(facts.source)).photos()]
    texts = np.random.default_rng(1).choice(texts, size=queries).tolist()
    vectors = encoder.texts(texts)
    condition = parse_where(where, kinds_of(facts.fields))
    before, start = memory(), time.perf_counter()
    with closing(open_store(folder, facts)) as store:
        searcher = Searcher(facts, store, encoder)
        searcher.search_text("a")
        print(
            f"  opened and searched once: {time.perf_counter() - start:.2f} s, {memory() - before:,.0f} MiB", flush=True
        )
        answers = report("store alone", queries, lambda n: store.search(vectors[n : n + 1], TOP_K, None)[0])
        report("store alone, filtered", queries, lambda n: store.search(vectors[n : n + 1], TOP_K, condition)[0])
        report("text alone", queries, lambda n: encoder.texts([texts[n]]))
        report("search_text", queries, lambda n: searcher.search_text(texts[n], TOP_K))
        report("search_text, filtered", queries, lambda n: searcher.search_text(texts[n], TOP_K, where=where))
        print(f"  recall@{TOP_K} {recall(store, vectors, answers):.4f}", flush=True)


def report(what: str, queries: int, search: Callable[[int], Any]) -> list[Any]:
    """Searches one query after another and prints how long one takes; the answers to as many as it had time for."""
    search(0)  # the first call is slower
    answers: list[Any] = []
    seconds: list[float] = []
    while len(answers) < queries and sum(seconds) < PATIENCE:
        start = time.perf_counter()
        answers.append(search(len(answers)))
        seconds.append(time.perf_counter() - start)
    p50, p95 = 1000 * np.percentile(seconds, [50, 95])
    print(f"  {what:<22} p50 {p50:8.2f} ms   p95 {p95:8.2f} ms   ({len(answers)} queries)", flush=True)
    return answers


def recall(store: Store, vectors: np.ndarray, answers: list[Found]) -> float:
    """Share of the hits that numpy has among the best, too; of equal ones any is right."""
    image_ids = sorted(store.known())
    best = np.full((len(vectors), TOP_K), -2.0, dtype=np.float32)
    for start in range(0, len(image_ids), BATCH):
        scores = vectors @ store.embeddings(image_ids[start : start + BATCH]).T  # (Q, BATCH)
        best = -np.partition(-np.concatenate([best, scores], axis=1), TOP_K - 1, axis=1)[:, :TOP_K]
    right = 0
    for vector, worst, hits in zip(vectors, best.min(axis=1), answers, strict=False):
        scores = store.embeddings([image_id for image_id, _ in hits]) @ vector
        right += int((scores >= worst - SAME_SCORE).sum())
    return right / (TOP_K * len(answers))


def memory() -> float:
    """What this process has in memory, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
