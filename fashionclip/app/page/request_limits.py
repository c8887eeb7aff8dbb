"""Limits of a request, and error messages that tell the client nothing about the machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashionclip.app.page.error_pages import refusal
from fashionclip.foreign_text import shown

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
BODILESS = ("GET", "HEAD")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RequestLimits:
    """Limits of requests.

    Attributes:
        upload: Largest number of bytes of a request's body.
        pixels: Largest number of pixels of an uploaded JPEG; other formats may have a quarter of it.
        characters: Largest number of characters of a text.
        waiting: Number of searches that may be under way or wait at a time; the next one is told to come again.
        uploads: Number of requests with a body at a time; the next one is told to come again.
        seconds: Largest number of seconds until an answer begins, the upload included.
    """

    upload: int = 10 << 20
    pixels: int = 60_000_000
    characters: int = 500
    waiting: int = 128
    uploads: int = 32
    seconds: float = 20.0


class Bounds:
    """Wraps an application: counts the bytes of a request as they come, ends what takes too long, and answers an error
    inside with one sentence; the reason goes to the log, not to the client.

    Args:
        app: Application to wrap.
        limits: Limits of a request.
        hosts: Names by which the service may be addressed; None: any name. Without this check a page of another site
            could point its own name at 127.0.0.1 and read what is served there (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, limits: RequestLimits, hosts: Collection[str] | None) -> None:
        self.app = app
        self.limits = limits
        self.hosts = hosts
        self.uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        has_body = request.method not in BODILESS
        self.uploading += has_body
        try:
            await self.bounded(request, scope, receive, send)
        finally:
            self.uploading -= has_body

    async def bounded(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        complete = started = False

        async def counted() -> Message:
            nonlocal size, complete
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if size > self.limits.upload:
                    raise self.too_large()
            return message

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                have = {name.lower() for name, _ in message["headers"]}
                more = [
                    (name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in have
                ]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            self.check(request)
            await asyncio.wait_for(self.app(scope, counted, guarded), self.limits.seconds)
            return
        except HTTPException as error:
            answer = refusal(request, error.status_code, str(error.detail), error.headers)
        except asyncio.TimeoutError:  # another class than TimeoutError before Python 3.11
            if complete or request.method == "GET":
                answer = refusal(request, 503, "The search took too long. Try again in a moment.", {"retry-after": "5"})
            else:
                answer = refusal(request, 408, "The upload took too long. Try a smaller photo.")
        except Exception:
            _log.exception("%s %s", shown(request.method), shown(request.url.path))
            answer = refusal(request, 500, "Something went wrong here. The server's log says what.")
        if not started:
            await answer(scope, receive, guarded)

    def check(self, request: Request) -> None:
        """Refuses a request whose headers already break a limit."""
        if self.hosts is not None and _name(request.headers.get("host", "")) not in self.hosts:
            raise HTTPException(421, "This service is not known by that name. Start it with --host NAME to allow it.")
        if self.uploading > self.limits.uploads and request.method not in BODILESS:
            raise HTTPException(429, "Too many photos are being sent. Try again in a moment.", {"retry-after": "1"})
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.limits.upload:
            raise self.too_large()

    def too_large(self) -> HTTPException:
        return HTTPException(413, f"Too large: at most {self.limits.upload / 2**20:.3g} MB can be sent.")


def _name(host: str) -> str | None:
    """The host without its port; None where it cannot be read."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
