"""Connections that send no request make room for those that do."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Impatient(H11Protocol):
    """uvicorn's protocol, which would wait without end for the first request of a connection.

    A connection is silent after it was opened and after each answer, until the headers of its next request are
    complete.

    Attributes:
        seconds: Seconds that a connection may be silent before it is closed.
        most: Number of connections that may be silent at a time; with more, the one that was silent longest is closed.
    """

    seconds = 20.0
    most = 400  # below what a process may usually have open (1024)
    _silent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()
        silent = [one for one in self.connections if isinstance(one, Impatient) and one._silent is not None]
        if len(silent) > self.most:
            min(silent, key=lambda one: one._silent.when() if one._silent else 0.0)._end()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._speaks()
        super().connection_lost(exc)

    def _look(self) -> None:
        asked = self.cycle is not None and not self.cycle.response_complete
        if asked or self.transport.is_closing():
            self._speaks()
        elif self._silent is None:
            self._silent = self.loop.call_later(self.seconds, self._end)

    def _speaks(self) -> None:
        if self._silent is not None:
            self._silent.cancel()
            self._silent = None

    def _end(self) -> None:
        self._speaks()
        self.transport.abort()
