import numpy as np
import pandas as pd
import pytest

from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.retrieval.index.index import update_index
from fashionclip.retrieval.index.index_source import read_source
from fashionclip.retrieval.index.npz import write_npz
from fashionclip.retrieval.search.arrays import load_embeddings, search_products
from fashionclip.retrieval.search.search import Searcher


def test_plain_arrays_find_what_the_index_does(shop, tmp_path, encoder, export):
    update_index(tmp_path / "index", encoder, read_source(shop, table=tmp_path / "table.csv"), export=export)
    write_npz(tmp_path / "index", tmp_path / "index.npz")
    searcher = Searcher.open(tmp_path / "index")
    data = load_embeddings(tmp_path / "index.npz")
    arrays = {"image_embeddings": data["embeddings"], "image_names": data["image_names"]}
    picture = load_image(shop / "07.png")
    for query, hits in (
        ("red dress", searcher.search_text("red dress", 5)),
        (picture, searcher.search_image(picture, 5)),
    ):
        found = search_products(query=query, model=encoder, **arrays, dataframe=data["dataframe"], top_k=5)
        assert found["image_id"].tolist() == [hit.image_id for hit in hits] == found["image_name"].tolist()
        assert found["score"].tolist() == pytest.approx([hit.score for hit in hits], abs=1e-6)
        assert found["text"].tolist() == [hit.text for hit in hits]
        assert found["Size"].tolist() == pytest.approx(
            [hit.attributes.get("Size", np.nan) for hit in hits], nan_ok=True
        )
    bare = search_products("red dress", model=encoder, **arrays, top_k=50)
    assert list(bare) == ["image_name", "score"] and len(bare) == 12


def test_arrays_that_do_not_fit_are_refused(tmp_path, encoder):
    arrays = {"image_embeddings": np.ones((3, 16), dtype=np.float32), "image_names": np.array(["a", "b", "c"])}
    with pytest.raises(InputError, match="got 3 embeddings, 3 names and 2 rows; expected as many of each"):
        search_products("red", model=encoder, **arrays, dataframe=pd.DataFrame({"text": ["x", "y"]}))
    arrays["image_embeddings"] = np.ones((3, 8), dtype=np.float32)
    with pytest.raises(InputError, match=r"embeddings of shape \(3, 8\), expected \(N, 16\)"):
        search_products("red", model=encoder, **arrays)
    np.savez(tmp_path / "pickle.npz", embeddings=np.array([{}], dtype=object), image_names=np.array(["a"]))
    np.savez(tmp_path / "other.npz", vectors=np.ones(3))
    (tmp_path / "torn.npz").write_bytes(b"PK torn")
    for name, message in {
        "pickle": "cannot be read .*allow_pickle=False",
        "other": r"lacks the arrays \['embeddings', 'image_names'\]",
        "torn": "cannot be read",
        "none": "cannot be read .*No such file",
    }.items():
        with pytest.raises(InputError, match=rf"{name}\.npz: {message}.* --npz FILE"):
            load_embeddings(tmp_path / f"{name}.npz")
