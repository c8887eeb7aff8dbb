"""`fashionclip serve INDEX`: a search page and a JSON API over an index."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from pathlib import Path

from fashionclip.errors import InputError

NAME = "serve"
HELP = "serve an index as a search page and a JSON API"
CONNECTIONS = 1000  # more are answered 503


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, help="folder that `fashionclip index` wrote")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on, 0 for any free one (default 8000)")
    parser.add_argument("--export", type=Path, metavar="DIR", help="where the export of the index lies now")
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="folder of the photos, to be shown to whoever reaches the page; needed unless they lie within INDEX",
    )
    parser.add_argument("--milvus", metavar="URI", help="address of its server, to send it what MILVUS_TOKEN holds")


def run(options: argparse.Namespace) -> None:
    import sys
    from contextlib import suppress

    import uvicorn

    from fashionclip.app.page.app import create_app
    from fashionclip.app.page.connections import Impatient
    from fashionclip.retrieval.index.index_folder import photos_to_serve, read_facts
    from fashionclip.retrieval.search.search import Query, Searcher

    listening = listen(options.host, options.port)
    local = is_loopback(options.host)
    photos = photos_to_serve(options.index, read_facts(options.index), options.photos)
    searcher = Searcher.open(options.index, export=options.export, milvus=options.milvus, photos=photos)
    searcher.search(Query(text="warm"), 1)  # the first search is slower
    app = create_app(searcher, hosts={"localhost", "127.0.0.1", "::1", options.host.lower()} if local else None)
    if not local:
        print(
            f"warning: {options.host} can be reached from other machines, and no password is asked for",
            file=sys.stderr,
        )
    name = f"[{options.host}]" if ":" in options.host else options.host
    print(f"serving {len(searcher):,} photos on http://{name}:{listening.getsockname()[1]} (Ctrl-C ends)", flush=True)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        http=Impatient,
        timeout_keep_alive=int(Impatient.seconds),
        limit_concurrency=CONNECTIONS,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Opens a port to listen on.

    Raises:
        InputError: The port is taken, or the host is not an address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{host}:{port} cannot be served on ({reason}). Give another --port or --host.") from None
    # asyncio sets this only on sockets that it has opened itself; without it an answer takes 40 ms longer.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return listening


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
