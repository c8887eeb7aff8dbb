from itertools import pairwise

import torch
import torch.nn.functional as F

from fashionclip.evaluation.hits import Hits
from fashionclip.metrics.ranking import TIE
from fashionclip.metrics.samples import Search


def slow(search, place):
    """Items in the order of their ranks, right answers behind all that score as much."""
    right = set(map(tuple, search.relevant.tolist()))
    absent = set(map(tuple, [] if search.exclude is None else search.exclude.tolist()))
    scores = (search.query[place] @ search.gallery.T).tolist()
    there = [item for item in range(len(search.gallery)) if (place, item) not in absent]
    return sorted(((place, item) in right, scores[item], item) for item in there), scores


def searched(*, ties):
    torch.manual_seed(0)
    gallery = F.normalize(torch.randn(40, 8).round() if ties else torch.randn(40, 8), dim=1)
    query = gallery[torch.randint(40, (600,))]
    relevant = torch.randint(40, (1500, 2))
    relevant[:, 0] = torch.randint(600, (1500,))  # in no order, some twice
    exclude = torch.stack([torch.arange(600), torch.randint(40, (600,))], dim=1)
    return Search(query, gallery, relevant, torch.arange(600), torch.arange(40), by_text=True, exclude=exclude)


def test_hits_are_those_of_a_double_loop_and_ties_count_against_right_ones():
    for ties in (False, True):
        search = searched(ties=ties)
        some = torch.tensor([0, 3, 299, 599])
        for place, hits in zip(some.tolist(), Hits(search).first(some, k=100), strict=True):
            items, scores = slow(search, place)
            assert {(hit.right, hit.item) for hit in hits} == {(right, item) for right, _, item in items}
            known = [scores[hit.item] - 1.5 * TIE * hit.right for hit in hits]
            assert all(one > other - TIE for one, other in pairwise(known))
        wrong = Hits(search).first_wrong(torch.arange(600)).tolist()
        for place, item in [*enumerate(wrong)][::3]:
            items, scores = slow(search, place)
            best = max((score for right, score, _ in items if right), default=-2)
            ahead = [other for right, score, other in items if not right and score > best - TIE / 2]
            assert item in ahead or (item == -1 and not ahead)


def test_a_gallery_smaller_than_k_gives_what_there_is():
    one = torch.ones(1, 1)
    nothing = torch.empty(0, 2, dtype=torch.long)
    own = torch.zeros(1, 2, dtype=torch.long)
    search = Search(one, one, nothing, torch.zeros(1), torch.zeros(1), by_text=False, exclude=own)
    assert Hits(search).first(torch.tensor([0]), k=5) == [[]]
    assert Hits(search).first(torch.tensor([], dtype=torch.long), k=5) == []
    assert Hits(search).first_wrong(torch.tensor([], dtype=torch.long)).tolist() == []
