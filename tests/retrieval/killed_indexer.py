"""Kills an indexer again and again, by SIGKILL, at random moments of its work; then lets it finish.

Run by test_killed.py as `python killed_indexer.py EXPORT SHOP TABLE INDEX KILLS MILVUS`, in a process of its own that
loads torch once and forks each indexer, which a process with gRPC's threads could not do. Prints how many were killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from fashionclip.retrieval import index
from fashionclip.retrieval.encoder import load_encoder
from fashionclip.retrieval.source import read_source

MORE = 3  # batches that an indexer may go on after the moment was chosen; then it waits for its end


class Reporting:
    """An encoder that reports each batch to a pipe, and stops for good after some."""

    def __init__(self, encoder, pipe, batches):
        self.encoder, self.pipe, self.left = encoder, pipe, batches

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def embed(self, pixels):
        os.write(self.pipe, b".")
        self.left -= 1
        if self.left < 0:
            time.sleep(600)
        return self.encoder.embed(pixels)


def main():
    export, shop, table, folder = map(Path, sys.argv[1:5])
    kills, milvus = int(sys.argv[5]), sys.argv[6] or None
    torch.set_num_threads(1)
    index.BATCH = 4
    encoder, source = load_encoder(export), read_source(shop, table=table)
    chance = random.Random(0)
    killed = 0
    for _ in range(kills):
        reached = chance.randint(1, 4)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                reporting = Reporting(encoder, write, reached + MORE)
                index.update_index(folder, reporting, source, export=export, milvus=milvus)
            finally:
                os._exit(1)
        os.close(write)
        for _ in range(reached):
            assert os.read(read, 1), "the indexer ended by itself"
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        os.close(read)
    changes = index.update_index(folder, encoder, source, export=export, milvus=milvus)
    print(f"killed {killed}, then added {changes.added}")


if __name__ == "__main__":
    main()
