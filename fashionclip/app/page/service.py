"""What the page and the API have in common: a request becomes a query, and its answer hits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile

from fashionclip.app.page.batcher import BadQuery, Batcher, Busy
from fashionclip.app.page.pictures import NotAPhoto, Pictures
from fashionclip.app.page.request_limits import RequestLimits
from fashionclip.retrieval.search.search import Hit, Query, Searcher

HITS = 100  # photos in an answer, at most


class Service:
    """A searcher behind its limits."""

    def __init__(self, searcher: Searcher, limits: RequestLimits) -> None:
        self.searcher = searcher
        self.limits = limits
        self.batcher = Batcher(searcher, places=limits.waiting)
        self.pictures = Pictures(searcher, pixels=limits.pixels)

    async def search(
        self,
        request: Request,
        *,
        text: str = "",
        photo: UploadFile | None = None,
        like: str = "",
        negative: str = "",
        where: str = "",
        weight: float = 0.5,
        top_k: int,
    ) -> list[Hit]:
        """Searches, as long as the client waits for it.

        Raises:
            HTTPException: 422 for what cannot be searched, 429 where too many wait.
        """
        for name, words in {"q": text, "negative": negative}.items():
            if len(words) > self.limits.characters:
                got, most = f"{len(words):,}", f"{self.limits.characters:,}"
                raise HTTPException(422, f"{name}: {got} characters, at most {most} are read.")
        try:
            with self.batcher.place():
                image = await self.pictures.uploaded(photo.file) if photo and photo.filename else None
                query = Query(
                    text=text.strip() or None,
                    image=image,
                    like=like or None,
                    negative=negative.strip() or None,
                    where=where.strip() or None,
                    image_weight=weight,
                )
                return await _while_connected(request, self.batcher.search(query, top_k))
        except Busy:
            message = "Too many searches are waiting. Try again in a moment."
            raise HTTPException(429, message, {"Retry-After": "1"}) from None
        except (BadQuery, NotAPhoto) as error:
            raise HTTPException(422, str(error)) from None


async def _while_connected(request: Request, searching: Coroutine[Any, Any, list[Hit]]) -> list[Hit]:
    search = asyncio.create_task(searching)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({search, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not search.done():
            raise HTTPException(499, "The client has gone.")  # as nginx calls it; nobody reads it
        return search.result()
    finally:
        for task in (search, gone):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _disconnected(request: Request) -> None:
    """Returns when the client is gone. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
