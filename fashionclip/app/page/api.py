"""The JSON API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Path, Query, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, computed_field

from fashionclip.app.page.pictures import LARGEST
from fashionclip.app.page.service import Asked, Service
from fashionclip.app.page.templating import photo_url
from fashionclip.images import UnreadableImageError
from fashionclip.retrieval.search.search import Hit

FRESH = 300  # seconds in which a browser shows a photo without asking whether it has changed


class AskedByPhoto(Asked):
    """What to look for; a photo may be part of it."""

    photo: UploadFile | None = Field(None, description="JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF")


class PhotoFacts(BaseModel):
    """A photo of the index."""

    model_config = ConfigDict(from_attributes=True)  # of a `Hit`

    image_id: str
    item_id: str = Field(description="Product that the photo shows; several photos may show one")
    text: str = Field(description="Name or description of the product")
    category: str
    attributes: dict[str, str | int | float] = Field(description="Other fields that a filter can name")

    @computed_field(description="Where the photo is served", examples=["/images/15970.jpg"])  # type: ignore[prop-decorator]
    @property
    def image(self) -> str:
        return photo_url(self.image_id)


class Found(PhotoFacts):
    """A photo that a search has found."""

    score: float = Field(description="Cosine with the query, in [-1, 1]")


class Answer(BaseModel):
    """The photos found, the best first."""

    hits: list[Found]


class Health(BaseModel):
    """The state of the service."""

    status: str = Field(examples=["ok"])
    photos: int = Field(description="Number of photos in the index")
    waiting: int = Field(description="Number of searches under way")
    places: int = Field(description="Number of searches that may be under way at a time")


class Refusal(BaseModel):
    """The reason why there is no answer."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"model": Refusal, "description": "The upload is too large"},
    422: {"model": Refusal, "description": "A parameter, the filter or the photo cannot be read"},
    429: {"model": Refusal, "description": "Too many searches are waiting; Retry-After says for how many seconds"},
    503: {"model": Refusal, "description": "The search took too long, or the index cannot be read"},
}
UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Refusal, "description": "No photo of that image_id"},
    422: {"model": Refusal, "description": "A parameter cannot be read"},
}


def api(service: Service) -> APIRouter:
    """Routes of the API."""
    routes = APIRouter()

    @routes.get("/api/search", summary="Search by words", tags=["search"], responses=REFUSALS)
    async def search(request: Request, asked: Annotated[Asked, Query()]) -> Answer:
        """At least one of q and like is needed."""
        return _answer(await service.search(request, asked))

    @routes.post("/api/search", summary="Search by a photo, or by photo and words", tags=["search"], responses=REFUSALS)
    async def search_photo(
        request: Request, asked: Annotated[AskedByPhoto, Form(media_type="multipart/form-data")]
    ) -> Answer:
        """At least one of photo, q and like is needed."""
        return _answer(await service.search(request, asked, asked.photo))

    @routes.get("/api/items/{image_id:path}", summary="What is known of a photo", tags=["photos"], responses=UNKNOWN)
    def item(image_id: Annotated[str, Path(description="May hold slashes")]) -> PhotoFacts:
        try:
            return PhotoFacts.model_validate(service.searcher.hit(image_id))
        except KeyError:
            raise HTTPException(404, "The index has no photo of that image_id.") from None

    @routes.get(
        "/images/{image_id:path}",
        summary="A photo, drawn anew as a small JPEG",
        tags=["photos"],
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}, "description": "The photo"}, **UNKNOWN},
    )
    async def image(
        request: Request,
        image_id: Annotated[str, Path(description="May hold slashes")],
        size: Annotated[
            int, Query(ge=16, le=LARGEST, description="Largest number of pixels of its longer side")
        ] = LARGEST,
    ) -> Response:
        try:
            data, name = await service.pictures.shown(image_id, size)
        except KeyError:
            raise HTTPException(404, "The index has no photo of that image_id.") from None
        except UnreadableImageError:
            raise HTTPException(404, "The photo of that image_id cannot be read any more.") from None
        headers = {"etag": f'"{name}"', "cache-control": f"private, max-age={FRESH}"}
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/jpeg", headers=headers)

    @routes.get("/api/health", summary="State of the service", tags=["service"])
    def health() -> Health:
        batcher = service.batcher
        return Health(status="ok", photos=len(service.searcher), waiting=batcher.taken, places=batcher.places)

    return routes


def _answer(hits: list[Hit]) -> Answer:
    return Answer(hits=[Found.model_validate(hit) for hit in hits])
