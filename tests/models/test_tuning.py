import pytest
import torch

from fashionclip.errors import InputError
from fashionclip.models.load import load_backbone
from fashionclip.models.tuning import Tuning, merge_adapters, merged, towers

VISION = {"image_size": 32, "layers": 3, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
SMALL = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}


def trained(backbone):
    return {name for name, weight in backbone.clip.named_parameters() if weight.requires_grad}


FAMILIES = {  # number of blocks of both towers; the first and the last block's first parameter, and one of the head
    "ViT-B-32": (12, 12, "transformer.resblocks.0.ln_1.weight", "transformer.resblocks.11.ln_1.weight", "proj"),
    "RN50": (16, 12, "layer1.0.conv1.weight", "layer4.2.conv1.weight", "attnpool.c_proj.bias"),
    "coca_ViT-B-32": (12, 12, "transformer.resblocks.0.ln_1.weight", "attn_pool.query", "proj"),
    "ViT-B-16-SigLIP": (12, 12, "trunk.blocks.0.norm1.weight", "trunk.norm.weight", "trunk.attn_pool.latent"),
    "MobileCLIP-S1": (
        40, 12, "trunk.stages.0.blocks.0.layer_scale.gamma", "trunk.stages.3.blocks.3.norm.weight", "trunk.head.fc.bias"
    ),
    "EVA02-B-16": (12, 12, "trunk.blocks.0.norm1.weight", "trunk.norm.weight", "trunk.head.weight"),
    "ViTamin-S": (14, 12, "trunk.blocks.0.norm1.weight", "trunk.fc_norm.weight", "head.proj.weight"),
    "convnext_base": (36, 12, "trunk.stages.0.blocks.0.gamma", "trunk.head.norm.weight", "head.proj.weight"),
}  # fmt: skip


def test_the_depth_of_every_parameter_in_every_family(without_weights):
    for family, (image, text, first, last, head) in FAMILIES.items():
        model = without_weights(family)
        found = towers(type("Backbone", (), {"clip": model}))
        assert [tower.blocks for tower in found.values()] == [image, text], family
        depth = found["image"].depth
        assert [depth[f"visual.{name}"] for name in (first, last, head)] == [1, image, image + 1], family
        for tower in found.values():
            assert set(tower.depth.values()) == set(range(tower.blocks + 2)), family
        places = {name for tower in found.values() for name in tower.depth}
        other = {name for name, _ in model.named_parameters()} - places
        assert {name.partition(".")[0] for name in other} <= {"logit_scale", "logit_bias", "text_decoder"}, family


def test_what_each_setting_trains(build):
    everything, backbone = trained(build(SMALL)), build(SMALL, freeze=["visual"])
    image = {name for name in everything if name.startswith("visual.")}
    text = everything - image - {"logit_scale"}
    heads = {"visual.proj", "text_projection", "logit_scale"}
    last_of_image = {name for name in image if "resblocks.2." in name or "ln_post" in name}
    last_of_text = {name for name in text if "resblocks.1." in name or "ln_final" in name}
    for settings, expected in [
        ({"keep_frozen": True}, everything - image),
        ({}, everything),
        ({"lock": "image"}, everything - image),
        ({"lock": "text"}, everything - text),
        ({"image_blocks": 0, "text_blocks": 0}, heads),
        ({"image_blocks": 1, "text_blocks": 1}, heads | last_of_image | last_of_text),
        ({"image_blocks": 0}, heads | text),
        ({"bias_only": True}, {"logit_scale"} | {name for name in everything if name.endswith("bias")}),
        ({"bias_only": True, "lock": "text"}, {"logit_scale"} | {name for name in image if name.endswith("bias")}),
        ({"image_blocks": 3, "text_blocks": 0}, heads | {n for n in image if "resblocks" in n or "ln_post" in n}),
    ]:
        Tuning(**settings).apply(backbone)
        assert trained(backbone) == expected, settings
        modes = {
            name: module.training for name, module in backbone.train().clip.named_modules() if list(module.parameters())
        }
        assert modes["visual.transformer.resblocks.0"] == any("visual.transformer.resblocks.0." in n for n in expected)
        assert modes["transformer"] == any(n.startswith("transformer.") for n in expected)


def test_rates_fall_with_depth_below_the_heads(build):
    rates = Tuning(tower_rate=0.1, layer_decay=0.5).apply(build(SMALL))
    named = ["visual.proj", "visual.ln_post.bias", "visual.transformer.resblocks.1.ln_1.bias", "visual.conv1.weight"]
    assert [rates[f"clip.{name}"] for name in named] == pytest.approx([1, 0.05, 0.025, 0.1 / 16])
    assert rates["clip.token_embedding.weight"] == pytest.approx(0.1 / 8) and "clip.logit_scale" not in rates


def test_more_blocks_than_there_are_is_one_message(build):
    message = r"tuning.text_blocks=20: the text tower has 2 blocks. Expected 0 \(its head alone\) to 2, or null"
    with pytest.raises(InputError, match=message):
        Tuning(image_blocks=3, text_blocks=20).apply(build(SMALL))


def test_what_open_clip_puts_behind_a_locked_tower_is_trained():
    """Of timm and of transformers, whose transformer has its blocks named otherwise."""
    backbone = load_backbone(name="fashionclip-lite0-minilm", load_weights=False)
    Tuning(lock="image").apply(backbone)
    assert {name for name in trained(backbone) if name.startswith("visual.")} == {
        f"visual.{name}" for name in ("trunk.classifier.weight", "trunk.classifier.bias", "head.proj.weight")
    }
    assert backbone.frozen_image_part() is not None and backbone.frozen_text_part() is None
    backbone = load_backbone(name="fashionclip-lite0-minilm", load_weights=False)
    Tuning(lock="text").apply(backbone)
    assert {name for name in trained(backbone) if name.startswith("text.")} == {
        "text.proj.0.weight",
        "text.proj.2.weight",
    }
    assert backbone.frozen_image_part() is None and backbone.frozen_text_part() is not None
    Tuning(image_blocks=0, text_blocks=2).apply(backbone)
    kept = {name.split(".")[4] for name in trained(backbone) if name.startswith("text.transformer.encoder.layer.")}
    assert kept == {"4", "5"} and not any("embeddings" in name for name in trained(backbone))
    assert backbone.frozen_image_part() is not None and backbone.frozen_text_part() is None


CUSTOM = {  # with attention of open_clip's own, whose `out_proj` is called
    **SMALL,
    "custom_text": True,
    "vision_cfg": {**VISION, "block_type": "custom"},
    "text_cfg": {**TEXT, "block_type": "custom"},
}
TIMM = {**SMALL, "vision_cfg": {"timm_model_name": "test_vit", "timm_proj": "linear", "image_size": 160}}


@pytest.mark.parametrize("architecture", [SMALL, CUSTOM, TIMM])
def test_lora_trains_each_matrix_that_it_adds_and_its_sum_is_a_plain_model(build, architecture):
    pytest.importorskip("peft")
    backbone = build(architecture)
    size, names = backbone.preprocess.size, set(backbone.state_dict())
    pixels = torch.randint(256, (2, 3, size, size), dtype=torch.uint8)
    tokens = backbone.tokenizer(["a", "b c"])
    before = backbone.encode_image(pixels), backbone.encode_text(tokens)
    rates = Tuning(lora_rank=2, layer_decay=0.5).apply(backbone)
    adapted = {name.partition(".lora_")[0] for name in trained(backbone) if ".lora_" in name}
    kinds = {name.partition("blocks.")[2].partition(".")[2] for name in adapted}
    own = {"attn", "mlp.c_fc", "mlp.c_proj"} | ({"attn.base_layer.out_proj"} if architecture is CUSTOM else set())
    assert kinds == own | ({"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"} if architecture is TIMM else set())
    heads = {"visual.head.proj.weight"} if architecture is TIMM else set()
    assert {name for name in trained(backbone) if ".lora_" not in name} == heads | {"logit_scale"}
    assert {rates[f"clip.{name}"] for name in trained(backbone) if ".lora_" in name and ".0." in name} <= {
        1 / 8,
        1 / 4,
        1 / 64,
    }

    now = backbone.encode_image(pixels), backbone.encode_text(tokens)
    torch.testing.assert_close(now, before, atol=1e-6, rtol=0), "additions begin at nothing"
    optimizer = torch.optim.SGD([weight for weight in backbone.parameters() if weight.requires_grad], lr=10.0)
    for _ in range(2):  # the first matrix of each pair has a gradient once the second is not 0
        optimizer.zero_grad()
        image, text = backbone.encode_image(pixels), backbone.encode_text(tokens)
        ((image @ text.T).diagonal().sum() * backbone.logit_scale).backward()
        optimizer.step()
    still = [
        n for n, w in backbone.clip.named_parameters() if w.requires_grad and not (w.grad is not None and w.grad.any())
    ]
    assert not still
    now = backbone.encode_image(pixels).detach(), backbone.encode_text(tokens).detach()
    assert min((one - other).abs().max() for one, other in zip(now, before, strict=True)) > 1e-3

    plain = build(architecture)
    plain.load_state_dict(merged(backbone.state_dict()))
    merge_adapters(backbone)
    assert set(backbone.state_dict()) == names
    for model in (plain, backbone):
        torch.testing.assert_close((model.encode_image(pixels), model.encode_text(tokens)), now, atol=1e-5, rtol=0)


def test_lora_of_the_last_blocks_of_a_text_tower_of_transformers():
    pytest.importorskip("peft")
    backbone = load_backbone(name="fashionclip-lite0-minilm", load_weights=False)
    Tuning(lora_rank=2, lock="image", text_blocks=2).apply(backbone)
    adapted = {name.partition(".lora_")[0] for name in trained(backbone) if ".lora_" in name}
    kinds = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    kinds += ("intermediate.dense", "output.dense")
    assert adapted == {f"text.transformer.encoder.layer.{n}.{kind}" for n in (4, 5) for kind in kinds}
    assert backbone.frozen_image_part() is not None, "whose features may be cached"


def test_weights_that_do_not_fit_are_refused_and_so_is_lora_without_its_package(build, monkeypatch):
    a, b = torch.zeros(2, 4), torch.zeros(3, 2)
    fits = {"w.base_layer.weight": torch.ones(3, 4), "w.lora_A.default.weight": a, "w.lora_B.default.weight": b}
    assert list(merged(fits)) == ["w.weight"]
    for wrong in ("w.base_layer.weight", "w.lora_B.default.weight"):
        with pytest.raises(ValueError, match=r"w\.lora_A\.default\.weight does not fit what it is added to"):
            merged({name: weight for name, weight in fits.items() if name != wrong})
        with pytest.raises(ValueError, match="does not fit"):
            merged(fits | {wrong: torch.zeros(7, 5)})
    monkeypatch.setattr("fashionclip.models.tuning.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the extra \[lora\]: pip install 'fashionclip\[lora\]'"):
        Tuning(lora_rank=2).apply(build(SMALL))
