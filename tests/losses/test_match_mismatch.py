import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_embedding_loss, normalize

from fashionclip.losses.match_mismatch import READ, MatchMismatchLoss

FORMS = ["bce", "focal", "margin"]
WEIGHTS = ("match_weight", "mismatch_weight")
SETTINGS = {"scale": 6.0, "bias": -1.5, "gamma": 2.0, "margin": 0.1, "match_weight": 1.0, "mismatch_weight": 1.0}


def make(form, **changes):
    settings = SETTINGS | changes
    return MatchMismatchLoss(
        form=form, **{name: settings[name] for name in settings if name in (*READ[form], *WEIGHTS)}
    )


def judgements(size=12, *, dtype=torch.double, ties=True):
    """Photos and texts (B, D), and labels (B,); with ties also equal, opposite and repeated ones."""
    torch.manual_seed(size)
    image, text = normalize(torch.randn(2, size, 4, dtype=torch.double), dim=2)
    label = torch.rand(size) < 0.5
    if ties and size >= 6:
        text[0], text[1], text[2] = image[0], -image[1], image[2]
        label[:3] = torch.tensor([True, True, False])
        image[3:5], text[3:5], label[3:5] = image[5], text[5], label[5]
    return image.to(dtype), text.to(dtype), label


def slow_loss(image, text, label, scale, bias, *, form, gamma, margin, match_weight, mismatch_weight):
    total = weights = 0.0
    for x, y, match in zip(image, text, label.tolist(), strict=True):
        cosine = sum(u * v for u, v in zip(x, y, strict=True))
        if form == "margin":
            loss = 1 - cosine if match else (cosine - margin).clamp(min=0)
        else:
            p = 1 / (1 + torch.exp(-(scale.exp() * cosine + bias)))
            right = p if match else 1 - p
            loss = -torch.log(right) * ((1 - right) ** gamma if form == "focal" else 1)
        weight = match_weight if match else mismatch_weight
        total, weights = total + weight * loss, weights + weight
    return total / weights


def with_gradients(loss, *leaves):
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    value = loss(*leaves)
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    return value, [torch.zeros(()) if gradient is None else gradient for gradient in gradients]


def assert_same(one, other, **tolerance):
    torch.testing.assert_close(one[0], other[0], check_dtype=False, **tolerance)
    torch.testing.assert_close(one[1], other[1], check_dtype=False, **tolerance)


def ours(loss, label):
    """The loss as a function of photos, texts, log scale and bias."""

    def call(image, text, scale, bias):
        if loss.form == "margin":
            return loss(image=image, text=text, label=label)
        parameters = {"log_scale": scale, "bias": bias}
        return torch.func.functional_call(loss, parameters, kwargs={"image": image, "text": text, "label": label})

    return call


def scalars(dtype=torch.double):
    return torch.tensor(math.log(6.0), dtype=dtype), torch.tensor(-1.5, dtype=dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 0.5)])
@pytest.mark.parametrize("size", [1, 2, 12])
def test_loss_and_gradients_equal_the_loop(form, weights, size):
    image, text, label = judgements(size)
    settings = {"gamma": 2.0, "margin": 0.1, "match_weight": weights[0], "mismatch_weight": weights[1]}
    loss = make(form, **settings)
    expected = with_gradients(
        lambda x, y, scale, bias: slow_loss(x, y, label, scale, bias, form=form, **settings), image, text, *scalars()
    )
    assert_same(with_gradients(ours(loss, label), image, text, *scalars()), expected, atol=1e-10, rtol=1e-8)
    single = with_gradients(ours(loss, label), image.float(), text.float(), *scalars(torch.float32))
    assert single[0].dtype == torch.float32
    assert_same(single, expected, atol=1e-6, rtol=1e-5)


def test_bce_is_torchs():
    image, text, label = judgements(40)
    logit = 6.0 * (image * text).sum(1) - 1.5
    expected = binary_cross_entropy_with_logits(logit, label.double())
    torch.testing.assert_close(make("bce")(image=image, text=text, label=label), expected, rtol=1e-6, atol=1e-7)


def test_margin_is_torchs():
    image, text, label = judgements(40)
    expected = cosine_embedding_loss(image, text, label * 2.0 - 1.0, margin=0.1)
    torch.testing.assert_close(make("margin")(image=image, text=text, label=label), expected, rtol=1e-6, atol=1e-7)


def test_focal_without_gamma_is_bce_and_with_it_easy_judgements_count_less():
    image, text, label = judgements(40)
    given = {"image": image, "text": text, "label": label}
    torch.testing.assert_close(make("focal", gamma=0.0)(**given), make("bce")(**given))
    cosine, match = torch.tensor([-0.9, 0.0, 0.9]), torch.ones(3, dtype=torch.bool)
    ratio = make("focal").of_cosines(cosine, match) / make("bce").of_cosines(cosine, match)
    assert ratio[0] > ratio[1] > ratio[2] > 0


@pytest.mark.parametrize("form", FORMS)
def test_what_matches_is_pulled_and_what_does_not_is_pushed(form):
    loss = make(form)
    cosine = torch.tensor([0.5, 0.5], requires_grad=True)
    loss.of_cosines(cosine, torch.tensor([True, False])).sum().backward()
    assert cosine.grad[0] < 0 < cosine.grad[1]


@pytest.mark.parametrize("form", FORMS)
def test_without_judgements_the_loss_is_zero_with_a_graph(form):
    loss = make(form)
    image = torch.empty(0, 4, requires_grad=True)
    value = loss(image=image, text=image, label=torch.empty(0, dtype=torch.bool))
    value.backward()
    assert value == 0 and image.grad is not None
    assert all(parameter.grad == 0 for parameter in loss.parameters())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("only", [True, False])
def test_of_one_label_alone_its_weight_changes_nothing(form, only):
    image, text, _ = judgements(8)
    label = torch.full((8,), only)
    given = {"image": image, "text": text, "label": label}
    torch.testing.assert_close(make(form, match_weight=7.0, mismatch_weight=0.2)(**given), make(form)(**given))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_embeddings_lose_only_their_own_rounding(form, dtype):
    image, text, label = judgements(64, dtype=dtype)
    loss = ours(make(form), label)
    expected = with_gradients(loss, image.float(), text.float(), *scalars(torch.float32))
    in_autocast = torch.autocast("cpu", dtype=torch.bfloat16)(loss)
    value, gradients = with_gradients(in_autocast, image, text, *scalars(torch.float32))
    assert value.dtype == torch.float32
    assert_same((value, gradients), expected, atol=1e-6, rtol=2**-7)
    torch.testing.assert_close(value, expected[0], atol=0, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_surest_right_and_wrong_stay_finite(form, gamma):
    image = normalize(torch.randn(4, 3), dim=1)
    label = torch.tensor([True, False, True, False])
    text = torch.stack([image[0], image[1], -image[2], -image[3]])
    loss = make(form, scale=1000.0, bias=0.0, gamma=gamma)
    image.requires_grad_()
    value = loss(image=image, text=text, label=label)
    value.backward()
    assert value.isfinite() and image.grad.isfinite().all()
    assert all(parameter.grad.isfinite() for parameter in loss.parameters())


def test_scale_and_bias_are_learned_but_for_the_margin():
    assert {name for name, _ in make("bce").named_parameters()} == {"log_scale", "bias"}
    assert not list(make("margin").parameters())
    torch.testing.assert_close(make("bce").logit(torch.tensor([0.5])), torch.tensor([1.5]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "hinge"}, r"loss\.form: got 'hinge', expected one of"),
        ({"scale": 0.0}, r"loss\.scale: got 0\.0, expected more than 0"),
        ({"form": "focal", "gamma": -1.0}, r"loss\.gamma: got -1\.0, expected 0 or more"),
        ({"form": "margin", "margin": 2.0}, r"loss\.margin: got 2\.0, expected -1 to 1"),
        ({"gamma": 2.0}, r"loss\.gamma: got 2\.0, which form='bce' does not read\. Leave it out"),
        ({"margin": 0.5}, r"loss\.margin: got 0\.5, which form='bce' does not read"),
        ({"form": "margin", "scale": 5.0}, r"loss\.scale: got 5\.0, which form='margin' does not read"),
        ({"match_weight": 0.0}, r"loss\.match_weight: got 0\.0, expected more than 0"),
    ],
)
def test_mistakes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MatchMismatchLoss(**({"form": "bce"} | changes))
