import pytest
import torch

from fashionclip.errors import InputError
from fashionclip.retrieval.export import export, onnx
from fashionclip.retrieval.export.export import write_export
from fashionclip.retrieval.export.samples import drawn_samples

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
VIT = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
SIGMOID_LIKE = {
    "embed_dim": 64,
    "custom_text": True,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
    "text_cfg": {**TEXT, "context_length": 16, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
}
FACTS = {"label": "small", "judge": None}


@pytest.mark.parametrize("architecture", [VIT, pytest.param(SIGMOID_LIKE, marks=pytest.mark.slow)])
def test_onnx_embeds_as_the_checkpoint_at_any_batch_size(build, tmp_path, architecture):
    ort = pytest.importorskip("onnxruntime")
    backbone, samples = build(architecture), drawn_samples(count=4)
    facts = write_export(tmp_path / "export", backbone, facts=FACTS, samples=samples, onnx=True)
    assert facts["checked"]["lowest_cosine"]["onnx"] == pytest.approx({"image": 1, "text": 1}, abs=1e-5)
    assert "onnx" in facts["files"] and "onnx/image.onnx" in (tmp_path / "export" / "README.md").read_text()
    files = tmp_path / "export" / "onnx"
    assert sorted(file.name for file in files.iterdir()) == ["image.onnx", "text.onnx"]
    pixels = torch.randint(256, (5, 3, *[backbone.preprocess.size] * 2), dtype=torch.uint8)
    session = ort.InferenceSession(files / "image.onnx")
    (got,) = session.run(["image_embedding"], {"pixels": backbone.normalize(pixels).numpy()})
    torch.testing.assert_close(torch.from_numpy(got), backbone.encode_image(pixels).detach(), atol=1e-5, rtol=0)
    (text,) = ort.InferenceSession(files / "text.onnx").get_inputs()
    assert text.name == "tokens" and text.type == "tensor(int64)"
    assert text.shape[1] == architecture["text_cfg"]["context_length"] and isinstance(text.shape[0], str)


def test_an_onnx_file_that_embeds_otherwise_is_refused(build, tmp_path, monkeypatch):
    embedded = export._embed_plainly
    monkeypatch.setattr(export, "write_onnx", lambda folder, plain, *, inputs: kept.append(plain))
    kept: list = []

    def embed(folder, *, inputs, size):
        found = embedded(kept[0], inputs)
        return found if size == 1 else {kind: values[:, ::-1] for kind, values in found.items()}

    monkeypatch.setattr(export, "embed_with_onnx", embed)
    with pytest.raises(InputError, match="onnx embeds otherwise"):
        write_export(tmp_path / "export", build(VIT), facts=FACTS, samples=drawn_samples(count=4), onnx=True)
    assert not (tmp_path / "export").exists()


def test_missing_packages_are_named_before_anything_is_written(build, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(InputError, match=r"needs onnxruntime. Run: pip install 'fashionclip\[onnx\]'"):
        write_export(tmp_path / "export", build(VIT), facts=FACTS, onnx=True)
    assert not list(tmp_path.glob("export*"))


def test_a_tower_that_cannot_be_traced_is_one_message(build, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.onnx.errors.OnnxExporterError("Failed to export\nwith a long story")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(InputError, match=r"image tower cannot be traced \(Failed to export\)"):
        write_export(tmp_path / "export", build(VIT), facts=FACTS, samples=drawn_samples(count=4), onnx=True)
    assert not list(tmp_path.glob("export*"))
