"""Fine-tune, evaluate and search with open_clip backbones on fashion images.

    model = fashionclip.load("exports/shop")
    model.encode_text(["red dress"]) @ model.encode_image(["photo.jpg"]).T  # (1, 1) cosines

Public names are imported when they are first used: `import fashionclip` itself needs none of torch, and serving none of
Lightning.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashionclip.errors import InputError
    from fashionclip.images import load_image
    from fashionclip.manifest import PreparedDataset, read_dataset
    from fashionclip.prepare.products.convert import prepare_products
    from fashionclip.retrieval.encoder import Encoder
    from fashionclip.retrieval.encoder import load_encoder as load
    from fashionclip.retrieval.judge.judge import Judge
    from fashionclip.retrieval.search.arrays import load_embeddings, search_products
    from fashionclip.retrieval.search.search import Hit, Query, Searcher

__version__ = "0.1.0"
__all__ = [
    "Encoder",
    "Hit",
    "InputError",
    "Judge",
    "PreparedDataset",
    "Query",
    "Searcher",
    "load",
    "load_embeddings",
    "load_image",
    "prepare_products",
    "read_dataset",
    "search_products",
]
_PLACES = {
    "Encoder": "retrieval.encoder:Encoder",
    "Hit": "retrieval.search.search:Hit",
    "InputError": "errors:InputError",
    "Judge": "retrieval.judge.judge:Judge",
    "PreparedDataset": "manifest:PreparedDataset",
    "Query": "retrieval.search.search:Query",
    "Searcher": "retrieval.search.search:Searcher",
    "load": "retrieval.encoder:load_encoder",
    "load_embeddings": "retrieval.search.arrays:load_embeddings",
    "load_image": "images:load_image",
    "prepare_products": "prepare.products.convert:prepare_products",
    "read_dataset": "manifest:read_dataset",
    "search_products": "retrieval.search.arrays:search_products",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'fashionclip' has no attribute {name!r}")
    return resolve_name(f"fashionclip.{_PLACES[name]}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
