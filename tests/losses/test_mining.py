import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.losses.mining import MinedTripletLoss, drawn, masks_of
from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss

DISTANCES = ["euclidean", "squared", "cosine"]
FORMS = ["ordered", "edit"]
MINED = ["all", "batch-hard", "semi-hard"]
MARGIN = 0.7
SHARE = 0.7  # of the margin, for semi-positives

ITEMS_AND_GROUPS = {
    "even": ([0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]),
    "uneven": ([0, 0, 0, 1, 2, 3, 3, 4, 5, 5], [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]),
    "no positives": ([0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 2]),
    "no semi-positives": ([0, 0, 1, 1, 2], [0, 0, 1, 1, 2]),
    "one group": ([0, 0, 1, 1, 2], [0, 0, 0, 0, 0]),
    "one item in two groups": ([0, 0, 1, 2, 2], [0, 1, 0, 1, 1]),
    "one item": ([4, 4, 4], [1, 1, 1]),
    "nothing but negatives": ([0, 1, 2], [0, 1, 2]),
    "batch of one": ([0], [0]),
}


def images(size, *, ties=False):
    torch.manual_seed(size)
    if ties:  # few points with whole coordinates: duplicates, and distances that are equal in every precision
        return torch.randint(-1, 2, (size, 2)).double()
    return normalize(torch.randn(size, 4, dtype=torch.double), dim=1)


def contents(size):
    """(I, I) symmetric, and meaningless outside a group, as the loss must not read it there."""
    matrix = torch.rand(size, size, dtype=torch.double, generator=torch.Generator().manual_seed(size))
    return (matrix + matrix.T) / 2


def every_triplet(items, groups):
    """Every (anchor, positive, semi-positive, negative) that the identities allow: (4, N)."""
    positive, semipositive, negative = kinds(items, groups)
    rows = range(len(items))
    found = [(a, p, q, n) for a in rows for p in positive[a] for q in semipositive[a] for n in negative[a]]
    return torch.tensor(found, dtype=torch.long).view(-1, 4).T


def kinds(items, groups, hard=None):
    """Of every anchor, its positives, semi-positives and negatives; of these the hard ones where it has any."""
    positive, semipositive, negative = [], [], []
    for a in range(len(items)):
        others = [i for i in range(len(items)) if i != a]
        positive.append([i for i in others if items[i] == items[a]])
        semipositive.append([i for i in others if items[i] != items[a] and groups[i] == groups[a]])
        apart = [i for i in others if items[i] != items[a] and groups[i] != groups[a]]
        negative.append([i for i in apart if hard and hard[i] == hard[a]] or apart)
    return positive, semipositive, negative


def identities(items, groups, hard=None, views=None):
    """Codes (I,) as the loss takes them; each image has a view of its own unless they are given."""
    codes = {"item_id": items, "group_id": groups, "view_id": views or range(len(items)), "hard_id": hard}
    return {name: torch.tensor(list(code or [0] * len(items))) for name, code in codes.items()}


def mined_loss(
    items,
    groups,
    *,
    mining,
    distance="euclidean",
    margin=MARGIN,
    swap=False,
    form="ordered",
    hard=None,
    per_anchor=None,
):
    loss = TripletSemiPosMarginWithDistanceLoss(
        distance_function=distance,
        margin=margin,
        swap=swap,
        form=form,
        semipos_share=SHARE if form == "ordered" else None,
    )
    mined = MinedTripletLoss(loss=loss, mining=mining, per_anchor=per_anchor)

    def call(image):
        content = contents(len(items)).to(torch.promote_types(image.dtype, torch.float32))
        return mined(image=image, **identities(items, groups, hard), content_distance=content, seed=7)

    return call


def slow_distance(name, x, y):
    if name == "cosine":
        return 1 - (x * y).sum() / (x.norm() * y.norm())
    squared = (x - y).square().sum()
    return squared if name == "squared" or squared == 0 else squared.sqrt()


def slow_term(d, near, far, gap, *, mining, swap):
    """Mean over what the mining chooses of max(d(anchor, near) - d(anchor, far) + gap, 0)."""
    chosen = []
    for a in range(len(near)):
        of_anchor = []
        for x in near[a]:
            hinges = []
            for y in far[a]:
                to_far = min(d(a, y), d(x, y)) if swap else d(a, y)
                hinges.append((max(d(a, x) - to_far + gap(a, x, y), 0 * d(a, x)), to_far > d(a, x)))
            everything = [hinge for hinge, _ in hinges]
            semi_hard = [hinge for hinge, farther in hinges if farther and hinge > 0]
            if mining == "all":
                chosen += everything
            elif mining == "semi-hard" and everything:
                chosen.append(max(semi_hard or everything))
            of_anchor += everything
        if mining == "batch-hard" and of_anchor:
            chosen.append(max(of_anchor))
    return sum(chosen) / len(chosen) if chosen else 0


def slow_loss(image, items, groups, *, mining, distance, swap, form, hard=None):
    positive, semipositive, negative = kinds(items, groups, hard)
    s = contents(len(items)).tolist()

    def d(i, j):
        return slow_distance(distance, image[i], image[j])

    def content(a, i):
        if items[i] == items[a]:
            return 0
        if groups[i] != groups[a]:
            return 1
        return s[a][i] * (SHARE if form == "ordered" else 1)

    if form == "edit":
        either = [p + q for p, q in zip(positive, semipositive, strict=True)]
        return slow_term(d, either, negative, lambda a, x, y: MARGIN + content(a, x), mining=mining, swap=swap)
    first = slow_term(d, positive, semipositive, lambda a, x, y: MARGIN * content(a, y), mining=mining, swap=False)
    return first + slow_term(
        d, semipositive, negative, lambda a, x, y: MARGIN * (1 - content(a, x)), mining=mining, swap=swap
    )


def with_gradient(loss, image):
    image = image.detach().clone().requires_grad_()
    value = loss(image) + 0 * image.sum()
    return value, torch.autograd.grad(value, image)[0]


@pytest.mark.parametrize("mining", MINED)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("case", ITEMS_AND_GROUPS)
def test_loss_and_gradient_equal_the_loops(mining, form, distance, swap, case):
    items, groups = ITEMS_AND_GROUPS[case]
    settings = {"mining": mining, "distance": distance, "swap": swap, "form": form}
    expected = with_gradient(lambda image: slow_loss(image, items, groups, **settings), images(len(items)))
    loss = mined_loss(items, groups, **settings)
    torch.testing.assert_close(with_gradient(loss, images(len(items))), expected)
    single = with_gradient(loss, images(len(items)).float())
    torch.testing.assert_close(single, expected, atol=1e-5, rtol=1e-4, check_dtype=False)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("swap", [False, True])
def test_negatives_are_hard_ones_where_an_anchor_has_any_whatever_the_mining(form, swap):
    items, groups = ITEMS_AND_GROUPS["uneven"]
    hard, image = [0, 1, 2, 2, 3, 0, 1, 1, 4, 2], images(len(items))
    apart = kinds(items, groups)[2]
    for each in MINED:
        settings = {"mining": each, "distance": "euclidean", "swap": swap, "form": form}
        loss = mined_loss(items, groups, hard=hard, **settings)
        expected = with_gradient(lambda x, s=settings: slow_loss(x, items, groups, hard=hard, **s), image)
        torch.testing.assert_close(with_gradient(loss, image), expected)
    assert float(loss(image)) != float(mined_loss(items, groups, **settings)(image))
    masks = masks_of(**identities(items, groups, hard))
    for a, _, _, n in zip(*drawn(*masks, per_anchor=9, seed=0), strict=True):
        assert n in apart[a] and (hard[n] == hard[a] or all(hard[i] != hard[a] for i in apart[a]))


def test_what_is_drawn_is_the_same_by_seed_and_another_by_another():
    masks = masks_of(**identities(*ITEMS_AND_GROUPS["uneven"]))
    torch.manual_seed(0)
    first = drawn(*masks, per_anchor=4, seed=3)
    torch.manual_seed(1)
    assert all(map(torch.equal, first, drawn(*masks, per_anchor=4, seed=3)))
    assert not all(map(torch.equal, first, drawn(*masks, per_anchor=4, seed=4)))


@pytest.mark.parametrize("mining", MINED)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", ["euclidean", "squared"])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("case", ["even", "uneven"])
def test_ties_and_duplicates(mining, form, distance, swap, case):
    items, groups = ITEMS_AND_GROUPS[case]
    image = images(len(items), ties=True)
    assert len(image.unique(dim=0)) < len(image)
    settings = {"mining": mining, "distance": distance, "swap": swap, "form": form}
    value, gradient = with_gradient(mined_loss(items, groups, **settings), image)
    torch.testing.assert_close(value, torch.as_tensor(slow_loss(image, items, groups, **settings)))
    assert gradient.isfinite().all()


@pytest.mark.parametrize("mining", MINED)
def test_the_minings_choose_differently(mining):
    items, groups = ITEMS_AND_GROUPS["uneven"]
    values = [mined_loss(items, groups, mining=each)(images(len(items))) for each in MINED]
    assert len({round(float(value), 6) for value in values}) == len(MINED)
    assert max(values) == values[MINED.index("batch-hard")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
def test_random_is_the_loss_of_the_drawn_triplets(form, distance, swap):
    items, groups = ITEMS_AND_GROUPS["uneven"]
    (a, p, q, n), s = drawn(*masks_of(**identities(items, groups)), per_anchor=3, seed=7), contents(len(items))
    assert len(a) == 3 * 5, "anchors that have all three"
    loss = TripletSemiPosMarginWithDistanceLoss(
        distance_function=distance,
        margin=MARGIN,
        swap=swap,
        form=form,
        semipos_share=SHARE if form == "ordered" else None,
    )

    def drawn_one_by_one(image):
        if form == "ordered":
            return loss(image[a], image[p], image[n], s[a, q], image[q])
        positives = loss(image[a], image[p], image[n])
        return (positives + loss(image[a], image[q], image[n], semipos_distance=s[a, q])) / 2

    given = mined_loss(items, groups, mining="random", distance=distance, swap=swap, form=form, per_anchor=3)
    image = images(len(items))
    torch.testing.assert_close(with_gradient(given, image), with_gradient(drawn_one_by_one, image))


@pytest.mark.parametrize("distance", DISTANCES)
def test_where_all_triplets_are_drawn_random_is_all(distance, monkeypatch):
    items, groups = ITEMS_AND_GROUPS["even"]  # every (a, p, q) meets as many negatives, so the means are the same
    monkeypatch.setattr("fashionclip.losses.mining.drawn", lambda *_, **__: list(every_triplet(items, groups)))
    given, everything = (mined_loss(items, groups, mining=each, distance=distance) for each in ("random", "all"))
    image = images(len(items))
    torch.testing.assert_close(with_gradient(given, image), with_gradient(everything, image))


@pytest.mark.parametrize("mining", ["random", *MINED])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
def test_gradients_equal_finite_differences(mining, form, distance, swap):
    items, groups = ITEMS_AND_GROUPS["even"]
    loss = mined_loss(items, groups, mining=mining, distance=distance, swap=swap, form=form)
    assert torch.autograd.gradcheck(loss, images(len(items)).requires_grad_())


@pytest.mark.parametrize("mining", ["random", *MINED])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
def test_collapsed_embeddings_cost_the_margin_and_have_finite_gradients(mining, form, distance, swap):
    items, groups = ITEMS_AND_GROUPS["uneven"]
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        image = images(1).to(dtype).expand(len(items), -1)
        loss = mined_loss(items, groups, mining=mining, distance=distance, swap=swap, form=form)
        value, gradient = with_gradient(loss, image)
        assert value.dtype == torch.float32
        assert value > MARGIN / 4
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()


@pytest.mark.parametrize("mining", ["random", *MINED])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_embeddings_lose_only_their_own_rounding(mining, form, dtype):
    items, groups = ITEMS_AND_GROUPS["uneven"]
    loss = mined_loss(items, groups, mining=mining, form=form)
    image = images(len(items)).to(dtype)
    expected = with_gradient(loss, image.float())
    in_autocast = torch.autocast("cpu", dtype=torch.bfloat16)(loss)
    value, gradient = with_gradient(in_autocast, image)
    torch.testing.assert_close(value, expected[0], check_dtype=False)
    torch.testing.assert_close(gradient.float(), expected[1], atol=1e-3, rtol=2**-7)


@pytest.mark.parametrize("mining", ["random", *MINED])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", ["one item", "nothing but negatives", "batch of one"])
def test_nothing_to_learn_is_a_zero_with_a_gradient(mining, form, case):
    items, groups = ITEMS_AND_GROUPS[case]
    image = images(len(items)).requires_grad_()
    value = mined_loss(items, groups, mining=mining, form=form)(image)
    assert value == 0
    assert (torch.autograd.grad(value, image)[0] == 0).all()


def test_with_the_right_order_and_gaps_no_mining_finds_a_loss():
    items, groups = [0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]
    line = torch.tensor([0.0, 0.0, 1.0, 1.0, 100.0, 100.0, 101.0, 101.0])[:, None]
    for mining in ("random", *MINED):
        assert mined_loss(items, groups, mining=mining, margin=1.0)(line) == 0
        assert mined_loss(items, groups, mining=mining, margin=1.0)(line * 1e-3) > 0


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match=r"loss\.mining: got 'hard', expected one of \('random', 'all'"):
        MinedTripletLoss(loss=TripletSemiPosMarginWithDistanceLoss(), mining="hard")
    with pytest.raises(ValueError, match=r"loss\.per_anchor: got 2, which mining='all' does not read"):
        MinedTripletLoss(loss=TripletSemiPosMarginWithDistanceLoss(), mining="all", per_anchor=2)
    with pytest.raises(ValueError, match=r"loss\.reduction: got 'sum', expected 'mean'"):
        MinedTripletLoss(loss=TripletSemiPosMarginWithDistanceLoss(reduction="sum"))


@pytest.mark.parametrize("mining", MINED)
def test_images_of_one_item_and_view_are_nothing_to_each_other(mining):
    """Two pairs of twins: within a view they stand for one photo, so that one of each twin gives the same loss."""
    items, groups, views = [0, 0, 1, 2], [0, 0, 0, 1], [0, 1, 0, 0]
    loss = MinedTripletLoss(loss=TripletSemiPosMarginWithDistanceLoss(margin=MARGIN), mining=mining)

    def of(rows):
        codes = {name: code[rows] for name, code in identities(items, groups, views=views).items()}
        return loss(image=images(4)[rows], **codes, content_distance=contents(4)[rows][:, rows], seed=0)

    torch.testing.assert_close(of(torch.tensor([0, 1, 2, 3])), of(torch.arange(4).repeat_interleave(2)))
