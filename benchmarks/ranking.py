"""Exact metrics of all ranks beside those of other packages: python benchmarks/ranking.py

Random embeddings, about `--answers` right photos a query, queries of all degrees of difficulty. Each line is a process
of its own. It prints seconds (the median of three, once if that takes over 20 s), how many times those of blocked
float32 matrix products alone that is, measured in turn, the peak of memory beyond the embeddings, and figures, of which
those that have one definition must agree to 1e-4. `--device cuda` does so on a GPU, of whose memory the peak is then,
without the packages that search with faiss on the CPU.

- fashionclip: all ranks by `rank_relevant`, and all figures from them.
- top-10: matrix products with `torch.topk`, and `IndexFlatIP` of faiss.
- pytorch-metric-learning: `AccuracyCalculator` with k="max_bin_count", which finds as many neighbours as mAP@R needs;
  and by default, when it ranks everything, as ours does. Its precision@1 is recall@1.
- few queries: the first `--few`, for what needs much memory, the default of pytorch-metric-learning and torchmetrics.

Run it with nothing beside it, 5 minutes on 2 cores; results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fashionclip.metrics.ranking import (
    Ranks,
    average_precision_at_r,
    ndcg,
    rank_relevant,
    recall,
    reciprocal_rank,
    relevant_pairs,
)

BLOCK = 256
PATIENCE = 20.0  # seconds of one run, above which there is no second one
SAME = 1e-4  # near ties are rounded differently

T = TypeVar("T")
Figures = dict[str, float]


@dataclass(frozen=True)
class Case:
    """Embeddings (Q, D) and (G, D) of unit norm, and their items (Q,) and (G,)."""

    query: Tensor
    gallery: Tensor
    query_item: Tensor
    item: Tensor


def write(file: Path, queries: int, gallery: int, size: int, answers: int) -> None:
    """Writes those of a `Case`: for each item a direction, with noise of one to four times its length."""
    random = torch.Generator().manual_seed(0)
    item = torch.randint(-(-gallery // answers), (gallery,), generator=random)
    query_item = item[torch.randint(gallery, (queries,), generator=random)]
    center = F.normalize(torch.randn(int(item.max()) + 1, size, generator=random), dim=1)
    sides = []
    for of in (query_item, item):
        length = torch.rand(len(of), 1, generator=random) * 3 + 1
        noise = torch.randn(len(of), size, generator=random) * length / size**0.5
        sides.append(F.normalize(center[of] + noise, dim=1))
    torch.save((*sides, query_item, item), file)


def multiply(case: Case) -> None:
    for block in case.query.split(BLOCK):
        block @ case.gallery.T


def ours(case: Case) -> Callable[[], Figures]:
    def run() -> Figures:
        ranks = rank_relevant(case.query, case.gallery, relevant_pairs([case.query_item], [case.item]))
        return {
            "recall@1": float(recall(ranks, k=1).mean()),
            "recall@10": float(recall(ranks, k=10).mean()),
            "mAP@R": float(average_precision_at_r(ranks).mean()),
            "R-precision": r_precision(ranks),
            "MRR": float(reciprocal_rank(ranks).mean()),
            "nDCG@10": float(ndcg(ranks, k=10).mean()),
        }

    return run


def r_precision(ranks: Ranks) -> float:
    total = ranks.query.bincount(minlength=ranks.queries)
    found = ranks.query[ranks.rank <= total[ranks.query]].bincount(minlength=ranks.queries)
    return float((found / total)[total > 0].mean())


def torch_top(case: Case) -> Callable[[], Figures]:
    def run() -> Figures:
        best = [(block @ case.gallery.T).topk(10).indices for block in case.query.split(BLOCK)]
        return of_top(case, torch.cat(best))

    return run


def faiss_top(case: Case) -> Callable[[], Figures]:
    import faiss

    index = faiss.IndexFlatIP(case.gallery.shape[1])
    index.add(case.gallery.numpy())
    return lambda: of_top(case, torch.from_numpy(index.search(case.query.numpy(), 10)[1]))


def of_top(case: Case, best: Tensor) -> Figures:
    right = case.item[best] == case.query_item[:, None]
    return {"recall@1": float(right[:, 0].float().mean()), "recall@10": float(right.any(1).float().mean())}


def metric_learning(k: str | None) -> Callable[[Case], Callable[[], Figures]]:
    def build(case: Case) -> Callable[[], Figures]:
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        names = {"mAP@R": "mean_average_precision_at_r", "recall@1": "precision_at_1", "R-precision": "r_precision"}
        calculator = AccuracyCalculator(include=tuple(names.values()), k=k, device=torch.device("cpu"))

        def run() -> Figures:
            found = calculator.get_accuracy(case.query, case.query_item, case.gallery, case.item)
            return {ours: found[theirs] for ours, theirs in names.items()}

        return run

    return build


def torchmetrics(case: Case) -> Callable[[], Figures]:
    from torchmetrics.retrieval import RetrievalMRR, RetrievalPrecision, RetrievalRPrecision

    def run() -> Figures:
        score = 1 + case.query @ case.gallery.T  # it takes a right answer with a score below 0 for none
        right = case.query_item[:, None] == case.item
        query = torch.arange(len(score), device=score.device)[:, None].expand_as(score)
        figures = {}
        for name, metric in (
            ("recall@1", RetrievalPrecision(top_k=1)),
            ("R-precision", RetrievalRPrecision()),
            ("MRR", RetrievalMRR()),
        ):
            metric.update(score.flatten(), right.flatten(), query.flatten())
            figures[name] = float(metric.compute())
        return figures

    return run


OURS, FEW = "fashionclip, all ranks", ", few queries"
SUBJECTS: dict[str, Callable[[Case], Callable[[], Figures]]] = {
    OURS: ours,
    "torch, top-10": torch_top,
    "faiss flat, top-10": faiss_top,
    "pytorch-metric-learning, max_bin_count": metric_learning("max_bin_count"),
    OURS + FEW: ours,
    "pytorch-metric-learning" + FEW: metric_learning(None),
    "torchmetrics" + FEW: torchmetrics,
}
OF_FAISS = [name for name in SUBJECTS if name.startswith(("faiss", "pytorch-metric-learning"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--gallery", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=512, help="of an embedding")
    parser.add_argument("--answers", type=int, default=10, help="right photos of a query, about")
    parser.add_argument("--few", type=int, default=500, help="queries of the last lines")
    parser.add_argument("--only", nargs="*", default=list(SUBJECTS), choices=list(SUBJECTS), help="lines to measure")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to rank")
    options = parser.parse_args()
    if options.device == "cuda":
        options.only = [name for name in options.only if name not in OF_FAISS]
    sizes = f"{options.queries:,} x {options.gallery:,} x {options.size}"
    print(f"{sizes}, {options.device}, {torch.get_num_threads()} threads")
    print(f"{'':<40}{'seconds':>9}{'x matmul':>10}{'peak MiB':>10}", flush=True)
    ratios: dict[str, float] = {}
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "case.pt")
        # not here: what a process has in memory counts as the peak of its children
        start(write, file, options.queries, options.gallery, options.size, options.answers).join()
        for name in options.only:
            here, there = multiprocessing.Pipe(duplex=False)
            queries = options.few if name.endswith(FEW) else options.queries
            process = start(measure, there, name, file, queries, torch.device(options.device))
            there.close()
            try:
                took, ratios[name], peak, figures[name] = here.recv()
            except EOFError:
                process.join()
                print(f"{name:<40} ended with {process.exitcode}", flush=True)  # such as -9, for lack of memory
                continue
            process.join()
            shown = "  ".join(f"{figure} {value:.5f}" for figure, value in figures[name].items())
            print(f"{name:<40}{took:>9.2f}{ratios[name]:>10.2f}{peak:>10,.0f}  {shown}", flush=True)
    wrong = []
    for name in ratios:
        own = OURS + FEW if name.endswith(FEW) else OURS
        if own in ratios and name != own:
            print(f"{name} takes {ratios[name] / ratios[own]:.2f} times as long as {own}")
            wrong += [f"{name}: {it}" for it, value in figures[name].items() if abs(value - figures[own][it]) > SAME]
    if wrong:
        sys.exit(f"They differ by more than {SAME}: {', '.join(wrong)}")
    print(f"All figures agree to {SAME}.")


def start(work: Callable[..., None], *arguments: object) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    return process


def measure(to: Connection, name: str, file: Path, queries: int, device: torch.device) -> None:
    """Sends seconds, their ratio to those of matrix products, peak MiB beyond the embeddings, and figures."""
    query, gallery, query_item, item = torch.load(file, map_location=device)
    case = Case(query[:queries], gallery, query_item[:queries], item)
    run = SUBJECTS[name](case)
    before = peak_memory(device)
    figures, took = timed(run)
    peak = peak_memory(device) - before
    timed(lambda: multiply(case))
    seconds, ratios = [], []
    for _ in range(3):
        if took < PATIENCE:
            took = timed(run)[1]
        seconds.append(took)
        ratios.append(took / timed(lambda: multiply(case))[1])
    to.send((statistics.median(seconds), statistics.median(ratios), peak, figures))


def timed(run: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    found = run()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return found, time.perf_counter() - began


def peak_memory(device: torch.device) -> float:
    """The largest resident set of this process so far, or what it had of the GPU's memory at most, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
