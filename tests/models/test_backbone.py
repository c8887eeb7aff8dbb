import open_clip
import pytest
import torch
import torch.nn.functional as F

from fashionclip.errors import InputError
from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.models import backbone as module
from fashionclip.models.load import load_backbone
from fashionclip.models.tuning import Tuning

TEXTS = [
    "a red dress",
    "Puma Men's Striped Polo T-shirt, navy",
    "shoes",
    " ".join(["a very long text that does not fit"] * 20),
    "",
]
VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
ARCHITECTURE = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
CUSTOM = {**ARCHITECTURE, "custom_text": True}
POOL_EOS = {**ARCHITECTURE, "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 49407}}
NOT_CAUSAL = {**ARCHITECTURE, "custom_text": True, "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"}}


@pytest.mark.parametrize("architecture", [ARCHITECTURE, CUSTOM, POOL_EOS, NOT_CAUSAL])
@torch.inference_mode()
def test_cut_texts_embed_as_open_clip_embeds_them_in_full(build, architecture):
    backbone = build(architecture)
    texts = TEXTS * 30  # more than one group of like length
    tokens = backbone.tokenizer(texts[:1])
    assert tokens.shape[1] == (77 if architecture is NOT_CAUSAL else 5)
    full = backbone.clip.encode_text(open_clip.tokenize(texts), normalize=True)
    torch.testing.assert_close(backbone.encode_text(backbone.tokenizer(texts)), full, atol=2e-6, rtol=0)


@torch.inference_mode()
def test_an_exclamation_mark_is_no_padding_though_its_id_is_0_too(build):
    backbone, text = build(ARCHITECTURE), "sale!/new!/red!/dress"
    tokens = backbone.tokenizer([text])
    assert (tokens == 0).sum() == 3 and tokens[0, -1] == 49407
    full = backbone.clip.encode_text(open_clip.tokenize([text] * 70), normalize=True)
    torch.testing.assert_close(backbone.encode_text(backbone.tokenizer([text] * 70)), full, atol=2e-6, rtol=0)


@torch.inference_mode()
def test_images_embed_as_open_clip_embeds_its_own_preprocessing(build):
    backbone = build(ARCHITECTURE)
    pixels = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(open_clip.get_model_preprocess_cfg(backbone.clip)[key]) for key in ("mean", "std"))
    normal = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    expected = backbone.clip.encode_image(normal, normalize=True)
    torch.testing.assert_close(backbone.encode_image(pixels), expected, atol=1e-6, rtol=0)


def test_frozen_modules_are_neither_trained_nor_switched_to_training(build):
    backbone = build(ARCHITECTURE, freeze=["visual"])
    backbone.train()
    assert not backbone.clip.visual.training and backbone.clip.transformer.training
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained and not any(name.startswith("clip.visual") for name in trained)


@torch.inference_mode()
def test_the_frozen_part_and_what_follows_it_are_the_image_tower(build):
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    whole = build(ARCHITECTURE, freeze=["visual"])
    torch.testing.assert_close(whole.encode_image(whole.frozen_image_part()(pixels)), whole.encode_image(pixels))
    assert build(ARCHITECTURE).frozen_image_part() is None


def test_weights_are_saved_once(build):
    backbone = build(ARCHITECTURE)
    assert set(backbone.state_dict()) == {f"clip.{name}" for name in backbone.clip.state_dict()}


def test_logit_scale_and_bias(build):
    backbone = build(ARCHITECTURE)
    backbone.set_temperature(0.05)
    assert backbone.logit_scale.exp().item() == pytest.approx(20)
    backbone.set_temperature(1e-5)
    backbone.clamp_logit_scale()
    assert backbone.logit_scale.exp().item() == pytest.approx(100)
    assert backbone.logit_bias is None
    backbone.add_logit_bias()
    assert backbone.logit_bias.item() == -10 and backbone.logit_scale.exp().item() == pytest.approx(10)
    assert "clip.logit_bias" in backbone.state_dict()
    backbone.set_temperature(0.05)
    backbone.add_logit_bias()
    assert backbone.logit_scale.exp().item() == pytest.approx(20), "one that is there is left alone"


def test_the_sigmoid_form_begins_with_a_loss_of_its_size(build):
    backbone = build(ARCHITECTURE)
    backbone.set_temperature(0.01)
    backbone.add_logit_bias()
    image, item = F.normalize(torch.randn(64, 16), dim=1), torch.arange(64)
    scale = {"logit_scale": backbone.logit_scale, "logit_bias": backbone.logit_bias}
    loss = ContrastiveLoss(form="sigmoid")(image=image, text=image.roll(1, 0), item_id=item, text_id=item, **scale)
    assert 5 < loss.item() < 15


def test_a_logit_scale_that_is_not_trained_is_left_alone(build):
    backbone = build(ARCHITECTURE)
    backbone.set_temperature(1 / 118)  # as SigLIP's weights come
    backbone.logit_scale.requires_grad_(False)
    backbone.clamp_logit_scale()
    assert backbone.logit_scale.exp().item() == pytest.approx(118)


def test_without_texts_only_the_image_tower_is_trained(build):
    backbone = build(ARCHITECTURE)
    backbone.freeze_text()
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained == {f"clip.visual.{name}" for name, _ in backbone.clip.visual.named_parameters()}


def test_photos_in_groups_are_embedded_as_all_at_once():
    backbone = load_backbone(name="fashionclip-tiny").eval()
    photos = torch.randint(0, 256, (37, 3, 112, 112), dtype=torch.uint8)
    at_once = backbone.encode_image(photos).detach()  # with gradients there are no groups
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode_image(photos), at_once, atol=1e-5, rtol=0)


COCA = {
    **CUSTOM,
    "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
    "text_cfg": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def test_the_towers_of_coca_without_its_decoder(build):
    backbone = build(COCA)
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    image, text = backbone.encode_image(pixels), backbone.encode_text(backbone.tokenizer(TEXTS))
    assert image.shape == (2, 16) and text.shape == (len(TEXTS), 16)
    torch.testing.assert_close(image, backbone.clip.encode_image(backbone.normalize(pixels)))
    (image.sum() + text.sum()).backward()
    assert all((p.grad is not None) == p.requires_grad for n, p in backbone.named_parameters() if "logit" not in n)


def test_a_stem_that_crashes_channels_last_is_laid_out_as_usual():
    """MobileCLIP-S1 takes a training step in `test_families.py`, which ended the process."""
    with torch.device("meta"):
        towers = {
            name: open_clip.create_model(name, device="meta").visual for name in ("MobileCLIP-S1", "convnext_base")
        }
    assert module._layout(towers["MobileCLIP-S1"]) is torch.contiguous_format
    assert module._layout(towers["convnext_base"]) is torch.channels_last


TIMM = {**ARCHITECTURE, "vision_cfg": {"timm_model_name": "test_vit", "timm_proj": "linear", "image_size": 160}}


def gradients(backbone):
    size = backbone.preprocess.size
    backbone.zero_grad()
    torch.manual_seed(0)  # pixels and dropout
    image = backbone.encode_image(torch.randint(256, (2, 3, size, size), dtype=torch.uint8))
    text = backbone.encode_text(backbone.tokenizer(TEXTS[:2]))
    ((image @ text.T).diagonal().sum() * backbone.logit_scale).backward()
    return {name: weight.grad.clone() for name, weight in backbone.named_parameters() if weight.requires_grad}


def test_checkpointed_towers_have_the_same_gradients(build):
    """Also above frozen blocks, and of towers of timm and transformers."""
    minilm = load_backbone(name="fashionclip-lite0-minilm", load_weights=False, image_size=64)
    Tuning(image_blocks=0, text_blocks=1).apply(minilm)
    for backbone, layers in [
        (build(ARCHITECTURE), ("visual.transformer.resblocks.0.mlp.c_fc", "transformer.resblocks.1.mlp.c_fc")),
        (build(TIMM), ("visual.trunk.blocks.5.mlp.fc1", "transformer.resblocks.0.mlp.c_fc")),
        (minilm, ("text.transformer.encoder.layer.5.output.dense",)),
    ]:
        ran = []
        for layer in layers:
            backbone.clip.get_submodule(layer).register_forward_pre_hook(
                lambda *_, ran=ran, layer=layer: ran.append(layer)
            )
        plain = gradients(backbone.train())
        assert sorted(ran) == sorted(layers)
        backbone.checkpoint_towers()
        torch.testing.assert_close(gradients(backbone), plain)
        assert sorted(ran) == sorted(3 * layers), "once more, and once again for the backward pass"
    resnet = {**ARCHITECTURE, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 32}}
    with pytest.raises(InputError, match=r"model\.grad_checkpointing=true: this image tower has no blocks"):
        build(resnet).checkpoint_towers()


@torch.inference_mode()
@pytest.mark.parametrize(("architecture", "blocks"), [(ARCHITECTURE, "transformer"), (TIMM, "trunk.blocks")])
def test_patches_are_left_out_in_training_alone(build, architecture, blocks):
    backbone = build(architecture)
    size, seen = backbone.preprocess.size, []
    pixels = torch.randint(256, (2, 3, size, size), dtype=torch.uint8)
    whole = backbone.encode_image(pixels)
    backbone.drop_patches(0.75)
    tower = backbone.clip.visual.get_submodule(blocks)
    tower.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1]))
    torch.testing.assert_close(backbone.encode_image(pixels), whole)
    assert not torch.equal(backbone.train().encode_image(pixels), whole)
    patches = (size // 16) ** 2
    assert seen == [patches + 1, patches // 4 + 1]
    with pytest.raises(InputError, match=r"model\.patch_dropout=0\.5: this image tower has no patches"):
        load_backbone(name="fashionclip-lite0").drop_patches(0.5)


def test_convolutions_are_laid_out_channels_last():
    trunk = load_backbone(name="fashionclip-lite0").clip.visual.trunk
    kernels = [weight for weight in trunk.parameters() if weight.ndim == 4]
    assert kernels and all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
