import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.judged import JudgementMetrics
from fashionclip.metrics.judgement import accuracy, auroc, average_precision, best_threshold, calibration_error, f1

KINDS = ("colour", "match", "shuffled")


def judgements(size=60, seed=0):
    """Embeddings (N, D), labels (N,) and kinds (N,): matches lie nearer, shuffled ones farthest."""
    torch.manual_seed(seed)
    image, noise = normalize(torch.randn(2, size, 6), dim=2)
    kind = torch.arange(size) % 3
    text = normalize(noise + torch.tensor([0.6, 0.9, 0.1])[kind][:, None] * image, dim=1)
    return image, text, kind == 1, kind


def measured(*, image, text, label, kind, batches=3, choosing=True, repeated=False):
    metrics = JudgementMetrics(kind=kind, kinds=KINDS)
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


def test_what_is_chosen_on_one_pass_is_used_on_the_next_and_travels_in_the_state():
    image, text, label, kind = judgements()
    chosen, values = measured(image=image, text=text, label=label, kind=kind)
    other = JudgementMetrics(kind=kind, kinds=KINDS)
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
    _, values = measured(image=image, text=image, label=torch.arange(60) % 2 == 0, kind=torch.arange(60) % 2)
    for name in ("auroc", "accuracy", "average_precision"):
        assert values[f"judgement/{name}"] == 0.5
    assert values["judgement/f1"] <= 0.5
