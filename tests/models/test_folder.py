import json
from contextlib import nullcontext

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fashionclip.app.cli import main
from fashionclip.errors import InputError
from fashionclip.models.folder import BOUNDS, CONFIG, check_architecture, check_folder
from fashionclip.models.load import load_backbone, load_tokenizer
from fashionclip.retrieval.encoder import load_encoder
from fashionclip.retrieval.export.plain_open_clip import load_plain

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
CODE = """
import pathlib
pathlib.Path({marker!r}).touch()
from transformers import PreTrainedTokenizerFast
class Words(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def folder(tmp_path):
    """An export, as far as a loader looks before it builds."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"size": 32}}))
    with torch.random.fork_rng():
        model = open_clip.create_model(f"local-dir:{folder}")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "fashionclip.json").write_text(json.dumps({"label": "small", "judge": None}))
    return folder


def change(folder, *, preprocess=None, **parts):
    """Other settings in the config; `text_cfg={...}` adds to those of the text tower."""
    config = json.loads((folder / CONFIG).read_text())
    for part, settings in parts.items():
        kept = config["model_cfg"].get(part, {})
        config["model_cfg"][part] = {**kept, **settings} if isinstance(settings, dict) else settings
    config["preprocess_cfg"] |= preprocess or {}
    (folder / CONFIG).write_text(json.dumps(config))


def test_a_plain_folder_is_let_through(folder):
    check_folder(folder)
    assert load_encoder(folder).texts(["a red dress"]).shape == (1, 16)


@pytest.fixture
def marker(folder):
    """Written by the tokenizer's code in the folder, if that is run."""
    marker = folder.parent / "marker"
    (folder / "words.py").write_text(CODE.format(marker=str(marker)))
    names = {"auto_map": {"AutoTokenizer": [None, "words.Words"]}, "tokenizer_class": "Words"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return marker


@pytest.mark.parametrize("trusted", [{"tokenizer_kwargs": {"trust_remote_code": True}}, {}])
@pytest.mark.parametrize("load", [load_encoder, load_plain, lambda folder: load_tokenizer(name=f"local-dir:{folder}")])
def test_code_beside_a_model_is_not_run(folder, marker, load, trusted, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody is asked"))
    change(folder, text_cfg={"hf_tokenizer_name": "somebody/words", **trusted})
    with pytest.raises(InputError, match=r"which is not (done|passed on)"):
        load(folder)
    assert not marker.exists()


MARQO = {"auto_map": {"AutoModel": "marqo_fashionSigLIP.MarqoFashionSigLIP"}}


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (MARQO, False),
        ({}, False),
        ({"auto_map": {**MARQO["auto_map"], "AutoTokenizer": [None, "words.Words"]}}, True),
        ({"auto_map": ["words.Words", None]}, True),
        ({"auto_map": "words.Words"}, True),
    ],
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_beside_a_tokenizer_is_no_reason_to_refuse_it(folder, file, content, refused):
    """Marqo-FashionSigLIP's layout: the folder's tokenizer is transformers' own, its code is of a model."""
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / file).write_text(json.dumps(content))
    change(folder, text_cfg={"hf_tokenizer_name": "somebody/words"})
    with pytest.raises(InputError, match="take auto_map out of the file") if refused else nullcontext():
        check_folder(folder)


@pytest.mark.parametrize(
    "command",
    [
        ["index", "MODEL", "PHOTOS", "--to", "INDEX"],
        ["judge", "MODEL", "PHOTOS/photo.jpg", "a red dress"],
    ],
)
def test_commands_do_not_run_it_either(folder, marker, command, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "photo.jpg")
    change(folder, text_cfg={"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}})
    places = {"MODEL": folder, "PHOTOS": tmp_path / "photos", "INDEX": tmp_path / "index"}
    with pytest.raises(SystemExit, match="trust_remote_code"):
        main([str(places.get(word, word)) for word in command])
    assert not marker.exists() and not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_cfg": {"hf_model_name": "somebody/roberta"}}, "hf_model_name=somebody/roberta is on a hub"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:somebody/vit"}}, "plain name of a model of timm"),
        ({"vision_cfg": {"timm_model_name": "local-dir:elsewhere"}}, "plain name of a model of timm"),
        ({"text_cfg": {"hf_tokenizer_name": "somebody/words"}}, "needs a tokenizer of transformers"),
        (
            {"text_cfg": {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}},
            "bpe_path='/etc/passwd'",
        ),
        ({"text_cfg": {"tokenizer_kwargs": {"additional_special_tokens": ["("]}}}, "additional_special_tokens"),
        ({"text_cfg": {"tokenizer_kwargs": {"clean": {"a": 1}}}}, "clean="),
        ({"text_cfg": []}, "no text_cfg"),
        ({"multimodal_cfg": 3}, "no multimodal_cfg"),
        ({"embed_dim": 10**9}, "embed_dim=1000000000. Expected 1 to 8,192"),
        ({"embed_dim": "16"}, "embed_dim=16"),
        ({"vision_cfg": {"layers": [3, 4, 10**6, 3]}}, "layers="),
        ({"vision_cfg": {"layers": float("nan")}}, "layers=nan"),
        ({"vision_cfg": {"image_size": 10**5}}, "image_size=100000. Expected 1 to 1,024"),
        ({"vision_cfg": {"patch_size": 1}}, "patch_size=1. Expected 4"),
        ({"text_cfg": {"vocab_size": 10**9}}, "vocab_size=1000000000"),
        (
            {"vision_cfg": {"layers": 128, "width": 8192, "head_width": 64}},
            "for which .* bytes are too few",
        ),
        ({"preprocess": {"std": [0.0, 1, 1]}}, "has std="),
        ({"preprocess": {"mean": [float("nan")] * 3}}, "has mean="),
        ({"preprocess": {"mean": 0.5}}, "has mean="),
        ({"preprocess": {"resize_mode": "any"}}, "has resize_mode=any"),
        ({"preprocess": {"fill_color": "x"}}, "has fill_color=x"),
        ({"preprocess": {"size": [32, "x"]}}, "has size="),
        ({"text_cfg": {"tokenizer_kwargs": [1]}}, "tokenizer_kwargs="),
        ({"text_cfg": {"tokenizer_kwargs": "abc"}}, "tokenizer_kwargs=abc"),
        ({"vision_cfg": {"width": 192.0, "head_width": 64}}, "open_clip can build no model of it"),
        ({"embed_dim": None}, "open_clip can build no model of it"),
        ({"vision_cfg": {"unheard_of": 1}}, "open_clip can build no model of it .*unheard_of"),
    ],
)
def test_what_leads_elsewhere_or_is_out_of_bounds_is_refused(folder, settings, message):
    change(folder, **settings)
    with pytest.raises(InputError, match=message) as refusal:
        load_backbone(name=f"local-dir:{folder}")
    assert CONFIG in str(refusal.value) or str(folder) in str(refusal.value)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_cfg": 1}', "[" * 100_000])
def test_a_config_that_is_none(folder, content):
    (folder / CONFIG).write_text(content)
    with pytest.raises(InputError, match=CONFIG):
        load_backbone(name=f"local-dir:{folder}")


def test_a_run_in_place_of_an_export_is_told_apart(tmp_path):
    (tmp_path / "a run" / "checkpoints").mkdir(parents=True)
    for load in (load_encoder, check_folder):
        with pytest.raises(InputError, match=f"fashionclip export '{tmp_path}/a run' --to DIR"):
            load(tmp_path / "a run")


def test_every_model_of_open_clip_is_within_the_bounds():
    for name in open_clip.list_models():
        check_architecture(open_clip.get_model_config(name), where=name)
    assert {"layers", "width", "vocab_size", "image_size", "embed_dim"} <= set(BOUNDS)
