import json

import pytest
import torch
from safetensors.torch import save_file

from fashionclip.errors import InputError
from fashionclip.models.folder import CONFIG
from fashionclip.models.load import load_backbone

NAME = "fashionclip-pretrained"
ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PHOTOS = torch.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32).remainder(251).to(torch.uint8)


def embedded(backbone, tokens):
    with torch.inference_mode():
        return torch.cat([backbone.encode_image(PHOTOS), backbone.encode_text(tokens)])


@pytest.fixture
def source(build):
    return build(ARCHITECTURE, name=NAME, seed=3)


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "net.clip.", "visual._orig_mod."])
@pytest.mark.parametrize("key", [None, "model_state_dict"])
def test_weights_load_whatever_stands_before_their_names(source, tmp_path, prefix, key):
    state = source.clip.state_dict()
    if prefix.startswith("visual"):  # a tower that was compiled by itself
        state = {name.replace("visual.", prefix): tensor for name, tensor in state.items()}
    elif prefix:
        state = {"loss.margin": torch.ones(1), **{f"{prefix}{name}": tensor for name, tensor in state.items()}}
    torch.save(state if key is None else {"epoch": 3, key: state}, tmp_path / "weights.pt")
    tokens = source.tokenizer(["a red dress"])
    torch.manual_seed(1)
    loaded = load_backbone(name=NAME, pretrained=str(tmp_path / "weights.pt")).eval()
    assert torch.equal(embedded(loaded, tokens), embedded(source, tokens))


def test_a_checkpoint_of_a_run_brings_its_activation_and_preprocessing(build, source, tmp_path):
    run = build({**ARCHITECTURE, "quick_gelu": True}, name="fashionclip-quick", seed=3)
    files = run.files()
    config = json.loads(files[CONFIG])
    config["preprocess_cfg"] |= {"mean": [0.1, 0.2, 0.3], "interpolation": "bilinear"}
    state = {f"backbone.{name}": tensor for name, tensor in run.state_dict().items()} | {"judged.scale": torch.ones(1)}
    torch.save(
        {
            "pytorch-lightning_version": "2.6",
            "state_dict": state,
            "backbone": {**files, CONFIG: json.dumps(config).encode()},
        },
        tmp_path / "best.ckpt",
    )
    loaded = load_backbone(name=NAME, pretrained=str(tmp_path / "best.ckpt")).eval()
    assert loaded.preprocess.mean == (0.1, 0.2, 0.3) and loaded.preprocess.interpolation == "bilinear"
    tokens = source.tokenizer(["a red dress"])
    assert torch.equal(loaded.encode_text(tokens), run.encode_text(tokens))
    assert not torch.allclose(loaded.encode_text(tokens), source.encode_text(tokens))


@pytest.mark.parametrize("form", ["folder", "bin", "file"])
@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_a_clip_model_of_transformers_embeds_as_it_does_there(build, source, tmp_path, form, act, capsys):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    theirs = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={**sizes, "hidden_act": act, "projection_dim": 16, "eos_token_id": 49407},
            vision_config={**sizes, "hidden_act": act, "projection_dim": 16, "image_size": 32, "patch_size": 16},
            projection_dim=16,
        )
    ).eval()
    for parameter in theirs.parameters():  # fresh biases are 0, so that swapped ones would not show
        parameter.data += 0.05 * torch.randn_like(parameter)
    pretrained = tmp_path / "clip"
    theirs.save_pretrained(pretrained)
    (pretrained / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4] * 3, "image_std": [0.2] * 3}))
    if form == "bin":
        (pretrained / "model.safetensors").unlink()
        torch.save(
            {**theirs.state_dict(), "text_model.embeddings.position_ids": torch.arange(77)},
            pretrained / "pytorch_model.bin",
        )
    elif form == "file":  # as the recipe of a clothing search keeps its best
        pretrained = tmp_path / "best_model.pt"
        torch.save({"model_state_dict": theirs.state_dict(), "optimizer_state_dict": {}, "loss": 0.07}, pretrained)
        if act == "gelu":
            return  # nothing in it says so
    ours = load_backbone(name=NAME, pretrained=str(pretrained)).eval()
    assert ("switched to QuickGELU" in capsys.readouterr().out) == (act == "quick_gelu")
    if form != "file":
        assert (ours.preprocess.mean, ours.preprocess.std) == ((0.4,) * 3, (0.2,) * 3)
    tokens = torch.nn.functional.pad(source.tokenizer(["a red dress", "shoes"]), (0, 60))
    with torch.inference_mode():
        given = theirs(pixel_values=ours.normalize(PHOTOS), input_ids=tokens)
    wanted = torch.cat([given.image_embeds, given.text_embeds])
    torch.testing.assert_close(embedded(ours, tokens), wanted, atol=1e-6, rtol=0)


def test_weights_that_do_not_fit_are_named(source, tmp_path):
    state = {name: tensor.contiguous() for name, tensor in source.clip.state_dict().items()}
    state["visual.proj"] = state["visual.proj"][:, :3].contiguous()
    state["extra"] = state.pop("ln_final.bias")
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(InputError) as refused:
        load_backbone(name=NAME, pretrained=str(tmp_path / "weights.safetensors"))
    said = str(refused.value)
    assert "its weights are of another model" in said and "\n" not in said
    assert all(name in said for name in ("ln_final.bias", "extra", "visual.proj", "model.backbone.name"))
