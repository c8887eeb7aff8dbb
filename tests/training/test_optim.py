import pytest
import torch
from torch import nn

from fashionclip.errors import InputError
from fashionclip.models.load import load_backbone
from fashionclip.models.tuning import Tuning
from fashionclip.training.optim import (
    parameter_groups,
    plateau,
    scale_rates,
    trained_share,
    trained_table,
    warmup_cosine,
)


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


FAMILIES = (
    "ViT-B-32",
    "RN50",
    "ViT-B-16-SigLIP",
    "MobileCLIP-S1",
    "MobileCLIP-B",
    "EVA02-B-16",
    "PE-Core-T-16-384",
    "ViTamin-S",
    "convnext_base",
    "swin_base_patch4_window7_224",
    "vit_relpos_medium_patch16_cls_224",
    "coca_ViT-B-32",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_decays_in_every_family(family, without_weights):
    """By the kind of module that holds it, where `parameter_groups` goes by its name."""
    model = without_weights(family)
    decaying, _ = parameter_groups(model, weight_decay=0.1)
    decays = {id(parameter) for parameter in decaying["params"]}
    matrices = (nn.Linear, nn.Conv2d, nn.Embedding, nn.MultiheadAttention)
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            matrix = (isinstance(module, matrices) and "weight" in name) or name in ("proj", "text_projection")
            assert (id(parameter) in decays) == matrix, f"{prefix}.{name} of shape {tuple(parameter.shape)}"
        for name in module.no_weight_decay() if hasattr(module, "no_weight_decay") else ():
            own = dict(module.named_parameters())
            assert name not in own or id(own[name]) not in decays, f"{prefix}.{name}"


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
    for patience, expected in (1, [1, 1, 0.5, 0.25, 0.25]), (2, [1, 1, 1, 0.5, 0.5]):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = plateau(optimizer, factor=0.5, patience=patience)
        rates = []
        for recall in (0.1, 0.2, 0.2, 0.2, 0.3):
            schedule.step(recall)
            rates.append(optimizer.param_groups[0]["lr"])
        assert rates == expected
    schedule = plateau(optimizer, mode="min", patience=1)
    for loss in (0.3, 0.2, 0.1, 0.2):
        schedule.step(loss)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05), "of a loss, once it rises"
    with pytest.raises(InputError, match=r"scheduler\.patience: got 0, expected 1 or more"):
        plateau(optimizer, patience=0)


def test_each_rate_has_its_groups_and_its_line_in_the_table():
    backbone = load_backbone(name="fashionclip-tiny")
    rates = Tuning(image_blocks=2, text_blocks=0, layer_decay=0.5).apply(backbone)
    optimizer = scale_rates(torch.optim.AdamW(parameter_groups(backbone, weight_decay=0.1, rates=rates), lr=1e-3))
    found = [(group["lr"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
    assert found == [
        (2.5e-4, 0.1, 4), (2.5e-4, 0.0, 8), (5e-4, 0.1, 4), (5e-4, 0.0, 10), (1e-3, 0.1, 2), (1e-3, 0.0, 1)
    ]  # fmt: skip
    name_of = {id(weight): name for name, weight in backbone.named_parameters()}
    by_rate = [{name_of[id(weight)] for weight in group["params"]} for group in optimizer.param_groups]
    assert "clip.visual.transformer.resblocks.4.mlp.c_fc.weight" in by_rate[0] and "clip.visual.proj" in by_rate[4]
    table = trained_table(backbone, backbone, lr=1e-3, weight_decay=0.1, rates=rates).splitlines()
    assert table == [
        "  trained                 parameters        rate     decay",
        "  image blocks 5-5           444,864     0.00025       0.1",
        "  image blocks 6-6           445,248      0.0005       0.1",
        "  image head                  36,864       0.001       0.1",
        "  text head                   36,864       0.001       0.1",
        "  logit_scale                      1       0.001         0",
    ]


def test_trained_share():
    weights = [nn.Parameter(torch.zeros(500_000)), nn.Parameter(torch.zeros(1_500_000), requires_grad=False)]
    assert trained_share(weights) == "0.5 of 2.0 million weights"
