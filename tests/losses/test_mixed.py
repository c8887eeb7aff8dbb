import pytest
import torch
from torch import nn

from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.losses.mixed import MixedLoss
from fashionclip.losses.protocol import LogitLoss


class Length(nn.Module):
    def forward(self, *, image):
        return image.norm()


def test_it_is_the_weighted_sum_and_the_scale_goes_where_it_is_taken():
    torch.manual_seed(0)
    pairs = {
        "image": torch.randn(4, 3),
        "text": torch.randn(4, 3),
        "item_id": torch.arange(4),
        "text_id": torch.arange(4),
    }
    contrastive, scale = ContrastiveLoss(), {"logit_scale": torch.tensor(2.0), "logit_bias": None}
    mixed = MixedLoss(parts={"a": contrastive, "b": Length()}, weights={"a": 0.5, "b": 2.0})
    image = torch.randn(2, 3)
    value = mixed(parts={"a": pairs, "b": {"image": image}}, **scale)
    torch.testing.assert_close(value, 0.5 * contrastive(**pairs, **scale) + 2 * image.norm())
    assert isinstance(mixed, LogitLoss) and not mixed.biased
    assert not isinstance(MixedLoss(parts={"b": Length()}, weights={"b": 1}), LogitLoss)
    assert MixedLoss(parts={"a": ContrastiveLoss(form="sigmoid")}, weights={"a": 1}).biased


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 1.0, "c": 1.0}])
def test_weights_are_for_each_part_and_above_0(weights):
    with pytest.raises(ValueError, match=r"loss.weights: got .*, expected a weight above 0 for each of \['a', 'b'\]"):
        MixedLoss(parts={"a": Length(), "b": Length()}, weights=weights)
