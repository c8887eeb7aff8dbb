import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import normalize

from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss

DISTANCES = ["euclidean", "squared", "cosine"]
FORMS = ["ordered", "edit"]


def triplets(size=9, dtype=torch.double):
    """Anchor, positive, negative, semi-positive (B, D) and semi-positive distance (B,), with hinges on either side."""
    torch.manual_seed(size)
    return [*normalize(torch.randn(4, size, 5, dtype=dtype), dim=2), torch.rand(size, dtype=dtype)]


def arguments(form, a, p, n, q, s):
    return (a, p, n, s, q) if form == "ordered" else (a, p, n, s)


def slow_distance(name, x, y):
    if name == "cosine":
        x, y = x / sum(u * u for u in x) ** 0.5, y / sum(u * u for u in y) ** 0.5
        return 1 - sum(u * v for u, v in zip(x, y, strict=True))
    squared = sum((u - v) ** 2 for u, v in zip(x, y, strict=True))
    return squared if name == "squared" else squared**0.5


def slow_loss(a, p, n, q, s, *, form, distance, margin, swap, reduction, semipos_share):
    losses = []
    for i in range(len(a)):
        ap, aq, an = (slow_distance(distance, a[i], x[i]) for x in (p, q, n))
        if swap:
            an = min(an, slow_distance(distance, p[i], n[i]))
        if swap and form == "ordered":
            an = min(an, slow_distance(distance, q[i], n[i]))
        if form == "edit":
            losses.append((ap + s[i] - an + margin).clamp(min=0))
        else:
            between = margin * semipos_share * s[i]
            first, second = ap - aq + between, aq - an + margin - between
            losses.append(first.clamp(min=0) + second.clamp(min=0))
    return {"mean": sum(losses) / len(losses), "sum": sum(losses), "none": torch.stack(losses)}[reduction]


def with_gradients(loss, *leaves):
    """The loss of detached copies of the leaves, and its gradients, where each triplet's loss weighs differently."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    value = loss(*leaves)
    weight = torch.arange(1.0, value.numel() + 1, dtype=value.dtype).view_as(value)
    gradients = torch.autograd.grad((weight * value).sum(), leaves, allow_unused=True)
    return value, [torch.zeros(()) if gradient is None else gradient for gradient in gradients]


def assert_same(one, other, **tolerance):
    torch.testing.assert_close(one[0], other[0], check_dtype=False, **tolerance)
    torch.testing.assert_close(one[1], other[1], check_dtype=False, **tolerance)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("semipos_share", [0.5, 1.0])
def test_loss_and_gradients_equal_the_loop(form, distance, swap, reduction, semipos_share):
    settings = {"margin": 0.4, "swap": swap, "reduction": reduction, "form": form}
    read = {"semipos_share": semipos_share} if form == "ordered" else {}
    loss = TripletSemiPosMarginWithDistanceLoss(distance_function=distance, **settings, **read)
    settings |= {"distance": distance, "semipos_share": semipos_share}
    expected = with_gradients(lambda *leaves: slow_loss(*leaves, **settings), *triplets())
    assert_same(with_gradients(lambda *leaves: loss(*arguments(form, *leaves)), *triplets()), expected)
    single = with_gradients(lambda *leaves: loss(*arguments(form, *leaves)), *(x.float() for x in triplets()))
    assert single[0].dtype == torch.float32
    assert_same(single, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_triplets_of_these_tests_fall_on_both_sides_of_the_hinge(form):
    loss = TripletSemiPosMarginWithDistanceLoss(form=form, margin=0.4, reduction="none")
    values = loss(*arguments(form, *triplets(40)))
    assert 0 < (values == 0).sum() < 40


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
def test_gradients_equal_finite_differences(form, distance, swap):
    loss = TripletSemiPosMarginWithDistanceLoss(distance_function=distance, swap=swap, form=form, margin=0.4)
    leaves = [leaf.requires_grad_() for leaf in triplets(4)]
    assert torch.autograd.gradcheck(lambda *given: loss(*arguments(form, *given)), leaves)


THEIRS = {
    "euclidean": lambda x, y: F.pairwise_distance(x, y, eps=0.0),
    "squared": lambda x, y: F.pairwise_distance(x, y, eps=0.0) ** 2,
    "cosine": lambda x, y: 1 - F.cosine_similarity(x, y),
}


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("own_function", [False, True])
def test_without_semipositives_edit_is_torchs_triplet_loss(distance, swap, reduction, own_function):
    settings = {"margin": 0.7, "swap": swap, "reduction": reduction}
    torchs = nn.TripletMarginWithDistanceLoss(distance_function=THEIRS[distance], **settings)
    function = THEIRS[distance] if own_function else distance
    ours = TripletSemiPosMarginWithDistanceLoss(distance_function=function, form="edit", **settings)
    a, p, n, _, _ = triplets(30)
    expected = with_gradients(torchs, a, p, n)
    assert_same(with_gradients(ours, a, p, n), expected)
    assert_same(with_gradients(lambda *leaves: ours(*leaves, semipos_distance=torch.zeros(30)), a, p, n), expected)


def test_its_default_is_torchs_default():
    a, p, n, _, _ = triplets(30)
    ours = TripletSemiPosMarginWithDistanceLoss(form="edit")
    torch.testing.assert_close(ours(a, p, n), nn.TripletMarginWithDistanceLoss()(a, p, n), atol=1e-5, rtol=0)


def test_the_source_calls_it_with_semipositives_in_the_positives_place():
    criterion = TripletSemiPosMarginWithDistanceLoss(form="edit", margin=1.0)
    anchor, positive, negative = torch.tensor([[0.0, 0.0]] * 2), torch.tensor([[0.3, 0.4]] * 2), torch.ones(2, 2)
    semipos = torch.tensor([0.0, 0.25], dtype=torch.double)  # of a row of `hf/`: 0 with a positive, else its distance
    loss = criterion(anchor, positive, negative, semipos)
    torch.testing.assert_close(loss, torch.tensor(0.5 + 0.125 - 2**0.5 + 1.0))


def test_sign_of_edit_a_less_similar_positive_needs_a_larger_gap():
    loss = TripletSemiPosMarginWithDistanceLoss(form="edit", margin=0.5)
    ap, an = torch.full((5,), 0.3), torch.full((5,), 1.0)
    values = loss.from_distances(ap, an, semipos_distance=torch.tensor([0.0, 0.1, 0.3, 0.5, 1.0]))
    torch.testing.assert_close(values, torch.tensor([0.0, 0.0, 0.1, 0.3, 0.8]))
    gap = values + an - ap  # where the loss is active, the gap at which it would be 0
    assert gap[2] < gap[3] < gap[4]


def test_sign_of_ordered_graded_gaps_in_the_right_order_cost_nothing():
    margin, s = 0.8, torch.tensor([0.0, 0.1, 0.5, 1.0])
    loss = TripletSemiPosMarginWithDistanceLoss(form="ordered", margin=margin, semipos_share=1.0)
    ap = torch.full((4,), 0.1)
    aq = ap + margin * s + 0.01
    an = aq + margin * (1 - s) + 0.01
    assert (loss.from_distances(ap, an, aq, s) == 0).all()
    torch.testing.assert_close(loss.from_distances(ap, an, aq - 0.21, s), torch.full((4,), 0.2))
    torch.testing.assert_close(loss.from_distances(ap, an, aq + 0.21, s), torch.full((4,), 0.2))
    assert (loss.from_distances(aq[1:], an[1:], ap[1:], s[1:]) > 0).all()  # positive and semi-positive exchanged
    assert (loss.from_distances(ap, aq, an, s)[:3] > 0).all()  # semi-positive and negative exchanged


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_of_a_less_similar_semipositive_ordered_asks_more_distance_from_the_positive_and_less_from_the_negative(share):
    loss = TripletSemiPosMarginWithDistanceLoss(form="ordered", margin=1.0, semipos_share=share)
    s, far_away = torch.tensor([0.1, 0.4, 0.9]), torch.full((3,), 9.0)
    aq = torch.full((3,), 0.5)
    before_semipositive = loss.from_distances(aq, far_away, aq, s)
    before_negative = loss.from_distances(-far_away, aq, aq, s)
    torch.testing.assert_close(before_semipositive, share * s)
    torch.testing.assert_close(before_negative, 1 - share * s)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("case", ["apart", "a = p", "a = p = q = n", "all zero"])
def test_low_precision_and_equal_embeddings_have_finite_gradients(form, distance, swap, dtype, case):
    a, p, n, q, s = triplets(6, dtype=torch.float32)
    if case == "a = p":
        p = a
    elif case != "apart":
        a = p = n = q = a[:1].expand(6, -1) * (case != "all zero")
    loss = TripletSemiPosMarginWithDistanceLoss(distance_function=distance, swap=swap, form=form)
    cast = [leaf.to(dtype) for leaf in (a, p, n, q, s)]

    def in_autocast(*leaves):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
            return loss(*arguments(form, *leaves))

    value, gradients = with_gradients(in_autocast, *cast)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    if case == "apart":
        expected = with_gradients(in_autocast, *(leaf.float() for leaf in cast))
        assert_same((value, gradients), expected, atol=1e-3, rtol=2**-7)
        torch.testing.assert_close(value, expected[0], atol=0, rtol=0)  # only the gradients are rounded, at the end


def test_a_function_of_ones_own_sees_float32_and_no_autocast():
    def distance(x, y):
        assert x.dtype == y.dtype == torch.float32
        return 1 - torch.bmm(x[:, None], y[:, :, None])[:, 0, 0]  # bfloat16 in autocast

    a, p, n, _, _ = (leaf.bfloat16() for leaf in triplets())
    loss = TripletSemiPosMarginWithDistanceLoss(distance_function=distance, form="edit")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(a, p, n) == loss(a, p, n).float()
        assert loss(a, p, n).dtype == torch.float32


def test_small_cosine_distances_keep_their_digits():
    angle = torch.tensor([1e-5, 1e-4, 1e-3])
    x, y = torch.tensor([[1.0, 0.0]] * 3), torch.stack([angle.cos(), angle.sin()], dim=1)
    loss = TripletSemiPosMarginWithDistanceLoss(distance_function="cosine")
    torch.testing.assert_close(loss.distance(x, y), angle**2 / 2, atol=0, rtol=1e-3)  # 1 - cos would give 0
    torch.testing.assert_close(loss.matrix(torch.cat([x[:1], y]))[0, 1:], angle**2 / 2, atol=0, rtol=1e-3)


def sqrt_without_care(x, y):
    return (x - y).square().sum(1).sqrt()


@pytest.mark.parametrize("distance", [*DISTANCES, sqrt_without_care])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_the_matrix_holds_every_pair_and_its_gradient(distance, size):
    loss = TripletSemiPosMarginWithDistanceLoss(distance_function=distance)
    torch.manual_seed(0)
    x, weight = torch.randn(size, 5), torch.rand(size, size)
    pairs = list(itertools.permutations(range(size), 2))

    def by_pairs(x):
        return sum((weight[i, j] * loss.distance(x[i : i + 1], x[j : j + 1])[0] for i, j in pairs), 0 * x.sum())

    def by_matrix(x):
        off_diagonal = 1 - torch.eye(size)
        return (weight * off_diagonal * loss.matrix(x)).sum()

    assert loss.matrix(x).diagonal().abs().max() == 0
    assert_same(with_gradients(by_matrix, x), with_gradients(by_pairs, x))


def test_mistakes_are_refused():
    make, (a, p, n, q, s) = TripletSemiPosMarginWithDistanceLoss, triplets()
    for settings, message in (
        ({"form": "sorted"}, r"form: got 'sorted', expected one of \('ordered', 'edit'\)"),
        ({"distance_function": "l2"}, "distance_function: got 'l2', expected one of .* or a function"),
        ({"reduction": "max"}, "reduction: got 'max'"),
        ({"margin": 0.0}, "margin: got 0.0, expected more than 0"),
        ({"semipos_share": 0.0}, r"semipos_share: got 0.0, expected a share in \(0, 1\]"),
        ({"semipos_share": 0.5, "form": "edit"}, r"semipos_share: got 0.5, which form='edit' does not read"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**settings)
    with pytest.raises(ValueError, match="form='ordered' needs both"):
        make(form="ordered")(a, p, n)
    with pytest.raises(ValueError, match="form='ordered' needs both"):
        make(form="ordered")(a, p, n, semipositive=q)
    with pytest.raises(ValueError, match=r"form='ordered' needs both.* use form='edit'"):
        make(form="ordered")(a, p, n, s)
    with pytest.raises(ValueError, match="form='edit' takes none"):
        make(form="edit")(a, p, n, s, q)
    with pytest.raises(ValueError, match=r"semipos_distance: got \(9, 1\), expected \(9,\)"):
        make(form="edit")(a, p, n, semipos_distance=s[:, None])
