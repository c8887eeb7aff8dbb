"""Kills an indexer again and again, by SIGKILL, at random moments of its work; then lets it finish.

Run by test_killed.py as `python killed_indexer.py FOLDER KILLS MILVUS`, in a process of its own: it forks the indexers,
which a process that has gRPC's threads could not. Leaves FOLDER/killed and, made in one go, FOLDER/undisturbed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fashionclip.retrieval.index import index
from fashionclip.retrieval.index.index_source import read_source

MORE = 3  # batches that an indexer may go on after the moment was chosen; then it waits for its end
BATCH = 4


class Small:
    """Stands in for an encoder; reports each batch to a pipe, and stops for good after some."""

    digest = "small"
    decode_size = 32

    def __init__(self, pipe=None, batches=0):
        self.pipe, self.left = pipe, batches

    def texts(self, texts):
        return np.ones((len(texts), 12), dtype=np.float32)

    def pixels(self, image):
        return np.asarray(image.resize((2, 2), Image.Resampling.BOX), dtype=np.float32).ravel()

    def embed(self, pixels):
        if self.pipe is not None:
            os.write(self.pipe, b".")
            self.left -= 1
            if self.left < 0:
                time.sleep(600)
        vectors = np.stack(pixels) - 127.3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_photo(path, seed):
    blocks = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((16, 16), Image.Resampling.NEAREST).save(path)


def fork(work):
    """Does it in a child process."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def main():
    folder, kills, milvus = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
    shop, table = folder / "shop", folder / "table.csv"
    index.BATCH = BATCH

    def update(to, encoder, milvus=None):
        return index.update_index(folder / to, encoder, read_source(shop, table=table), export=folder, milvus=milvus)

    shop.mkdir()
    for number in range(60):
        write_photo(shop / f"{number}.png", number)
    table.write_text("image,title\n" + "".join(f"{number}.png,Dress {number}\n" for number in range(60)))
    chance = random.Random(0)
    for _ in range(5):  # while there is little more than an empty folder
        child = fork(lambda: update("killed", Small(), milvus))
        time.sleep(chance.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    child = fork(lambda: update("killed", Small(), milvus))
    assert os.waitpid(child, 0)[1] == 0
    for number in range(20):
        (shop / f"{number}.png").unlink()  # gone
    for number in range(20, 40):
        write_photo(shop / f"{number}.png", 1000 + number)  # another photo
    for number in range(100, 100 + (4 + MORE) * BATCH * kills):
        write_photo(shop / f"{number}.png", number)  # new
    table.write_text("image,title\n" + "".join(f"{number}.png,Coat {number}\n" for number in range(60)))

    killed = 0
    for _ in range(kills):
        reached = chance.randint(1, 4)
        read, write = os.pipe()
        encoder = Small(write, reached + MORE)
        child = fork(lambda encoder=encoder: update("killed", encoder, milvus))
        os.close(write)
        for _ in range(reached):
            assert os.read(read, 1), "the indexer ended by itself"
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        os.close(read)
    changes = update("killed", Small(), milvus)
    update("undisturbed", Small())
    print(f"killed {killed}, then added {changes.added}")


if __name__ == "__main__":
    main()
