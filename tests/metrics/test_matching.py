import itertools
import math

import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.matching import clip_score, matching_hits, spread


def share(*given, **options):
    hit, told = matching_hits(*given, **options)
    return hit[told].float().mean()


def grid(rows, seed):
    """(rows, 4) embeddings whose scores are multiples of 1/16, exact even in bf16: many ties."""
    return torch.randint(-2, 3, (rows, 4), generator=torch.Generator().manual_seed(seed)) / 4


def codes(rows, kinds, seed):
    return torch.randint(kinds, (rows,), generator=torch.Generator().manual_seed(seed))


def slow_accuracy(image, text, keys, batch):
    hits = []
    for i in range(len(image)):
        start = i // batch * batch
        right, wrong = [], []
        for j in range(start, min(start + batch, len(image))):
            belongs = any(key[i] == key[j] for key in keys)
            (right if belongs else wrong).append(float(image[i] @ text[j]))
        if wrong:
            hits.append(all(max(right) > score + 1e-6 for score in wrong))
    return sum(hits) / len(hits) if hits else math.nan


@pytest.mark.parametrize("kinds", [1, 3, 30, 10_000])
@pytest.mark.parametrize(("rows", "batch"), [(70, 32), (64, 32), (5, 32), (1, 32), (33, 4)])
def test_accuracy_equals_the_double_loop(kinds, rows, batch):
    image, text, keys = grid(rows, 0), grid(rows, 1), [codes(rows, kinds, seed) for seed in (2, 3, 4)]
    expected = slow_accuracy(image, text, keys, batch)
    assert rows < 33 or kinds == 1 or 0 < expected < 1
    assert math.isnan(expected) == (kinds == 1 or rows == 1)
    for dtype in (torch.float32, torch.bfloat16):
        accuracy = share(image.to(dtype), text.to(dtype), keys, batch=batch)
        assert accuracy.item() == pytest.approx(expected, nan_ok=True)


def test_a_last_batch_of_one_is_left_out():
    east, north = torch.eye(2)
    image, text = torch.stack([east, north, east]), torch.stack([east, east, east])
    assert share(image, text, [torch.arange(3)], batch=2) == 0
    assert share(image[:2], torch.stack([east, north]), [torch.arange(2)], batch=2) == 1


def test_ties_count_against_the_model():
    alike = torch.ones(6, 1)
    assert share(alike, alike, [torch.arange(6)]) == 0
    rounded = torch.tensor([[1.0], [1 - 2**-23]])  # the first text scores higher, as the last bit may have it
    assert share(rounded, rounded, [torch.arange(2)]) == 0
    shared = torch.tensor([0, 0, 0, 0, 0, 1])
    assert share(alike, alike - shared[:, None] / 2, [torch.arange(6), shared]) == pytest.approx(5 / 6)


@pytest.mark.parametrize("wrong", ["image", "text"])
def test_embeddings_that_are_not_finite_are_refused(wrong):
    given = {"image": torch.ones(2, 2), "text": torch.ones(2, 2)}
    given[wrong][1, 0] = torch.nan
    with pytest.raises(ValueError, match=rf"{wrong}: expected finite numbers.*\[1\]"):
        matching_hits(**given, keys=[torch.arange(2)])
    with pytest.raises(ValueError, match=rf"{wrong}: expected finite numbers.*\[1\]"):
        clip_score(**given)
    with pytest.raises(ValueError, match=r"expected finite numbers.*\[1\]"):
        spread(given[wrong])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clip_score_equals_the_loop(dtype):
    torch.manual_seed(0)
    image, text = (normalize(side, dim=1).to(dtype) for side in torch.randn(2, 50, 4))
    cosines = [sum(x * y for x, y in zip(image[i].tolist(), text[i].tolist(), strict=True)) for i in range(50)]
    assert min(cosines) < 0
    assert clip_score(image, text).mean().item() == pytest.approx(sum(100 * max(c, 0) for c in cosines) / 50, rel=1e-5)
    assert not clip_score(image, -image).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [2, 3, 50])
def test_spread_is_the_mean_over_pairs(size, dtype):
    torch.manual_seed(size)
    x = normalize(torch.randn(size, 6) + 0.5, dim=1).to(dtype)
    pairs = [1 - float(x[i].double() @ x[j].double()) for i, j in itertools.combinations(range(size), 2)]
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2  # bfloat16 vectors are not of unit norm
    assert spread(x).mean().item() == pytest.approx(sum(pairs) / len(pairs), abs=tolerance)


def test_spread_of_special_cases():
    one = normalize(torch.ones(1, 512), dim=1)
    assert spread(one).isnan().all()
    assert not len(spread(one[:0]))
    assert spread(one.expand(1000, -1)).mean() < 1e-10  # collapsed
    assert spread(torch.cat([one, -one])).mean() == pytest.approx(2)
    assert spread(torch.eye(100)).mean() == pytest.approx(1)
