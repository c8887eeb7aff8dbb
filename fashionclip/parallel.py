"""Spreading a source's work over all cores."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from fashionclip.errors import InputError

Job = TypeVar("Job")
Done = TypeVar("Done")


def on_all_cores(
    work: Callable[[Job], Done], jobs: Sequence[Job], *, workers: int | None, fewest: int, chunksize: int
) -> Iterator[Done]:
    """Yields the results in the order of the jobs, each as soon as it is there; the processes end with this one.

    Args:
        work: A function of a module, or a `partial` of one, since it travels to the processes.
        jobs: Its arguments.
        workers: Processes, default one a core; 0 works in this process.
        fewest: Jobs below which starting processes takes longer than the work.
        chunksize: Jobs handed to a process at a time.

    Raises:
        InputError: `workers` is below 0.
    """
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 0:
        raise InputError(f"dataset.workers={workers}: expected 0 (none), a number of processes, or null (one a core).")
    if workers == 0 or len(jobs) < fewest:
        yield from map(work, jobs)
        return
    # "spawn" behaves the same on Linux and macOS and is safe beside the threads of torch.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        try:
            yield from pool.map(work, jobs, chunksize=chunksize)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """A killed parent tells nobody: without this its workers would wait for jobs for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
