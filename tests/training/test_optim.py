import pytest
import torch
from torch import nn

from fashionclip.models.backbone import load_backbone
from fashionclip.training.optim import parameter_groups, plateau, trained_share, warmup_cosine


def test_norms_biases_scales_and_positions_do_not_decay():
    backbone = load_backbone(name="fashionclip-tiny", freeze=["visual.conv1"])
    decaying, still = parameter_groups(backbone, weight_decay=0.1)
    assert (decaying["weight_decay"], still["weight_decay"]) == (0.1, 0.0)
    name_of = {id(parameter): name for name, parameter in backbone.named_parameters()}
    decays, stays = ({name_of[id(p)] for p in group["params"]} for group in (decaying, still))
    assert {"clip.logit_scale", "clip.positional_embedding", "clip.visual.class_embedding"} <= stays
    assert {"clip.ln_final.weight", "clip.transformer.resblocks.0.attn.in_proj_bias"} <= stays
    assert {"clip.token_embedding.weight", "clip.text_projection", "clip.visual.proj"} <= decays
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert decays | stays == trained and not decays & stays
    assert "clip.visual.conv1.weight" not in trained


@pytest.mark.parametrize(
    ("warmup", "final", "expected"),
    [(0.5, 0.0, [0.5, 1, 1, 0.5, 0]), (0.0, 0.0, [1, 0.853553, 0.5, 0.146447, 0]), (0.0, 1.0, [1, 1, 1, 1, 1])],
)
def test_warmup_and_cosine(warmup, final, expected):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_cosine(optimizer, total_steps=4, warmup=warmup, final=final)
    rates = [schedule.get_last_lr()[0]]
    for _ in range(4):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates == pytest.approx([2 * factor for factor in expected], abs=1e-5)


def test_plateau_waits_for_validations_that_do_not_rise():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = plateau(optimizer, total_steps=100, factor=0.5, patience=1)
    rates = []
    for recall in (0.1, 0.2, 0.2, 0.2, 0.3):
        schedule.step(recall)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1, 1, 1, 0.5, 0.5]


def test_trained_share():
    weights = [nn.Parameter(torch.zeros(500_000)), nn.Parameter(torch.zeros(1_500_000), requires_grad=False)]
    assert trained_share(weights) == "0.5 of 2.0 million weights"
