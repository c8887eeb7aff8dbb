import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.judgement_functions import (
    accuracy,
    auroc,
    average_precision,
    best_threshold,
    calibration_error,
    f1,
)
from fashionclip.metrics.judgement_metrics import JudgementMetrics

KINDS = ("colour", "match", "shuffled")


def judgements(size=60, seed=0):
    """Embeddings (N, D), labels (N,) and kinds (N,): matches lie nearer, shuffled ones farthest."""
    torch.manual_seed(seed)
    image, noise = normalize(torch.randn(2, size, 6), dim=2)
    kind = torch.arange(size) % 3
    text = normalize(noise + torch.tensor([0.6, 0.9, 0.1])[kind][:, None] * image, dim=1)
    return image, text, kind == 1, kind


def measured(*, image, text, label, kind, batches=3, choosing=True, repeated=False, **more):
    metrics = JudgementMetrics(kind=kind, kinds=KINDS, **{"photo": torch.arange(len(label)), **more})
    metrics.choosing = choosing
    places = torch.arange(len(label))
    if repeated:
        places = torch.cat([places, places[:7]])
    for part in places.tensor_split(batches):
        metrics.update(image=image[part], text=text[part], label=label[part], judgement_id=part)
    return metrics, metrics.compute()


@pytest.mark.parametrize("repeated", [False, True])
def test_measures_are_those_of_all_and_of_each_kind_whatever_the_batches(repeated):
    image, text, label, kind = judgements()
    metrics, values = measured(image=image, text=text, label=label, kind=kind, repeated=repeated)
    score = (image * text).sum(1)
    threshold = best_threshold(score, label)
    assert values["judgement/threshold"] == threshold and values["judgement/count"] == 60
    for name, among in (("", label | ~label), ("/colour", label | (kind == 0)), ("/shuffled", label | (kind == 2))):
        some = (score[among], label[among])
        assert values[f"judgement/auroc{name}"] == auroc(*some)
        assert values[f"judgement/average_precision{name}"] == average_precision(*some)
        assert values[f"judgement/accuracy{name}"] == accuracy(*some, threshold=threshold)
        assert values[f"judgement/f1{name}"] == f1(*some, threshold=threshold)
    assert values["judgement/auroc/shuffled"] > values["judgement/auroc/colour"]
    assert "judgement/auroc/match" not in values
    assert metrics.calibration.count.sum() == 60


def test_matches_of_a_kind_are_compared_with_mismatches_of_that_kind_alone():
    image, text, label, kind = judgements()
    beside = torch.where(label, torch.arange(60) // 3 % 2 * 2, kind)  # half of the matches of either kind
    _, values = measured(image=image, text=text, label=label, kind=beside)
    score = (image * text).sum(1)
    for place, name in ((0, "colour"), (2, "shuffled")):
        among = beside == place
        assert label[among].any() and not label[among].all()
        assert values[f"judgement/auroc/{name}"] == auroc(score[among], label[among])
    assert values["judgement/auroc"] == auroc(score, label)


def test_what_texts_alone_give_away_stands_beside_each_figure():
    image, text, label, kind = judgements()
    blind = torch.randn(60)
    _, values = measured(image=image, text=text, label=label, kind=kind, text_only=blind, repeated=True)
    assert values["judgement/text_only_auroc"] == auroc(blind, label)
    for place, name in ((0, "colour"), (2, "shuffled")):
        among = label | (kind == place)
        assert values[f"judgement/text_only_auroc/{name}"] == auroc(blind[among], label[among])
    _, values = measured(image=image, text=text, label=label, kind=kind)
    assert not any("text_only" in name for name in values)


def test_a_photo_is_shown_once_with_the_judgement_that_is_most_wrong():
    image, text, label, kind = judgements()
    photo = torch.arange(60) // 5
    metrics, _ = measured(image=image, text=text, label=label, kind=kind, photo=photo)
    kept = metrics.offenders
    wrong = torch.where(label, -1.0, 1.0) * (metrics.scale * (image * text).sum(1) + metrics.bias)
    worst = [max(range(5 * p, 5 * p + 5), key=lambda n: wrong[n]) for p in range(12)]
    assert sorted(kept.judgement_id.tolist()) == sorted(worst) and len(photo[kept.judgement_id].unique()) == 12


def test_what_is_chosen_on_one_pass_is_used_on_the_next_and_travels_in_the_state():
    image, text, label, kind = judgements()
    chosen, values = measured(image=image, text=text, label=label, kind=kind)
    other = JudgementMetrics(kind=kind, kinds=KINDS, photo=torch.arange(60))
    other.load_state_dict(chosen.state_dict())
    image, text, label, kind = judgements(seed=1)
    other.update(image=image, text=text, label=label, judgement_id=torch.arange(60))
    used = other.compute()
    assert used["judgement/threshold"] == values["judgement/threshold"] != best_threshold((image * text).sum(1), label)
    probability = (chosen.scale * (image * text).sum(1) + chosen.bias).sigmoid()
    torch.testing.assert_close(used["judgement/calibration_error"], calibration_error(probability, label))
    chosen.reset()
    assert chosen.threshold == values["judgement/threshold"]


def test_a_collapsed_model_is_at_chance():
    image = torch.ones(60, 6) / 6**0.5
    _, values = measured(image=image, text=image, label=torch.arange(60) % 2 == 1, kind=torch.arange(60) % 2)
    for name in ("auroc", "accuracy", "average_precision"):
        assert values[f"judgement/{name}"] == 0.5
    assert values["judgement/f1"] <= 0.5


@pytest.mark.parametrize("repeated", [False, True])
def test_the_worst_of_either_label_are_kept_by_the_odds_that_a_slow_sort_gives(repeated):
    image, text, label, kind = judgements()
    metrics, _ = measured(image=image, text=text, label=label, kind=kind, repeated=repeated)
    kept = metrics.offenders
    score = (image * text).sum(1).tolist()
    for wanted, wrong in ((False, lambda n: -score[n]), (True, lambda n: score[n])):  # the scale is above 0
        worst = sorted((n for n in range(60) if bool(label[n]) == wanted), key=wrong)[:8]
        assert kept.judgement_id[kept.label == wanted].tolist() == worst
    assert len(kept.label) == 16 and kept.judgement_id.device.type == "cpu"
    assert (kept.verdict == (torch.tensor(score)[kept.judgement_id] >= metrics.threshold)).all()
    expected = (metrics.scale * torch.tensor(score) + metrics.bias).sigmoid()[kept.judgement_id]
    torch.testing.assert_close(kept.probability, expected)


def test_probabilities_that_round_to_one_still_have_an_order():
    score = torch.tensor([0.5, 0.9, 0.7, 0.1])
    metrics = JudgementMetrics(kind=torch.tensor([0, 0, 0, 1]), kinds=KINDS, photo=torch.arange(4))
    metrics.scale.fill_(1000.0)
    side = torch.stack([score, (1 - score**2).sqrt()], dim=1)
    label = torch.tensor([False, False, False, True])
    metrics.update(image=side, text=torch.tensor([[1.0, 0.0]] * 4), label=label, judgement_id=torch.arange(4))
    metrics.compute()
    assert metrics.offenders.judgement_id.tolist() == [1, 2, 0, 3]
    assert metrics.offenders.probability[:3].tolist() == [1.0, 1.0, 1.0]


def test_intervals_hold_the_auroc_of_many_judgements_and_know_of_photos_with_several():
    image, text, label, kind = judgements(size=6000, seed=1)
    score = (image * text).sum(1)
    truth = auroc(score, label).item()
    held, width = 0, {}
    for start in range(0, 6000, 150):
        part = slice(start, start + 150)
        given = {"image": image[part], "text": text[part], "label": label[part], "kind": kind[part]}
        metrics, values = measured(**given, batches=1)
        found = metrics.intervals(draws=40)
        low, high = found["judgement/auroc"]
        held += low <= truth <= high
        assert set(values) - set(found) == {"judgement/threshold", "judgement/count"}
    assert held >= 36, "of 40"
    thrice = torch.arange(50).repeat_interleave(3)
    alike = {key: value[thrice] for key, value in given.items()}  # each judgement three times
    for name, photo in (("apart", torch.arange(150)), ("three a photo", thrice)):
        low, high = measured(**alike, photo=photo, batches=1)[0].intervals(draws=200)["judgement/auroc/colour"]
        width[name] = high - low
    assert width["three a photo"] > 1.3 * width["apart"]


def test_a_measure_of_ones_own_is_given_the_threshold_if_it_asks_for_it():
    image, text, label, kind = judgements()
    functions = {
        "recall": lambda score, label, threshold: (score[label] >= threshold).float().mean(),
        "gap": lambda score, label: score[label].mean() - score[~label].mean(),
    }
    metrics, values = measured(image=image, text=text, label=label, kind=kind, functions=functions)
    score = (image * text).sum(1)
    assert values["judgement/recall"] == (score[label] >= metrics.threshold).float().mean()
    assert values["judgement/gap/colour"] == pytest.approx((score[label].mean() - score[kind == 0].mean()).item())
    assert "judgement/auroc" not in values and set(metrics.intervals(draws=10)) >= {"judgement/recall", "judgement/gap"}
