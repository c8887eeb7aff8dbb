import pytest
import torch
from torch.nn.functional import normalize

from fashionclip import distributed
from fashionclip.data.hard_negatives import HardNegativeSampler, hard_negatives

N = 23


def embeddings(dtype, *, seed):
    """Some of them twice, so that there are ties."""
    text, image = normalize(torch.randn(2, N, 4, generator=torch.Generator().manual_seed(seed)), dim=2)
    text[5], image[7], image[8] = text[4], image[6], image[6]
    return text.to(dtype), image.to(dtype)


def oracle(text, image, own, alike, margin):
    """Cosines of the wrong photos of each text, highest first."""
    wanted = []
    for one, place in zip(text, own, strict=True):
        cosines = [float(one.float() @ other.float()) for other in image]
        found = []
        for other, cosine in enumerate(cosines):
            right = any(code[place] == code[other] for code in alike)
            suspected = margin is not None and cosine > cosines[place] - margin
            if not right and not suspected:
                found.append(cosine)
        wanted.append(sorted(found, reverse=True))
    return wanted


@pytest.mark.parametrize("margin", [None, 0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_nearest_wrong_photos_are_those_of_a_double_loop(dtype, margin):
    codes = torch.arange(N)
    for seed, alike in enumerate([[codes], [codes // 2, codes % 5], [codes // 9], [torch.zeros(N)]]):
        text, image = embeddings(dtype, seed=seed)
        for own in torch.arange(N), torch.tensor([3, 22, 4, 4]), torch.tensor([], dtype=torch.long):
            for count, block in (4, 2**24), (N + 3, 50), (1, 1):
                found = hard_negatives(
                    text[own], image, own=own, alike=alike, count=count, margin=margin, block=block
                ).tolist()
                wanted = oracle(text[own], image, own, alike, margin)
                assert len(found) == len(own)
                for query, places, cosines in zip(text[own], found, wanted, strict=True):
                    real = [place for place in places if place >= 0]
                    assert len(places) == count and len(set(real)) == len(real) == min(count, len(cosines))
                    assert places == [*real, *[-1] * (count - len(real))]
                    got = [float(query.float() @ image[place].float()) for place in real]
                    assert got == pytest.approx(cosines[: len(real)], abs=1e-6)


def sampler(near, *, places=None, per_group=4, seed=0, epoch=0):
    places = torch.arange(len(near)) if places is None else places
    one = HardNegativeSampler(places, near=lambda epoch: near, per_group=per_group, seed=seed)
    one.set_epoch(epoch)
    return one


def test_a_row_and_its_hardest_negatives_that_are_left_lie_together():
    near = torch.tensor([[1, 2, 3], [0, 2, -1], [3, 0, 1], [2, -1, -1], [-1] * 3, [4, 0, -1], [-1] * 3])
    seen = set()
    for epoch in range(30):
        order = list(sampler(near, per_group=3, epoch=epoch))
        assert sorted(order) == list(range(7)), "each row once"
        first = int(torch.randperm(7, generator=torch.Generator().manual_seed(epoch))[0])  # which nobody was before
        run = [one for one in (first, *near[first].tolist()) if one >= 0][:3]
        start = order.index(first)
        assert order[start : start + len(run)] == run
        seen.add(tuple(order))
    assert len(seen) > 20
    assert list(sampler(near)) == list(sampler(near)) != list(sampler(near, seed=1))
    assert sorted(sampler(near[:, :0])) == list(range(7)), "before any were found"


def test_batches_hold_what_is_confused_and_places_are_those_of_the_dataset():
    pairs = torch.arange(100) ^ 1  # 0 and 1, 2 and 3, ...
    order = torch.tensor(list(sampler(pairs[:, None], places=torch.arange(100) * 3, per_group=2)))
    assert sorted(order.tolist()) == list(range(0, 300, 3))
    first, second = (order // 3).view(50, 2).T
    assert (first ^ 1).equal(second)


def test_all_processes_are_told_the_same_order(monkeypatch):
    near = torch.randint(20, (20, 5), generator=torch.Generator().manual_seed(0))
    orders = []
    for processes, rank in (1, 0), (3, 0), (3, 2):
        monkeypatch.setattr(distributed, "world_size", lambda processes=processes: processes)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        orders.append(list(sampler(near)))
    assert orders[0] == orders[1] == orders[2]
