"""How the C library keeps memory between the batches of a model on a CPU."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
TOP_PAD = 256 * 2**20  # bytes


def keep_freed_memory() -> None:
    """Lets glibc keep what a batch frees, instead of handing it back to the system and asking again.

    Activations are large blocks, which glibc maps anew by default, so that every step pays for page faults: training
    EfficientNet-Lite0 on 2 cores was twice as fast without, and indexing 1.5 times (benchmarks/RESULTS.md). The process
    stays as large as its largest batch made it. Does nothing where the C library is another, as on macOS.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
        mallopt(M_TOP_PAD, TOP_PAD)
