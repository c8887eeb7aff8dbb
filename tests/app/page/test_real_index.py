"""Page and API over a real index; only the model is a stand-in, whose embedding of anything is a colour."""

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fashionclip.app.page.app import create_app
from fashionclip.retrieval.index.index import update_index
from fashionclip.retrieval.index.index_source import read_source
from fashionclip.retrieval.search.search import Searcher


@pytest.fixture
def client(tmp_path, colours):
    shop = tmp_path / "shop"
    for name in ("a/red", "a/lime", "b/blue", "b/lime two"):
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 40), name.split("/")[1].split()[0]).save(shop / f"{name}.png")
    (tmp_path / "table.csv").write_text(
        "image,title,Brand name,price,sku\na/red.png,Rose,Levi's,30,1\na/lime.png,Leaf,O,60,2\nb/blue.png,Sky,O,10,2\n"
    )
    source = read_source(shop, table=tmp_path / "table.csv")
    update_index(tmp_path / "index", colours, source, export=tmp_path / "export", milvus=None)
    with TestClient(create_app(Searcher.open(tmp_path / "index"))) as client:
        yield client


def test_page_and_api(client):
    def found(**asked):
        return [hit["image_id"] for hit in client.get("/api/search", params=asked).json()["hits"]]

    every = found(q="red")
    assert every[0] == "a/red.png" and len(every) == 4
    assert found(like="a/lime.png", k=1) == ["b/lime two.png"]
    assert found(q="red", group_by="brand name") == ["a/red.png", "a/lime.png", "b/lime two.png"]
    page = client.get("/", params={"q": "red", "min.price": "20"}).text
    assert page.count('class="card"') == 2 and 'value="20"' in page
    assert 'name="by" type="checkbox" value="item" >' in page
    page = client.get("/", params={"q": "lime", "by": "item"}).text
    assert page.count('class="card"') == 3 and "Sky" not in page and 'value="item" checked>' in page
    assert client.post("/results", data={"q": "lime", "by": "item"}).headers["hx-push-url"] == "/?q=lime&by=item"
    brand = next(name for name in client.get("/api/items/a/red.png").json()["attributes"] if name != "price")
    answer = client.get("/", params={"q": "lime", f"is.{brand}": "Levi's"})
    assert answer.text.count('class="card"') == 1 and "Rose" in answer.text
    assert client.get("/images/b/lime%20two.png").headers["content-type"] == "image/jpeg"
    assert client.get("/images/b/../../table.csv").status_code == 404
    assert "no field 'size'" in client.get("/api/search", params={"q": "a", "where": "size = 1"}).json()["detail"]
    assert "no field 'size' to group" in client.get("/api/search", params={"q": "a", "group_by": "size"}).text
    with open(__file__, "rb") as no_photo:
        assert client.post("/api/search", files={"photo": no_photo}).status_code == 422
