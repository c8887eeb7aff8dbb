import operator
import threading

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fashionclip.app.page.app import create_app
from fashionclip.errors import InputError
from fashionclip.retrieval.index.filter_parser import Group, parse_where
from fashionclip.retrieval.index.store import StoreUnavailable
from fashionclip.retrieval.search.search import Hit

ODD = "new/50% off?.jpg"
KINDS = {"category": "text", "colour": "text", "price": "number"}
SIGNS = {"=": operator.eq, ">=": operator.ge, "<=": operator.le}


class FakeSearcher:
    """As `Searcher`, of a shop of 30 photos: a text is near a product whose name has its words, a photo is near those
    of its colour."""

    products = 31

    def __init__(self, folder):
        self.folder = folder
        self.calls = []  # the texts of each call of search_many
        self.free = threading.Event()  # while it is not set, searches wait
        self.free.set()
        self.searching = threading.Event()  # set once a search has begun
        self.hits = {}
        for number in range(30):
            colour = ("Red", "Blue", "Green")[number % 3]
            name = f"{colour} {'dress' if number % 2 else 'shirt'} {number}"
            self.add(f"{number:02}.png", name, "Dresses" if number % 2 else "Shirts", colour, number * 10)
        self.add(ODD, "<script>alert(1)</script> & \"co\" 'x'", "<b>Odd</b>", "Red", 5)

    def add(self, image_id, text, category, colour, price):
        self.hits[image_id] = Hit(image_id, f"item-{image_id}", 1.0, text, category, {"colour": colour, "price": price})
        size = (60, 80) if self.hits[image_id].text != "Red shirt 0" else (600, 800)
        Image.new("RGB", size, colour).save(self.folder / f"{len(self.hits)}.png")

    def __len__(self):
        return len(self.hits)

    @property
    def fields(self):
        return {"category": ["Dresses", "Shirts", "<b>Odd</b>"], "colour": ["Red", "Blue", "Green"], "price": (0, 290)}

    def hit(self, image_id):
        return self.hits[image_id]

    def photo(self, image_id):
        return self.folder / f"{list(self.hits).index(self.hits[image_id].image_id) + 1}.png"

    def check(self, query):
        if not (query.text or query.image or query.like):
            raise InputError("empty query.")
        if query.like and query.like not in self.hits:
            raise InputError(f"like={query.like}: unknown.")
        return parse_where(query.where, KINDS) if query.where else None

    def search_many(self, queries, top_k=10):
        self.searching.set()
        assert self.free.wait(20)
        self.calls.append([query.text for query in queries])
        if any(query.text == "boom" for query in queries):
            raise RuntimeError(f"cannot read {self.folder}/model.bin")
        if any(query.text == "like %boom%" for query in queries):
            raise InputError("filter: Milvus v2.3.5 knows no such pattern.")
        if any(query.text == "index away" for query in queries):
            raise StoreUnavailable(f"{self.folder}/index.json: no index there.")
        return [self.search(query)[:top_k] for query in queries]

    def search(self, query):
        condition = self.check(query)
        found = [(self.score(query, hit), hit) for hit in self.hits.values() if passes(hit, condition)]
        found.sort(key=lambda pair: -pair[0])
        return [Hit(**{**vars(hit), "score": score}) for score, hit in found if hit.image_id != query.like]

    def score(self, query, hit):
        words = set(hit.text.lower().split())
        score = sum(word in words for word in (query.text or "").lower().split()) * (1 - query.image_weight)
        score -= sum(word in words for word in (query.negative or "").lower().split())
        if query.like:
            score += (self.hits[query.like].attributes["colour"] == hit.attributes["colour"]) * query.image_weight
        if query.image:
            red, green, blue = query.image.resize((1, 1)).getpixel((0, 0))
            colour = {red: "Red", green: "Green", blue: "Blue"}[max(red, green, blue)]
            score += (colour == hit.attributes["colour"]) * query.image_weight
        return score / 4


def passes(hit, condition):
    if condition is None:
        return True
    if isinstance(condition, Group):
        return all(passes(hit, part) for part in condition.parts)
    values = {"category": hit.category, **hit.attributes}
    return SIGNS[condition.operator](values[condition.field], condition.values[0])


@pytest.fixture
def searcher(tmp_path):
    return FakeSearcher(tmp_path)


@pytest.fixture
def client(searcher):
    with TestClient(create_app(searcher)) as client:
        yield client


@pytest.fixture
def odd():
    """An image_id with all that an address gives a meaning to."""
    return ODD
