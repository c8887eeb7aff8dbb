import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.losses.mining import MinedTripletLoss
from fashionclip.losses.mixed import MixedLoss
from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss
from fashionclip.training.callbacks import CollapseWarning


def validated(spread):
    values = {} if spread is None else {"val/spread": torch.tensor(spread)}
    return SimpleNamespace(callback_metrics=values, is_global_zero=True)


def trained_with(loss):
    return nn.Sequential(loss)


TRIPLETS = MinedTripletLoss(mining="all", loss=TripletSemiPosMarginWithDistanceLoss())
PAIRS = ContrastiveLoss()
MIXED = MixedLoss(parts={"pairs": PAIRS, "triplets": TRIPLETS}, weights={"pairs": 1.0, "triplets": 1.0})


@pytest.mark.parametrize(("loss", "mined"), [(TRIPLETS, True), (MIXED, True), (PAIRS, False)])
def test_a_collapse_is_named_once_with_a_remedy_that_the_loss_has(loss, mined):
    watch = CollapseWarning(spread=0.01)
    message = r"collapsed: val/spread is 0\.0010, expected at least 0\.01.*Lower model\.lr"
    with pytest.warns(UserWarning, match=message) as said:
        watch.on_validation_end(validated(0.001), trained_with(loss))
    assert ("loss.mining" in str(said[0].message)) == mined
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.on_validation_end(validated(0.0), trained_with(loss))


@pytest.mark.parametrize("spread", [None, 0.01, 0.9, float("nan")])
def test_there_is_no_warning_otherwise(spread):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CollapseWarning(spread=0.01).on_validation_end(validated(spread), None)
