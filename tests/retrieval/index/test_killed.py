import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fashionclip.retrieval.index.index_folder import open_store, read_facts

SCRIPT = Path(__file__).with_name("killed_indexer.py")


def contents(folder):
    with closing(open_store(folder, read_facts(folder))) as store:
        image_ids = sorted(store.known())
        return len(store), store.known(), store.photos(image_ids), store.embeddings(image_ids)


@pytest.mark.parametrize(
    ("kills", "milvus"),
    [
        (7, ""),
        pytest.param(20, "", marks=pytest.mark.slow),
        pytest.param(20, "photos.db", marks=pytest.mark.slow),
    ],
)
def test_killing_the_indexer_loses_and_doubles_nothing(kills, milvus, tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, str(kills), milvus],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
    )
    printed = re.search(r"^killed (\d+), then added (\d+)\n\Z", done.stdout, re.MULTILINE)
    assert printed, done.stdout + done.stderr[-3000:]
    assert int(printed[1]) == kills
    count, known, photos, embeddings = contents(tmp_path / "killed")
    expected = contents(tmp_path / "undisturbed")
    assert (count, known, photos) == expected[:3]
    assert 0 < int(printed[2]) < count - 40, "the last run went on where the killed ones had come to"
    np.testing.assert_allclose(embeddings, expected[3], atol=1e-6)
    assert read_facts(tmp_path / "killed").fields == read_facts(tmp_path / "undisturbed").fields
