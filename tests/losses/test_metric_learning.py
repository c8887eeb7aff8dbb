from functools import partial

import pytest
import torch
from pytorch_metric_learning import losses, miners, reducers
from torch.nn.functional import normalize

from fashionclip.errors import InputError
from fashionclip.losses.metric_learning import MetricLearningLoss

ITEMS = torch.tensor([30, 7, 7, 30, 12, 12, 7])  # codes of a split have gaps, and labels of the library none
LABELS = torch.tensor([2, 0, 0, 2, 1, 1, 0])
SIZE = 4


def images():
    return normalize(torch.randn(len(ITEMS), SIZE, generator=torch.Generator().manual_seed(0)), dim=1)


def make(target, miner=None, **settings):
    torch.manual_seed(1)  # of proxies
    return MetricLearningLoss(make=partial(target, **settings), miner=miner, items=ITEMS, embedding_size=SIZE)


@pytest.mark.parametrize("miner", [None, miners.MultiSimilarityMiner(epsilon=0.3)])
@pytest.mark.parametrize(
    ("target", "settings", "sizes"),
    [
        (losses.SupConLoss, {"temperature": 0.2}, {}),
        (losses.MultiSimilarityLoss, {"alpha": 1.0}, {}),
        (losses.CircleLoss, {"gamma": 8}, {}),
        (losses.ProxyAnchorLoss, {"alpha": 4}, {"num_classes": 3, "embedding_size": SIZE}),
        (losses.SubCenterArcFaceLoss, {}, {"num_classes": 3, "embedding_size": SIZE}),
    ],
)
def test_value_and_gradients_are_the_librarys(target, settings, sizes, miner):
    ours, image = make(target, miner, **settings), images()
    torch.manual_seed(1)
    theirs = target(**settings, **sizes)
    mine, other = image.clone().requires_grad_(), image.clone().requires_grad_()
    value = ours(image=mine, item_id=ITEMS, seed=0, group_id=ITEMS, content_distance=None)
    expected = theirs(other, LABELS, None if miner is None else miner(other, LABELS))
    value.backward()
    expected.backward()
    assert value > 0
    torch.testing.assert_close((value, mine.grad), (expected, other.grad))
    for parameter, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ours(image=image, item_id=ITEMS, seed=0), value, atol=0, rtol=0)


def test_sizes_that_are_given_stay_and_what_is_tried_leaves_no_trace():
    assert make(losses.ProxyAnchorLoss, num_classes=9).loss.proxies.shape == (9, SIZE)
    memory = make(losses.CrossBatchMemory, loss=losses.SupConLoss(), memory_size=20)
    assert memory.loss.queue_idx == 0 and memory.loss.embedding_memory.shape == (20, SIZE)


def test_what_is_drawn_is_by_the_seed_alone():
    loss = make(losses.TripletMarginLoss, miners.UniformHistogramMiner(num_bins=3, pos_per_bin=2, neg_per_bin=2))
    values = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        expected = torch.rand(1)
        torch.manual_seed(number)
        values.append(float(loss(image=images(), item_id=ITEMS, seed=seed)))
        assert torch.equal(torch.rand(1), expected), "chance outside goes on as it was"
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("target", [losses.ProxyAnchorLoss, losses.SupConLoss])
def test_nothing_to_learn_is_a_zero_with_gradients_of_all_that_is_learned(target):
    class Nothing(miners.BaseMiner):
        def mine(self, embeddings, labels, ref_emb, ref_labels):
            return [torch.empty(0, dtype=torch.long)] * 4

    loss, image = make(target, Nothing()), images().requires_grad_()
    value = loss(image=image, item_id=ITEMS, seed=0)
    value.backward()
    assert image.grad is not None and all(parameter.grad is not None for parameter in loss.parameters())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (losses.VICRegLoss, "VICRegLoss does not give a loss of embeddings and labels"),
        (
            losses.RankedListLoss,
            r"RankedListLoss .*missing 2 required .*'margin' and 'Tn'.*\+loss\.function\.KEY=VALUE",
        ),
        (torch.nn.CrossEntropyLoss, "CrossEntropyLoss does not give"),
        (torch.nn.functional.mse_loss, "mse_loss does not give"),
        (lambda: None, "does not give"),
        (losses.SupConLoss(), "^loss.function: SupConLoss does not give"),
    ],
)
def test_what_is_no_loss_of_embeddings_and_labels_is_refused(target, message):
    with pytest.raises(InputError, match=message):
        make(target)


def test_settings_and_reducers_that_give_no_number_are_refused():
    with pytest.raises(InputError, match=r"SupConLoss does not give .*unexpected keyword argument 'heat'"):
        make(losses.SupConLoss, heat=1)
    with pytest.raises(InputError, match="SupConLoss with CircleLoss as miner does not give"):
        make(losses.SupConLoss, losses.CircleLoss())
    with pytest.raises(InputError, match="SupConLoss does not give"):
        make(losses.SupConLoss, reducer=reducers.DoNothingReducer())
