from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from PIL import Image

from fashionclip.app.examples import Alike, Examples, draw_examples, draw_offenders, examples_of
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.manifest import MANIFEST_COLUMNS, PreparedDataset
from fashionclip.metrics.judgement_metrics import Offenders
from fashionclip.metrics.retrieval_metrics import Embedded


@pytest.fixture
def rows(tmp_path):
    """Twelve photos, each with a match and a mismatch whose text would be mathematics, were it read as such."""
    manifest = pd.DataFrame("", index=range(12), columns=list(MANIFEST_COLUMNS))
    manifest["path"] = [f"{row}.png" for row in range(12)]
    for row, path in enumerate(manifest["path"]):
        Image.new("RGB", (60, 80), (20 * row, 100, 100)).save(tmp_path / path)
    parts = (("match", "match", "a text"), ("mismatch", "colour", r"costs $\frac$ or $ 5"))
    table = [
        {"image_row": row, "label": label, "kind": kind, "text": text}
        for row in range(12)
        for label, kind, text in parts
    ]
    return ManifestTensors(PreparedDataset(root=tmp_path, manifest=manifest, info={}), judgements=pd.DataFrame(table))


def offenders(ids):
    label = torch.tensor([row % 2 == 0 for row in ids], dtype=torch.bool)
    return Offenders(torch.tensor(ids, dtype=torch.long), label, torch.linspace(0, 1, len(ids)), label.roll(1))


@pytest.mark.parametrize(
    ("ids", "lines"), [([1, 3, 5, 7, 9, 0, 2], 3), ([*range(1, 16, 2), *range(0, 16, 2)], 4), ([0], 1)]
)
def test_offenders_fill_as_many_lines_as_they_need(rows, tmp_path, ids, lines):
    assert draw_offenders(tmp_path / "offenders.png", rows, offenders(ids))
    with Image.open(tmp_path / "offenders.png") as picture:
        assert picture.height == pytest.approx(lines * 3.9 * 90, abs=2) and picture.width == 1044


def test_without_any_there_is_no_picture(rows, tmp_path):
    assert not draw_offenders(tmp_path / "offenders.png", rows, offenders([]))
    assert not (tmp_path / "offenders.png").exists()


def passed(domain, item, image):
    """A pass of photos without texts, as the metrics keep it."""
    embedded = Embedded(torch.arange(len(item)), torch.tensor(image), torch.empty(0), torch.empty(0, 2))
    return examples_of(
        SimpleNamespace(texts=False, also=(), alike=[torch.tensor(item)], embedded=embedded), domain
    ).alike


def test_photos_of_users_are_looked_up_among_those_of_shops():
    """The nearest of all is the user's other photo; the third user's product is not in the shop."""
    domain = ["query", "query", "query", "catalog", "catalog"]
    image = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]]
    alike = passed(domain, [7, 7, 9, 7, 8], image)
    assert alike.image_row.tolist() == [0, 1]
    assert alike.nearest_row.tolist() == [[4, 3], [4, 3]] and alike.right.tolist() == [[False, True]] * 2


def test_without_users_photos_are_looked_up_among_the_others():
    alike = passed(["catalog"] * 3, [7, 7, 9], [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    assert alike.image_row.tolist() == [0, 1], "the third has no fellow"
    assert alike.nearest_row.tolist() == [[2, 1], [2, 0]] and alike.right.tolist() == [[False, True]] * 2


def test_photos_and_their_nearest_are_drawn_where_no_text_is_embedded(rows, tmp_path):
    alike = Alike(torch.tensor([0, 1]), torch.tensor([[2, 3, 4], [5, 6, 7]]), torch.tensor([[True, False, False]] * 2))
    stages = {stage: Examples(nearest=None, alike=alike, triplets=None) for stage in ("before", "after")}
    draw_examples(tmp_path, rows, stages)
    with Image.open(tmp_path / "examples.png") as picture:
        assert picture.size == (pytest.approx((1.1 + 6) * 110, abs=2), pytest.approx((2 * 1.3 + 0.4) * 110, abs=2))
