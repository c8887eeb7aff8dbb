import json
import pickle
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from fashionclip.errors import InputError
from fashionclip.models import load as module
from fashionclip.models.lite0 import load_imagenet_weights
from fashionclip.models.load import ARCHITECTURES, load_backbone

TEXTS = ["a red dress", "Puma Men's Striped Polo T-shirt, navy", "shoes", ""]


@pytest.mark.parametrize(
    ("name", "tag", "wanted"),
    [
        ("ViT-B-32", "openai", True),
        ("ViT-B-32-quickgelu", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("ViT-B-32", None, False),
    ],
)
def test_weights_get_the_activation_they_were_trained_with(name, tag, wanted):
    stated = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    assert module._needs_quick_gelu(name, tag, stated) is wanted


@pytest.mark.parametrize("form", ["pt", "trainer", "compiled", "safetensors", "local-dir"])
@torch.inference_mode()
def test_weights_from_a_file_or_folder(build, tmp_path, form):
    source = build(name="fashionclip-source")
    state = {name: tensor.contiguous() for name, tensor in source.clip.state_dict().items()}
    if form == "local-dir":
        folder = tmp_path / "model"
        folder.mkdir()
        config = {"model_cfg": source.architecture, "preprocess_cfg": {"size": 32, "mean": [0.1] * 3, "std": [0.3] * 3}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_file(state, folder / "open_clip_model.safetensors")
        loaded = load_backbone(name=f"local-dir:{folder}").eval()
        assert loaded.preprocess.mean == (0.1, 0.1, 0.1)
    else:
        file = tmp_path / f"weights.{'safetensors' if form == 'safetensors' else 'pt'}"
        if form == "safetensors":
            save_file(state, file)
        else:  # open_clip's trainer writes its state with DDP's prefix
            if form == "compiled":
                state = {f"_orig_mod.{name}": tensor for name, tensor in state.items()}
            trainer = {"epoch": 1, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
            torch.save(trainer if form in ("trainer", "compiled") else state, file)
        torch.manual_seed(1)
        loaded = load_backbone(name="fashionclip-source", pretrained=str(file)).eval()
    tokens = source.tokenizer(TEXTS)
    assert torch.equal(loaded.encode_text(tokens), source.encode_text(tokens))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "hf-hub:Marqo/marqo-fashionCLIP"}, "could not be loaded.*\n.*local-dir:FOLDER.*model=lite0"),
        ({"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}, "could not be loaded"),
        ({"name": "ViT-B-32", "pretrained": "no-such-tag"}, "neither a file nor a tag .* one of .*laion2b_s34b_b79k"),
        ({"name": "ViT-B-33"}, "open_clip knows no such model"),
        ({"name": "fashionclip-tiny", "image_size": 10**6}, "image_size=1000000: expected 1 to 1,024 pixels"),
        ({"name": "roberta-ViT-B-32"}, "could not be loaded"),
        ({"name": "local-dir:no/such/folder"}, "no model there"),
        ({"name": "fashionclip-tiny", "freeze": ["visual.trunk"]}, r"no module \['visual.trunk'\]; has .*visual"),
    ],
)
def test_what_cannot_be_loaded_says_what_to_do(monkeypatch, settings, message):
    monkeypatch.setattr(module, "_skip_hub_if_away", lambda: None)  # the tests are offline by setting
    monkeypatch.setattr(open_clip.factory, "CLIP", lambda *_, **__: torch.nn.Identity()) if "ViT" in settings[
        "name"
    ] else None
    with pytest.raises(InputError, match=f"(?s){message}"):
        load_backbone(**settings)


PART_OF_A_CLIP_MODEL = "text_model.embeddings.token_embedding.weight"
QUERY = "text_model.encoder.layers.0.self_attn.q_proj.bias"


class Code:
    def __reduce__(self):
        return (print, ("called",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.write_bytes(b"not weights"), "could not be loaded"),
        (lambda file: file.write_bytes(b""), "could not be loaded"),
        (lambda file: file.write_bytes(pickle.dumps(Code(), protocol=2)), "could not be loaded"),
        (lambda file: torch.save({"state_dict": Code()}, file), "could not be loaded"),
        (lambda file: torch.save(torch.ones(2), file), "no table of named weights"),
        (
            lambda file: torch.save({"pytorch-lightning_version": "2", "state_dict": {}}, file),
            "no table of named weights",
        ),
        (
            lambda file: torch.save({"model": {"visual.proj": torch.ones(2)}}, file),
            "weights are of another model. Missing",
        ),
        (
            lambda file: torch.save({"state_dict": {"a": torch.ones(1)}, "backbone": {}}, file),
            "`backbone` is not the fi",
        ),
        (
            lambda file: torch.save({PART_OF_A_CLIP_MODEL: torch.ones(1), QUERY: torch.ones(1)}, file),
            "a CLIPModel without",
        ),
        (lambda file: file.mkdir(), "no model there"),
        (lambda file: (file / "checkpoints").mkdir(parents=True), "It is a run: fashionclip export"),
    ],
)
def test_what_holds_no_weights_is_one_message(build, tmp_path, capsys, write, message):
    file = tmp_path / "weights.pt"
    write(file)
    with pytest.raises(InputError, match=message) as refusal:
        build(pretrained=str(file))
    assert str(file) in str(refusal.value) and "weights_only" not in str(refusal.value)
    assert "called" not in capsys.readouterr().out


def test_every_architecture_of_ours_builds():
    for file in ARCHITECTURES.glob("*.json"):
        backbone = load_backbone(name=file.stem).eval()
        size = backbone.preprocess.size
        with torch.inference_mode():
            image = backbone.encode_image(torch.zeros(1, 3, size, size, dtype=torch.uint8))
            text = backbone.encode_text(backbone.tokenizer(["a dress"]))
        assert image.shape == text.shape
        torch.testing.assert_close(image.norm(dim=1), torch.ones(1))
        torch.testing.assert_close(F.normalize(text, dim=1), text)


@pytest.mark.parametrize("name", ["fashionclip-tiny", "fashionclip-lite0"])
def test_another_image_size(name):
    backbone = load_backbone(name=name, image_size=64).eval()
    assert backbone.preprocess.size == 64
    assert backbone.encode_image(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape[0] == 2


TIMM = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "test_vit.r160_in1k",
        "timm_pool": "token",
        "timm_proj": "linear",
        "image_size": 160,
    },
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def test_timms_own_weights_and_preprocessing_for_an_image_tower(build, monkeypatch):
    """No hub is asked: what stands in for its weights says whether they were asked for."""
    asked = []

    def create_model(name, *, pretrained, **settings):
        asked.append(pretrained)
        trunk = timm.create_model(name, **settings)
        if pretrained:
            torch.nn.init.constant_(trunk.norm.weight, 7)
        return trunk

    monkeypatch.setattr(module, "_skip_hub_if_away", lambda: None)
    monkeypatch.setattr(open_clip.timm_model, "timm", SimpleNamespace(create_model=create_model))
    plain, filled = build(TIMM), build(TIMM, pretrained_image=True)
    rebuilt = build(TIMM, pretrained_image=True, load_weights=False)
    assert asked == [False, True, False]
    assert (filled.clip.visual.trunk.norm.weight == 7).all()
    assert filled.preprocess == rebuilt.preprocess != plain.preprocess
    assert filled.preprocess.mean == timm.get_pretrained_cfg("test_vit.r160_in1k").mean


@pytest.mark.parametrize(
    "settings", [{"name": "fashionclip-tiny"}, {"name": "fashionclip-lite0", "pretrained": "FILE"}]
)
def test_weights_of_timm_are_for_its_towers_alone(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(module, "_skip_hub_if_away", lambda: None)
    settings = {key: str(tmp_path / "weights.pt") if value == "FILE" else value for key, value in settings.items()}
    with pytest.raises(InputError, match="fill an image tower of timm in a model that has no other weights"):
        load_backbone(**settings, pretrained_image=True, load_weights=False)


def test_what_says_how_pixels_are_prepared_for_lite0():
    preprocess = load_backbone(name="fashionclip-lite0", image_weights=load_imagenet_weights).preprocess
    assert (preprocess.mean, preprocess.std, preprocess.interpolation) == ((0.5,) * 3, (0.5,) * 3, "bicubic")
