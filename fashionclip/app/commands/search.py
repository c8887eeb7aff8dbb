"""`fashionclip search INDEX "red dress"`: the photos of an index that are nearest to a text, a photo, or both."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "search"
HELP = "find photos of an index by text, photo, or both"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, help="folder that `fashionclip index` wrote")
    parser.add_argument("text", nargs="?", help="what to look for")
    parser.add_argument("-k", "--top-k", type=int, default=5, metavar="K", help="how many photos (5)")


def run(options: argparse.Namespace) -> None:
    from fashionclip.retrieval.search import Query, Searcher

    searcher = Searcher.open(options.index)
    for rank, hit in enumerate(searcher.search(Query(text=options.text), options.top_k), start=1):
        print(f"{rank:>3} {hit.score:.3f} {hit.image_id} {hit.category}: {hit.text}")
