"""Connections that are opened and say nothing, over real sockets."""

import asyncio
import contextlib
import socket
import threading
import time
from urllib.request import urlopen

import pytest
import uvicorn

from fashionclip.app.page.app import create_app
from fashionclip.app.page.connections import Impatient


@pytest.fixture
def serve(searcher):
    """`serve(seconds=..., most=...)` gives the port."""
    with contextlib.ExitStack() as stack:

        def run(**bounds):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
            http = type("Bounded", (Impatient,), bounds)
            server = uvicorn.Server(uvicorn.Config(create_app(searcher), http=http, log_level="critical"))
            thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "force_exit", True)
            stack.callback(setattr, server, "should_exit", True)
            return listening.getsockname()[1]

        yield run


def connect(port, said=b""):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(said)
    return connection


def closed(connection, *, within):
    """Whether the other side closes it."""
    connection.settimeout(within)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_silent_connections_stop_nobody(serve):
    port = serve(most=40, seconds=600)
    with contextlib.ExitStack() as stack:
        silent = []
        for number in range(120):
            said = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"[: 5 * (number % 7)]
            silent.append(stack.enter_context(connect(port, said)))
        begun = time.monotonic()
        assert urlopen(f"http://127.0.0.1:{port}/api/search?q=red", timeout=20).status == 200
        assert time.monotonic() - begun < 15
        assert all(closed(one, within=5) for one in silent[:75]), "the oldest make room"
        assert not closed(silent[-1], within=0.2)


def test_headers_that_do_not_come_are_not_waited_for(serve, searcher):
    port = serve(seconds=1.0)
    silent = connect(port)
    slow = connect(port, b"GET /api/search?q=red HTTP/1.1\r\n")
    searcher.free.clear()  # an answer that takes longer than a connection may be silent
    asked = connect(port, b"GET /api/search?q=red HTTP/1.1\r\nHost: a\r\n\r\n")
    begun = time.monotonic()
    ended = False
    while not ended and time.monotonic() - begun < 20:
        try:
            slow.sendall(b"x")
        except ConnectionError:
            ended = True
        time.sleep(0.1)
    assert ended and closed(silent, within=20)
    searcher.free.set()
    assert asked.recv(100).startswith(b"HTTP/1.1 200 OK")
    while not closed(asked, within=20):  # silent again after its answer
        pass
    for one in (silent, slow, asked):
        one.close()


def test_several_requests_on_one_connection(serve):
    port = serve(seconds=5.0)
    with connect(port) as connection:
        for _ in range(3):
            connection.sendall(b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n" * 2)  # the second waits for the first
            said = b""
            while said.count(b'"status":"ok"') < 2:
                said += connection.recv(65536)
