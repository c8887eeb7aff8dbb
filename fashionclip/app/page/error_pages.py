"""Refusals: one sentence, as JSON, as a part of the page or as a whole page."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from fashionclip.app.page.templating import render


def refusal(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal in the form that the request's path asks for."""
    extra = dict(headers or {})
    path = request.url.path
    if path == "/results":
        return HTMLResponse(render("refusal.html", message=message), status, extra)
    if path == "/":
        return HTMLResponse(render("refused.html", message=message), status, extra)
    return JSONResponse({"detail": message}, status, extra)
