"""`fashionclip search INDEX "red dress"`: the photos of an index that are nearest to a text, a photo, or both. Without
any of them it asks for one query after another."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fashionclip.foreign_text import shown

if TYPE_CHECKING:
    from fashionclip.retrieval.search.search import Hit, Query, Searcher

NAME = "search"
HELP = "find photos of an index by text, photo, or both"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, help="folder that `fashionclip index` wrote")
    parser.add_argument("text", nargs="?", help="what to look for, in words")
    parser.add_argument("-k", "--top-k", type=int, default=5, metavar="K", help="how many photos (default 5)")
    parser.add_argument("--where", metavar="FILTER", help="only photos such as \"gender = 'Women' and price < 50\"")
    parser.add_argument("--image", type=Path, metavar="PHOTO", help="look for what resembles this photo")
    parser.add_argument("--like", metavar="ID", help="look for what resembles the indexed photo of this image_id")
    parser.add_argument("--negative", metavar="TEXT", help="words to move away from")
    parser.add_argument(
        "--image-weight",
        type=float,
        default=0.5,
        metavar="W",
        help="weight of the photo against the text, 0 to 1 (0.5)",
    )
    parser.add_argument(
        "--group-by",
        metavar="FIELD",
        help='only the best photo of each group with the same value, such as "item": K products instead of K photos',
    )
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, to standard output")
    parser.add_argument("--grid", type=Path, metavar="FILE.png", help="also draw the photos found")
    parser.add_argument("--export", type=Path, metavar="DIR", help="where the export of the index lies now")
    parser.add_argument("--milvus", metavar="URI", help="address of its server, to send it what MILVUS_TOKEN holds")


def run(options: argparse.Namespace) -> None:
    import sys
    from contextlib import redirect_stdout
    from dataclasses import replace

    from fashionclip.errors import InputError
    from fashionclip.images import load_image
    from fashionclip.retrieval.search.search import Query, Searcher

    if options.grid and (not options.grid.suffix or options.grid.is_dir() or not options.grid.parent.is_dir()):
        raise InputError(
            f"--grid {options.grid}: expected a picture's name, such as found.png, in a folder that exists."
        )
    with redirect_stdout(sys.stderr):
        searcher = Searcher.open(options.index, export=options.export, milvus=options.milvus)
    query = Query(
        text=options.text,
        image=load_image(options.image) if options.image else None,
        like=options.like,
        negative=options.negative,
        where=options.where,
        image_weight=options.image_weight,
        group_by=options.group_by,
    )
    asks = (query.text, query.image, query.like) == (None, None, None) and sys.stdin.isatty()
    if not asks:
        _answer(searcher, query, options)
        return
    print(f"{len(searcher):,} photos; an empty line, exit or quit ends.", file=sys.stderr)
    while (text := _ask()).casefold() not in ("", "exit", "quit"):
        try:
            _answer(searcher, replace(query, text=text), options)
        except InputError as error:
            print(f"error: {shown(str(error), lines=True)}", file=sys.stderr)


def _ask() -> str:
    try:
        return input("Query: ").strip()
    except EOFError:
        return ""


def _answer(searcher: Searcher, query: Query, options: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from fashionclip.app.hits_picture import draw_hits

    hits = searcher.search(query, options.top_k)
    photos = [searcher.photo(hit.image_id) for hit in hits]
    if options.json:
        found = [
            {"rank": rank, **asdict(hit), "photo": str(photo)}
            for rank, (hit, photo) in enumerate(zip(hits, photos, strict=True), start=1)
        ]
        print(shown(json.dumps(found, indent=2, ensure_ascii=False), lines=True))
    else:
        for line in [] if hits else _nothing(searcher, query):
            print(shown(line))
        if hits:
            _print_table(hits, products=bool(query.group_by))
    if options.grid:
        draw_hits(options.grid, hits, photos, title=_title(query), asked=query.image)


def _nothing(searcher: Searcher, query: Query) -> list[str]:
    if not len(searcher):
        return ["nothing found: the index is empty"]
    if not query.where:
        return ["nothing found: the index has no other photo"]
    return ["nothing found: the filter lets no photo through", *searcher.hints(query.where)]


def _print_table(hits: list[Hit], *, products: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    columns = ["image_id", *(["item_id"] if products else []), "category", "text"]
    for column in ("rank", "score", *columns):
        table.add_column(column, justify="right" if column in ("rank", "score") else "left", overflow="fold")
    for rank, hit in enumerate(hits, start=1):
        table.add_row(str(rank), f"{hit.score:.3f}", *(shown(getattr(hit, column)) for column in columns))
    Console(markup=False, emoji=False, highlight=False).print(table)


def _title(query: Query) -> str:
    parts = [
        query.text or "",
        f"like {query.like}" if query.like else "",
        f"not {query.negative}" if query.negative else "",
    ]
    return ", ".join(part for part in parts if part) + (f"   [{query.where}]" if query.where else "")
