import pytest
import torch

from fashionclip.errors import InputError
from fashionclip.retrieval.export import transformers_clip
from fashionclip.retrieval.export.export import write_export
from fashionclip.retrieval.export.samples import AWKWARD, drawn_samples
from fashionclip.retrieval.export.transformers_clip import check_transformers

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "layers": 3, "width": 48, "patch_size": 16, "head_width": 16, "mlp_ratio": 2.0}
VIT = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160}


@pytest.fixture
def build_noisy(build):
    def build_noisy(architecture):
        backbone = build(architecture)
        for parameter in backbone.parameters():  # fresh biases are 0, so that swapped ones would not show
            parameter.data += 0.05 * torch.randn_like(parameter)
        return backbone

    return build_noisy


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "change", [{}, pytest.param({"quick_gelu": True}, marks=slow), pytest.param({"custom_text": True}, marks=slow)]
)
def test_a_clip_model_of_transformers_embeds_as_the_checkpoint(build_noisy, tmp_path, change):
    transformers = pytest.importorskip("transformers")
    backbone, samples = build_noisy({**VIT, **change}), drawn_samples(count=8)
    facts = write_export(
        tmp_path / "export",
        backbone,
        facts={"label": "small", "judge": None},
        samples=samples,
        transformers=True,
    )
    checked = facts["checked"]
    assert min(checked["lowest_cosine"]["transformers"].values()) >= 0.99999
    assert checked["transformers_processing"]["same_tokens"] == len(samples.texts) - 1, AWKWARD[-1]
    assert checked["transformers_processing"]["image"] > 0.9999
    folder = tmp_path / "export" / "transformers"
    processor, model = (
        transformers.AutoProcessor.from_pretrained(folder),
        transformers.CLIPModel.from_pretrained(folder),
    )
    batch = processor(text=["a red dress"], images=samples.photos[:1], return_tensors="pt", padding=True)
    expected = backbone.encode_text(backbone.tokenizer(["a red dress"]))
    torch.testing.assert_close(model(**batch).text_embeds, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"embed_dim": 64, "vision_cfg": TIMM, "text_cfg": TEXT}, "no vision_cfg.timm_model_name=test_vit"),
        ({**VIT, "vision_cfg": {**VISION, "pool_type": "avg"}}, "no vision_cfg.pool_type=avg"),
        ({**VIT, "text_cfg": {**TEXT, "no_causal_mask": True}}, "no text_cfg.no_causal_mask=True"),
        ({**VIT, "vision_cfg": {**VISION, "layers": [1, 1, 1, 1], "head_width": 64, "width": 64}}, "a ResNet"),
    ],
)
def test_what_it_cannot_hold_is_named(build, monkeypatch, architecture, message):
    monkeypatch.setattr(transformers_clip, "find_spec", lambda name: object())
    with pytest.raises(InputError, match=message):
        check_transformers(build(architecture))


def test_a_missing_package_is_named(build, monkeypatch):
    monkeypatch.setattr(transformers_clip, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fashionclip\[hub\]'"):
        check_transformers(build(VIT))
