import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.matching import clip_score, matching_accuracy


def grid(rows, seed):
    """(rows, 4) embeddings whose scores are multiples of 1/16, exact even in bf16: many ties."""
    return torch.randint(-2, 3, (rows, 4), generator=torch.Generator().manual_seed(seed)) / 4


def codes(rows, kinds, seed):
    return torch.randint(kinds, (rows,), generator=torch.Generator().manual_seed(seed))


def slow_accuracy(image, text, item_id, text_id, batch):
    hits = 0
    for i in range(len(image)):
        start = i // batch * batch
        right, wrong = [], []
        for j in range(start, min(start + batch, len(image))):
            belongs = item_id[i] == item_id[j] or text_id[i] == text_id[j]
            (right if belongs else wrong).append(float(image[i] @ text[j]))
        hits += all(max(right) > score for score in wrong)
    return hits / len(image)


@pytest.mark.parametrize("kinds", [1, 3, 30, 10_000])
@pytest.mark.parametrize(("rows", "batch"), [(70, 32), (64, 32), (5, 32), (1, 32), (33, 4)])
def test_accuracy_equals_the_double_loop(kinds, rows, batch):
    image, text, item_id, text_id = grid(rows, 0), grid(rows, 1), codes(rows, kinds, 2), codes(rows, kinds, 3)
    expected = slow_accuracy(image, text, item_id, text_id, batch)
    assert rows < 33 or kinds == 1 or 0 < expected < 1
    for dtype in (torch.float32, torch.bfloat16):
        accuracy = matching_accuracy(image.to(dtype), text.to(dtype), item_id, text_id, batch=batch)
        assert accuracy.item() == pytest.approx(expected)


def test_ties_count_against_the_model():
    alike = torch.ones(6, 1)
    assert matching_accuracy(alike, alike, torch.arange(6), torch.arange(6)) == 0
    assert matching_accuracy(alike, alike, torch.zeros(6), torch.arange(6)) == 1
    assert matching_accuracy(alike, alike, torch.arange(6), torch.zeros(6)) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clip_score_equals_the_loop(dtype):
    torch.manual_seed(0)
    image, text = (normalize(side, dim=1).to(dtype) for side in torch.randn(2, 50, 4))
    cosines = [sum(x * y for x, y in zip(image[i].tolist(), text[i].tolist(), strict=True)) for i in range(50)]
    assert min(cosines) < 0
    assert clip_score(image, text).item() == pytest.approx(sum(100 * max(c, 0) for c in cosines) / 50, rel=1e-5)
    assert clip_score(image, -image) == 0
