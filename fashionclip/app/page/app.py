"""The application that `fashionclip serve` runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from fashionclip.app.page.api import api
from fashionclip.app.page.error_pages import refusal
from fashionclip.app.page.pages import html
from fashionclip.app.page.request_limits import Bounds, RequestLimits
from fashionclip.app.page.service import Service
from fashionclip.foreign_text import shown
from fashionclip.retrieval.index.store import StoreUnavailable
from fashionclip.retrieval.search.search import Searcher

EXAMPLES = """For example:

    curl 'http://127.0.0.1:8000/api/search?q=red+summer+dress&k=5'
    curl http://127.0.0.1:8000/api/search -F photo=@photo.jpg -F q='but in blue' -F "where=gender = 'Women'"
"""
_log = logging.getLogger(__name__)


def create_app(
    searcher: Searcher, *, limits: RequestLimits | None = None, hosts: Collection[str] | None = None
) -> FastAPI:
    """Page and API of one index.

    Args:
        searcher: Opened index.
        limits: Limits of a request; None: the defaults.
        hosts: Names by which the service may be addressed; None: any name.
    """
    service = Service(searcher, limits or RequestLimits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.batcher.running():
            yield
        service.pictures.close()

    app = FastAPI(
        title="fashionclip",
        summary="Search in a catalogue of photos by words and by photo.",
        description=EXAMPLES,
        version="1",
        docs_url=None,  # its scripts come from elsewhere or stand in the page, and our policy forbids both
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(api(service))
    app.include_router(html(service), include_in_schema=False)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_middleware(Bounds, limits=service.limits, hosts=hosts)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return refusal(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(StoreUnavailable)
    async def unavailable(request: Request, error: StoreUnavailable) -> Response:
        _log.error("%s", shown(str(error)))  # the client is told no paths and addresses
        return refusal(request, 503, "The index cannot be read just now. Try again later.", {"retry-after": "10"})

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: RequestValidationError) -> Response:
        wrong = [f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()]
        return refusal(request, 422, "; ".join(wrong))

    return app
