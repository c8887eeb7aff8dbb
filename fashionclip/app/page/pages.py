"""The search page: as a whole at its address, and its results alone for the script on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse

from fashionclip.app.page.filters import Filter, filters_of, where_of
from fashionclip.app.page.service import HITS, Asked, Service
from fashionclip.app.page.templating import render
from fashionclip.errors import InputError
from fashionclip.retrieval.search.search import Hit

SHOWN = 24  # photos on a page at first, and as many more each time
BY, PRODUCTS = "by", "item"  # name and value of the form's choice of products


@dataclass(frozen=True)
class Form:
    """What the form of the page holds.

    Attributes:
        q: Words to look for, "" for none.
        negative: Words to move away from, "" for none.
        like: The image_id of a photo to look for, "" for none.
        weight: Weight of photo or like against the words.
        filters: Filters that the page offers, with what is chosen.
        k: Number of photos to show.
        products: Whether only the best photo of each product is to be shown.
        with_photo: Whether a photo was uploaded; it is not part of the address.
    """

    q: str
    negative: str
    like: str
    weight: float
    filters: list[Filter]
    k: int
    products: bool
    with_photo: bool

    @property
    def anything(self) -> bool:
        return bool(self.q or self.like or self.with_photo)

    @property
    def chosen(self) -> dict[str, str]:
        """The filters that are set, as the form names them."""
        return {name: value for one in self.filters for name, value in one.given.items()}

    @property
    def address(self) -> str:
        """The address of the page with this search."""
        words = {"q": self.q, "negative": self.negative, "like": self.like}
        given = {name: value for name, value in words.items() if value}
        if self.like and self.q and self.weight != 0.5:
            given["weight"] = f"{self.weight:g}"
        return _address(given | self.by_product | self.chosen)

    @property
    def by_product(self) -> dict[str, str]:
        """The choice of products, as the form names it."""
        return {BY: PRODUCTS} if self.products else {}

    @property
    def address_unfiltered(self) -> str:
        """The address for the same words without filters."""
        return replace(self, filters=[]).address

    def address_like(self, image_id: str) -> str:
        """The address for what resembles one photo, under the same filters."""
        return _address({"like": image_id} | self.by_product | self.chosen)


def html(service: Service) -> APIRouter:
    """Routes of the page."""
    routes = APIRouter()

    def asked(form: Mapping[str, str], *, with_photo: bool = False) -> Form:
        try:
            weight = min(max(float(form.get("weight", "0.5")), 0.0), 1.0)
            k = min(max(int(form.get("k", SHOWN)), 1), HITS)
            if math.isnan(weight):
                raise ValueError
        except ValueError:
            raise HTTPException(422, "weight and k: expected numbers.") from None
        words = {name: form.get(name, "").strip() for name in ("q", "negative", "like")}
        filters = filters_of(service.searcher.fields, form)
        by_product = form.get(BY) == PRODUCTS
        return Form(**words, weight=weight, filters=filters, k=k, products=by_product, with_photo=with_photo)

    async def found(request: Request, asking: Form, photo: UploadFile | None = None) -> list[Hit] | None:
        if not asking.anything:
            return None
        try:
            where = where_of(asking.filters) or ""
        except InputError as error:
            raise HTTPException(422, str(error)) from None
        words = Asked(
            q=asking.q,
            k=asking.k,
            where=where,
            negative=asking.negative,
            like=asking.like,
            weight=asking.weight,
            group_by=PRODUCTS if asking.products else "",
        )
        return await service.search(request, words, photo)

    @routes.get("/")
    async def page(request: Request) -> HTMLResponse:
        asking = asked(request.query_params)
        hits, refused, status = None, "", 200
        try:
            hits = await found(request, asking)
        except HTTPException as error:
            refused, status = str(error.detail), error.status_code
        photos = await run_in_threadpool(len, service.searcher)  # an indexer may be writing to it
        shown = render(
            "page.html",
            asked=asking,
            hits=hits,
            more=more(asking, hits),
            refused=refused,
            photos=photos,
            products=service.searcher.products,
            limits=service.limits,
            liked=await run_in_threadpool(liked, asking.like),
        )
        return HTMLResponse(shown, status)

    @routes.post("/results")
    async def results(request: Request) -> HTMLResponse:
        async with request.form(max_files=1) as form:
            upload = form.get("photo")
            photo = upload if isinstance(upload, UploadFile) and upload.filename else None
            words = {name: value for name, value in form.items() if isinstance(value, str)}
            asking = asked(words, with_photo=photo is not None)
            hits = await found(request, asking, photo)
        shown = render("results.html", asked=asking, hits=hits, more=more(asking, hits), refused="")
        return HTMLResponse(shown, headers={"HX-Push-Url": asking.address})

    def liked(image_id: str) -> str:
        try:
            hit = service.searcher.hit(image_id)
        except KeyError:
            return ""
        return hit.text or hit.item_id

    def more(asking: Form, hits: list[Hit] | None) -> int:
        """The number of photos to show next, 0 where there are no more."""
        return min(asking.k + SHOWN, HITS) if hits and len(hits) == asking.k < HITS else 0

    return routes


def _address(given: Mapping[str, str]) -> str:
    return "/?" + urlencode(given) if given else "/"
