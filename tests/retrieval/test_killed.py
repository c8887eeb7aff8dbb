import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fashionclip.retrieval.folder import open_store, read_facts
from fashionclip.retrieval.index import update_index
from fashionclip.retrieval.source import read_source

SCRIPT = Path(__file__).with_name("killed_indexer.py")


def contents(folder):
    with closing(open_store(folder, read_facts(folder))) as store:
        image_ids = sorted(store.known())
        return len(store), store.known(), store.photos(image_ids), store.embeddings(image_ids)


@pytest.mark.parametrize(
    ("kills", "milvus"),
    [
        (5, ""),
        pytest.param(20, "", marks=pytest.mark.slow),
        pytest.param(20, "photos.db", marks=pytest.mark.slow),
    ],
)
def test_killing_the_indexer_loses_and_doubles_nothing(kills, milvus, export, encoder, tmp_path, photo):
    shop, table, folder = tmp_path / "shop", tmp_path / "table.csv", tmp_path / "index"
    for number in range(60):
        photo(shop / f"{number}.png", number)
    table.write_text("image,title\n" + "".join(f"{number}.png,Dress {number}\n" for number in range(60)))
    update_index(folder, encoder, read_source(shop, table=table), export=export, milvus=milvus or None)
    for number in range(20):
        (shop / f"{number}.png").unlink()  # gone
    for number in range(20, 40):
        photo(shop / f"{number}.png", 1000 + number)  # another photo
    for number in range(100, 140 + 28 * kills):
        photo(shop / f"{number}.png", number)  # new
    table.write_text("image,title\n" + "".join(f"{number}.png,Coat {number}\n" for number in range(60)))

    done = subprocess.run(
        [sys.executable, SCRIPT, export, shop, table, folder, str(kills), milvus],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
    )
    assert f"killed {kills}, then added" in done.stdout, done.stdout + done.stderr[-3000:]
    undisturbed = tmp_path / "undisturbed"
    update_index(undisturbed, encoder, read_source(shop, table=table), export=export)
    count, known, photos, embeddings = contents(folder)
    expected = contents(undisturbed)
    assert (count, known, photos) == expected[:3]
    np.testing.assert_allclose(embeddings, expected[3], atol=1e-6)
    assert read_facts(folder).fields == read_facts(undisturbed).fields
