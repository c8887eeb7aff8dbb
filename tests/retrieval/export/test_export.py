import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fashionclip.atomic import MARK
from fashionclip.errors import InputError
from fashionclip.models.folder import CONFIG
from fashionclip.retrieval.encoder import load_encoder
from fashionclip.retrieval.export import export as module
from fashionclip.retrieval.export.export import FACTS, WEIGHTS, write_export
from fashionclip.retrieval.export.samples import drawn_samples

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VIT = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": TEXT,
}
SIGMOID_LIKE = {
    "embed_dim": 64,
    "custom_text": True,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
    "text_cfg": {**TEXT, "context_length": 16, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
}
FACTS_GIVEN = {"label": "small", "judge": None}
TEXTS = ["a red dress", "", "Levi's &amp; more " * 30]


@pytest.fixture(scope="module")
def vit(build):
    return build(VIT, name="export-vit")


@pytest.fixture(scope="module")
def sigmoid_like(build):
    backbone = build(SIGMOID_LIKE, name="export-sigmoid-like")
    stated = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "resize_mode": "squash", "interpolation": "bilinear"}
    backbone.preprocess = replace(backbone.preprocess, **stated)
    backbone.mean.fill_(0.5)
    backbone.std.fill_(0.25)
    backbone.add_logit_bias(-7.0)
    return backbone


@pytest.fixture(scope="module")
def samples():
    return drawn_samples(count=5)


@pytest.fixture(scope="module")
def folders(vit, sigmoid_like, samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    for name, backbone in (("vit", vit), ("sigmoid-like", sigmoid_like)):
        write_export(folder / name, backbone, facts=FACTS_GIVEN, samples=samples)
    return folder


PLAIN = """
import sys, numpy as np, open_clip, torch
from PIL import Image
for folder in sys.argv[2:]:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        image = model.encode_image(transform(Image.open(sys.argv[1]))[None], normalize=True)
        text = model.encode_text(tokenizer(eval(sys.stdin.readline())), normalize=True)
    bias = 0 if model.logit_bias is None else model.logit_bias.item()
    np.savez(f"{folder}.npz", image=image, text=text, scale=model.logit_scale.item(), bias=bias)
assert not [name for name in sys.modules if name.startswith("fashionclip")]
"""


def test_open_clip_alone_in_a_fresh_process_embeds_as_we_do(folders, vit, sigmoid_like, samples, tmp_path):
    samples.photos[0].save(tmp_path / "photo.png")
    paths = {folders / "vit": vit, folders / "sigmoid-like": sigmoid_like}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "photo.png"), *map(str, paths)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"},
        input=f"{TEXTS!r}\n" * 2,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for path, backbone in paths.items():
        encoder = load_encoder(path)
        with np.load(f"{path}.npz") as found:
            photo = Image.open(tmp_path / "photo.png")
            np.testing.assert_allclose(found["image"], encoder.images([photo]), atol=1e-5)
            np.testing.assert_allclose(found["text"], encoder.texts(TEXTS), atol=1e-5)
            ours = backbone.encode_text(backbone.tokenizer(TEXTS)).detach().numpy()
            np.testing.assert_allclose(found["text"], ours, atol=1e-5)
            assert found["scale"] == pytest.approx(backbone.logit_scale.item())
            assert found["bias"] == pytest.approx(-7.0 if backbone is sigmoid_like else 0)


def test_what_is_written(folders, samples):
    facts = json.loads((folders / "sigmoid-like" / FACTS).read_text())
    assert {entry.name for entry in (folders / "sigmoid-like").iterdir()} == set(facts["files"])
    assert facts["preprocessing"]["mean"] == [0.5] * 3 and facts["preprocessing"]["resize_mode"] == "squash"
    assert facts["embedding"] == {"size": 64, "context_length": 16}
    checked = facts["checked"]
    assert (checked["photos"], checked["texts"], checked["source"]) == (5, len(samples.texts), "drawn garments")
    assert 0.9999 <= min(checked["lowest_cosine"]["open_clip"].values()) <= 1.0000001
    assert sorted(entry.name for entry in folders.iterdir() if entry.is_dir()) == ["sigmoid-like", "vit"]


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def change_weights(folder):
    state = load_file(folder / WEIGHTS)
    save_file(state | {"visual.proj": state["visual.proj"].flip(1).contiguous()}, folder / WEIGHTS)


def change_words(folder):
    state = load_file(folder / WEIGHTS)
    save_file(state | {"token_embedding.weight": state["token_embedding.weight"].roll(1, 0)}, folder / WEIGHTS)


def change_preprocessing(folder):
    config = json.loads((folder / CONFIG).read_text())
    config["preprocess_cfg"]["std"] = [10.0, 0.1, 0.2]
    (folder / CONFIG).write_text(json.dumps(config))


def change_layers(folder):
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["layers"] = 2
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_weights, "lowest cosine image .*, text 1.000000, expected at least 0.9999"),
        (change_words, "lowest cosine image 1.000000, text -?0"),
        (change_preprocessing, "lowest cosine image -?0"),
        (change_layers, "open_clip cannot load what was written"),
    ],
)
def test_a_broken_export_is_refused_and_the_old_one_stays_whole(vit, samples, tmp_path, monkeypatch, spoil, message):
    folder = tmp_path / "export"
    write_export(folder, vit, facts=FACTS_GIVEN, samples=samples)
    before = contents(folder)
    write = module._write_open_clip
    monkeypatch.setattr(module, "_write_open_clip", lambda folder, backbone: (write(folder, backbone), spoil(folder)))
    with pytest.raises(InputError, match=message):
        write_export(folder, vit, facts={"label": "other", "judge": None}, samples=samples)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_embeddings_that_are_no_numbers_are_refused(build, samples, tmp_path):
    backbone = build(VIT, name="export-nan")
    with torch.no_grad():
        backbone.clip.visual.proj[0, 0] = float("nan")
    with pytest.raises(InputError, match="image nan"):
        write_export(tmp_path / "export", backbone, facts=FACTS_GIVEN, samples=samples)
    assert not list(tmp_path.iterdir())


def test_an_older_export_is_replaced(vit, samples, tmp_path):
    folder = tmp_path / "export"
    for label in ("old", "new"):
        write_export(folder, vit, facts={"label": label, "judge": None}, samples=samples)
    assert load_encoder(folder).facts["label"] == "new"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_kill_between_the_two_renames_loses_nothing(vit, samples, tmp_path, monkeypatch):
    aside = tmp_path / ".export.fashionclip"
    (aside / "old").mkdir(parents=True)
    (aside / MARK).touch()
    (aside / "old" / FACTS).write_text('{"label": "old"}')
    (aside / "new").mkdir()
    monkeypatch.setattr(module, "_write_open_clip", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_export(tmp_path / "export", vit, facts=FACTS_GIVEN, samples=samples)
    assert contents(tmp_path) == {(tmp_path / "export" / FACTS).relative_to(tmp_path): b'{"label": "old"}'}


def test_folders_of_others_beside_it_are_never_touched(vit, samples, tmp_path):
    for name in ("shop.old", "shop.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("precious")
    for _ in range(2):
        write_export(tmp_path / "shop", vit, facts=FACTS_GIVEN, samples=samples)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop", "shop.old", "shop.partial"]
    assert {(tmp_path / f"shop{end}" / "thesis.txt").read_text() for end in (".old", ".partial")} == {"precious"}


def a_file(folder):
    folder.write_text("mine")


def a_folder_of_photos(folder):
    folder.mkdir()
    (folder / "photo.jpg").write_text("mine")


def an_export_and_more(folder):
    folder.mkdir()
    (folder / FACTS).write_text(json.dumps({"files": [FACTS, CONFIG]}))
    (folder / "index").mkdir()


def below_a_file(folder):
    folder.parent.rmdir()
    folder.parent.write_text("mine")


@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (a_file, "is a file. Expected a folder"),
        (a_folder_of_photos, r"holds \['photo.jpg'\] and is no export"),
        (an_export_and_more, r"beside an older export it holds \['index'\]"),
        (below_a_file, "cannot be written"),
    ],
)
def test_nothing_of_others_is_replaced(vit, samples, tmp_path, occupy, message):
    folder = tmp_path / "place" / "export"
    folder.parent.mkdir()
    occupy(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        write_export(folder, vit, facts=FACTS_GIVEN, samples=samples)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tokenizer_of_transformers_is_saved_with_the_model(build, samples, words, tmp_path):
    text = {**SIGMOID_LIKE["text_cfg"], "hf_tokenizer_name": str(words), "vocab_size": 6}
    backbone = build({**SIGMOID_LIKE, "text_cfg": text})
    facts = write_export(tmp_path / "export", backbone, facts=FACTS_GIVEN, samples=samples)
    assert {"tokenizer.json", "tokenizer_config.json"} <= set(facts["files"])
    words.rename(tmp_path / "gone")
    assert load_encoder(tmp_path / "export").backbone.tokenizer(["a red dress"])[0, :4].tolist() == [2, 3, 4, 1]
