"""What the page and the API share: a request becomes a query, and is answered with hits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, Request
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile

from fashionclip.app.page.batcher import BadQuery, Batcher, Busy
from fashionclip.app.page.pictures import NotAPhoto, Pictures
from fashionclip.app.page.request_limits import RequestLimits
from fashionclip.retrieval.search.search import Hit, Query, Searcher

HITS = 100  # photos in an answer, at most


class Asked(BaseModel):
    """What to look for; at least one of q, like and a photo is needed."""

    q: str = Field("", description="Words to look for", examples=["red summer dress"])
    k: int = Field(10, ge=1, le=HITS, description="Number of photos to return")
    where: str = Field("", description="Filter, such as: gender = 'Women' and price < 50")
    negative: str = Field("", description="Words to move away from")
    like: str = Field("", description="The image_id of an indexed photo to look for")
    group_by: str = Field(
        "", description="Field by which photos are grouped; only the best of each group is returned", examples=["item"]
    )
    weight: float = Field(
        0.5, ge=0, le=1, description="Weight of the photo, or of like, against the words where both are given"
    )


class Service:
    """A searcher, with the limits of its requests."""

    def __init__(self, searcher: Searcher, limits: RequestLimits) -> None:
        self.searcher = searcher
        self.limits = limits
        self.batcher = Batcher(searcher, places=limits.waiting)
        self.pictures = Pictures(searcher, pixels=limits.pixels)

    async def search(self, request: Request, asked: Asked, photo: UploadFile | None = None) -> list[Hit]:
        """Searches for as long as the client waits.

        Raises:
            HTTPException: 422 for what cannot be searched, 429 where too many wait.
        """
        for name, words in {"q": asked.q, "negative": asked.negative}.items():
            if len(words) > self.limits.characters:
                got, most = f"{len(words):,}", f"{self.limits.characters:,}"
                raise HTTPException(422, f"{name}: {got} characters, at most {most} are read.")
        try:
            with self.batcher.place():
                image = await self.pictures.uploaded(photo.file) if photo and photo.filename else None
                query = Query(
                    text=asked.q.strip() or None,
                    image=image,
                    like=asked.like or None,
                    negative=asked.negative.strip() or None,
                    where=asked.where.strip() or None,
                    image_weight=asked.weight,
                    group_by=asked.group_by or None,
                )
                return await _while_connected(request, self.batcher.search(query, asked.k))
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
            raise HTTPException(499, "The client has gone.")  # the status that nginx uses; nobody reads it
        return search.result()
    finally:
        for task in (search, gone):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone. The body of the request must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
