"""Queries that wait at the same time go through the model together."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from fashionclip.errors import InputError
from fashionclip.retrieval.index.store import StoreUnavailable
from fashionclip.retrieval.search.search import Hit, Query, Searcher

_log = logging.getLogger(__name__)


class Busy(Exception):
    """Every place is taken."""


class BadQuery(Exception):
    """A query that cannot be searched; the message is meant for the client."""


@dataclass(frozen=True)
class _Ask:
    query: Query
    top_k: int
    answer: asyncio.Future[list[Hit]]


class Batcher:
    """A queue of queries, and one thread that searches them in batches.

    Args:
        searcher: Index to search in.
        places: Number of searches that may be under way at a time.
        most: Number of queries that are searched together.
        gather: Seconds that an idle thread waits for more queries after the first: clients that were answered together
            ask again together, and the first of them would be searched alone.
    """

    def __init__(self, searcher: Searcher, *, places: int, most: int = 32, gather: float = 0.002) -> None:
        self.searcher = searcher
        self.places = places
        self.most = most
        self.gather = gather
        self.taken = 0
        self._waiting: deque[_Ask] = deque()
        self._some = asyncio.Event()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Takes a place for a request, from before its photo is decoded until its answer.

        Raises:
            Busy: All places are taken.
        """
        if self.taken >= self.places:
            raise Busy
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def search(self, query: Query, top_k: int) -> list[Hit]:
        """As `Searcher.search`. A query that is cancelled while it waits is not searched.

        Raises:
            BadQuery: The searcher refuses the query.
            StoreUnavailable: The index cannot be read.
        """
        ask = _Ask(query, top_k, asyncio.get_running_loop().create_future())
        self._waiting.append(ask)
        self._some.set()
        return await ask.answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets the thread search while the context is open."""
        with ThreadPoolExecutor(1, thread_name_prefix="search") as thread:
            serving = asyncio.create_task(self._serve(thread))
            try:
                yield
            finally:
                serving.cancel()
                with suppress(asyncio.CancelledError):
                    await serving

    async def _serve(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._some.wait()
            if len(self._waiting) < self.most:
                await asyncio.sleep(self.gather)
            batch: list[_Ask] = []
            while self._waiting and len(batch) < self.most:
                ask = self._waiting.popleft()
                if not ask.answer.done():  # else the client has gone, or its time was up
                    batch.append(ask)
            if not self._waiting:
                self._some.clear()
            if not batch:
                continue
            answers = await asyncio.get_running_loop().run_in_executor(thread, self._search, batch)
            for ask, answer in zip(batch, answers, strict=True):
                if ask.answer.done():
                    continue
                if isinstance(answer, Exception):
                    ask.answer.set_exception(answer)
                else:
                    ask.answer.set_result(answer)

    def _search(self, batch: Sequence[_Ask]) -> list[list[Hit] | Exception]:
        """The hits of each query, or its own error."""
        answers: dict[int, list[Hit] | Exception] = {}
        for place, ask in enumerate(batch):
            try:
                self.searcher.check(ask.query)
            except Exception as error:
                answers[place] = _refusal(error)
        good = [place for place in range(len(batch)) if place not in answers]
        try:
            answers |= zip(good, self._together([batch[place] for place in good]), strict=True)
        except StoreUnavailable as error:
            answers |= dict.fromkeys(good, error)
        except Exception as error:
            if len(good) > 1 and not isinstance(error, InputError):
                _log.exception("%d queries failed together; one by one", len(good))
            for place in good:
                try:
                    answers[place] = self._together([batch[place]])[0]
                except Exception as error:
                    answers[place] = _refusal(error)
        return [answers[place] for place in range(len(batch))]

    def _together(self, batch: Sequence[_Ask]) -> list[list[Hit]]:
        if not batch:
            return []
        found = self.searcher.search_many([ask.query for ask in batch], max(ask.top_k for ask in batch))
        return [hits[: ask.top_k] for hits, ask in zip(found, batch, strict=True)]


def _refusal(error: Exception) -> Exception:
    """The error for the client: a mistake in a query is told, a fault of the index or of our code is not."""
    if isinstance(error, InputError) and not isinstance(error, StoreUnavailable):
        return BadQuery(str(error))
    return error
