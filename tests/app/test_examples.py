import pandas as pd
import pytest
import torch
from PIL import Image

from fashionclip.app.examples import draw_offenders
from fashionclip.data.rows import Rows
from fashionclip.manifest import COLUMNS, PreparedDataset
from fashionclip.metrics.judged import Offenders


@pytest.fixture
def rows(tmp_path):
    """Twelve photos, each with a match and a mismatch whose text would be mathematics, were it read as such."""
    manifest = pd.DataFrame("", index=range(12), columns=list(COLUMNS))
    manifest["path"] = [f"{row}.png" for row in range(12)]
    for row, path in enumerate(manifest["path"]):
        Image.new("RGB", (60, 80), (20 * row, 100, 100)).save(tmp_path / path)
    parts = (("match", "match", "a text"), ("mismatch", "colour", r"costs $\frac$ or $ 5"))
    table = [
        {"image_row": row, "label": label, "kind": kind, "text": text}
        for row in range(12)
        for label, kind, text in parts
    ]
    return Rows(PreparedDataset(root=tmp_path, manifest=manifest, info={}), judgements=pd.DataFrame(table))


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
