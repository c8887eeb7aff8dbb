"""Spreading a source's work over all cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")


def on_all_cores(
    work: Callable[[Job], Done], jobs: Sequence[Job], *, workers: int | None, fewest: int, chunksize: int
) -> Iterator[Done]:
    """Yields the results in the order of the jobs, each as soon as it is there.

    Args:
        work: A function of a module, or a `partial` of one, since it travels to the processes.
        jobs: Its arguments.
        workers: Processes, default one a core; 0 works in this process.
        fewest: Jobs below which starting processes takes longer than the work.
        chunksize: Jobs handed to a process at a time.
    """
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers == 0 or len(jobs) < fewest:
        yield from map(work, jobs)
        return
    # "spawn" behaves the same on Linux and macOS and is safe beside the threads of torch.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(work, jobs, chunksize=chunksize)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
