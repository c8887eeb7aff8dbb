import math

import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch.nn.functional import normalize

from fashionclip.losses.contrastive import ContrastiveLoss

PRODUCTS_AND_TEXTS = {
    "no duplicates": ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    "one product twice": ([0, 1, 0, 3, 4], [0, 1, 2, 3, 4]),
    "one text thrice": ([0, 1, 2, 3, 4], [0, 1, 1, 3, 1]),
    "a chain": ([0, 0, 2, 3, 3], [0, 1, 1, 1, 4]),
    "all the same": ([7, 7, 7, 7, 7], [0, 1, 2, 3, 4]),
    "batch of one": ([3], [9]),
}


def embeddings(size, *, ties=False):
    torch.manual_seed(size)
    image, text = normalize(torch.randn(2, size, 8), dim=2)
    if ties:
        image[:] = text[:] = image[0]
    return image, text


def slow_loss(image, text, items, texts, scale, bias, *, form, multi_positive):
    rows = range(len(items))

    def together(i, j):
        return i == j or (multi_positive and (items[i] == items[j] or texts[i] == texts[j]))

    z = [[scale.exp() * (image[i] * text[j]).sum() for j in rows] for i in rows]
    total = 0
    for i in rows:
        right = [j for j in rows if together(i, j)]
        if form == "sigmoid":
            for j in rows:
                total += torch.log(1 + torch.exp((-1 if j in right else 1) * (z[i][j] + bias)))
        else:
            of_photo, of_text = sum(z[i][j].exp() for j in rows), sum(z[j][i].exp() for j in rows)
            for j in right:
                total -= torch.log(z[i][j].exp() / of_photo) / len(right) / 2
                total -= torch.log(z[j][i].exp() / of_text) / len(right) / 2
    return total / len(items)


def with_gradients(loss, image, text, dtype, *, bias=-1.5):
    """The loss at a scale of 5, and its gradients to photos, texts, log scale and bias."""
    scalars = torch.tensor([math.log(5), bias], dtype=torch.double if dtype == torch.double else torch.float32)
    leaves = [image.to(dtype), text.to(dtype), *scalars]
    for leaf in leaves:
        leaf.requires_grad_()
    value = loss(*leaves)
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    return value, [torch.zeros(()) if gradient is None else gradient for gradient in gradients]


def assert_same(one, other, **tolerance):
    torch.testing.assert_close(one[0], other[0], check_dtype=False, **tolerance)
    torch.testing.assert_close(one[1], other[1], check_dtype=False, **tolerance)


def ours(items, texts, **settings):
    loss = ContrastiveLoss(**settings)
    item_id, text_id = torch.tensor(items), torch.tensor(texts)

    def call(image, text, scale, bias):
        return loss(image=image, text=text, item_id=item_id, text_id=text_id, logit_scale=scale, logit_bias=bias)

    return call


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("multi_positive", [True, False])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("case", PRODUCTS_AND_TEXTS)
def test_loss_and_gradients_equal_the_double_loop(form, multi_positive, ties, case):
    items, texts = PRODUCTS_AND_TEXTS[case]
    settings = {"form": form, "multi_positive": multi_positive}
    pairs = embeddings(len(items), ties=ties)
    expected = with_gradients(
        lambda *leaves: slow_loss(*leaves[:2], items, texts, *leaves[2:], **settings), *pairs, torch.double
    )
    assert_same(with_gradients(ours(items, texts, **settings), *pairs, torch.float32), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("multi_positive", [True, False])
def test_without_duplicates_it_is_open_clips_loss(multi_positive):
    rows, pairs = list(range(40)), embeddings(40)

    def clip_loss(image, text, scale, bias):
        return ClipLoss()(image, text, scale.exp())

    def siglip_loss(image, text, scale, bias):
        return SigLipLoss()(image, text, scale.exp(), bias)

    for form, theirs in (("softmax", clip_loss), ("sigmoid", siglip_loss)):
        mine = ours(rows, rows, form=form, multi_positive=multi_positive)
        assert_same(with_gradients(mine, *pairs, torch.float32), with_gradients(theirs, *pairs, torch.float32))


RIGHT = [[0, 5, 6], [1, 5, -1], [2, -1, 7], [3, 5, 6], [4, -1, -1]]  # names; categories 5; colours and categories 6, 7


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("drawn", [[0, 1, 2, 3, 4], [5, 1, 2, 6, 4], [5, 5, 7, 5, 4], [6, 5, 2, 3, 4]])
def test_a_photo_belongs_to_every_text_that_its_product_has(form, drawn):
    """A double loop over photos and texts; the relation is not symmetric: "shoe" is right for any shoe."""
    items = [0, 1, 2, 3, 4]
    pairs = embeddings(5)

    def slow(image, text, scale, bias):
        z = [[scale.exp() * (image[i] * text[j]).sum() for j in items] for i in items]
        right = [[i == j or drawn[j] in RIGHT[i] for j in items] for i in items]
        total = 0
        for i in items:
            if form == "sigmoid":
                total += sum(torch.log(1 + torch.exp((-1 if right[i][j] else 1) * (z[i][j] + bias))) for j in items)
                continue
            photo, text_ = [z[i][j] for j in items if right[i][j]], [z[j][i] for j in items if right[j][i]]
            for one, all_ in ((photo, z[i]), (text_, [z[j][i] for j in items])):
                total += sum(sum(x.exp() for x in all_).log() - x for x in one) / len(one) / 2
        return total / len(items)

    def mine(image, text, scale, bias):
        return ContrastiveLoss(form=form)(
            image=image,
            text=text,
            item_id=torch.tensor(items),
            text_id=torch.tensor(drawn),
            right_text_id=torch.tensor(RIGHT),
            logit_scale=scale,
            logit_bias=bias,
        )

    expected = with_gradients(slow, *pairs, torch.double)
    assert_same(with_gradients(mine, *pairs, torch.float32), expected, atol=2e-6, rtol=1e-5)


def test_the_sigmoid_form_needs_no_bias():
    mine, pairs = ours([0, 1, 1], [0, 1, 2], form="sigmoid"), embeddings(3)
    scale = torch.tensor(2.0)
    assert mine(*pairs, scale, None) == mine(*pairs, scale, torch.tensor(0.0))


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_bfloat16_embeddings_lose_only_their_own_rounding(form):
    items, texts = [i % 50 for i in range(64)], list(range(64))
    image, text = (side.bfloat16() for side in embeddings(64))
    loss = ours(items, texts, form=form)
    expected = with_gradients(loss, image, text, torch.float32, bias=-10.0)
    in_autocast = torch.autocast("cpu", dtype=torch.bfloat16)(loss)
    value, gradients = with_gradients(in_autocast, image, text, torch.bfloat16, bias=-10.0)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert_same((value, gradients), expected, atol=1e-6, rtol=2**-8)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_the_largest_scale_stays_finite(form):
    image, _ = embeddings(16)
    loss = ours(list(range(16)), list(range(16)), form=form)
    value, gradients = with_gradients(
        lambda x, y, _, bias: loss(x, y, torch.tensor(100.0).log(), bias), image, -image, torch.float32
    )
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"loss\.form: got 'triplet', expected 'softmax' or 'sigmoid'"):
        ContrastiveLoss(form="triplet")
