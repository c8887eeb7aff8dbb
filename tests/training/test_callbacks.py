import warnings
from types import SimpleNamespace

import pytest
import torch

from fashionclip.training.callbacks import CollapseWarning


def validated(spread):
    values = {} if spread is None else {"val/spread": torch.tensor(spread)}
    return SimpleNamespace(callback_metrics=values, is_global_zero=True)


def test_a_collapse_is_named_once_with_a_remedy():
    watch = CollapseWarning(spread=0.01)
    with pytest.warns(UserWarning, match=r"collapsed: val/spread is 0\.0010, expected at least 0\.01.*Lower model\.lr"):
        watch.on_validation_end(validated(0.001), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.on_validation_end(validated(0.0), None)


@pytest.mark.parametrize("spread", [None, 0.01, 0.9, float("nan")])
def test_there_is_no_warning_otherwise(spread):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CollapseWarning(spread=0.01).on_validation_end(validated(spread), None)
