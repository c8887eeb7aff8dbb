from dataclasses import replace

import numpy as np
import pytest
import torch

from fashionclip.errors import InputError
from fashionclip.models.load import load_backbone
from fashionclip.retrieval.export.samples import embed, lowest_cosine
from fashionclip.retrieval.export.training_record import COUNT, read_record, weights_digest, write_record


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return load_backbone(name="fashionclip-tiny")


def test_what_was_written_is_read(backbone, demo_dataset, tmp_path):
    backbone.train()
    write_record(tmp_path / "record", backbone, demo_dataset)
    assert backbone.training, "as it was"
    record = read_record(tmp_path / "record", decode_size=2 * backbone.preprocess.size)
    assert len(record.samples.photos) == COUNT and record.samples.source == "the test split of demo"
    assert record.weights == weights_digest(backbone)
    found = embed(backbone.eval(), record.samples)
    for kind, wanted in record.embeddings.items():
        np.testing.assert_allclose(found[kind], wanted, atol=1e-6)
    assert list(tmp_path.iterdir()) == [tmp_path / "record"]


def test_photos_that_cannot_be_read_are_passed_over(backbone, demo_dataset, tmp_path):
    manifest = demo_dataset.manifest.copy()
    manifest.loc[manifest.index[manifest["split"] == "test"][0], "path"] = "images/gone.jpg"
    write_record(tmp_path / "record", backbone, replace(demo_dataset, manifest=manifest))
    assert len(read_record(tmp_path / "record", decode_size=64).samples.photos) == COUNT - 1
    write_record(tmp_path / "none", backbone, replace(demo_dataset, root=tmp_path))
    with pytest.raises(InputError, match="none: not there; the run was stopped"):
        read_record(tmp_path / "none", decode_size=64)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_record_is_one_message(tmp_path, content):
    (tmp_path / "record").write_bytes(content)
    with pytest.raises(InputError, match="record: cannot be read"):
        read_record(tmp_path / "record", decode_size=64)


def test_the_digest_is_of_names_and_weights(backbone):
    digest = weights_digest(backbone)
    other = load_backbone(name="fashionclip-tiny")
    assert weights_digest(other) != digest
    other.load_state_dict(backbone.state_dict())
    assert weights_digest(other) == digest


def test_a_record_of_a_training_in_bfloat16_is_of_the_weights_as_a_checkpoint_is_loaded(demo_dataset, tmp_path):
    trained = load_backbone(name="fashionclip-tiny").to(torch.bfloat16)
    write_record(tmp_path / "record", trained, demo_dataset)
    assert {weight.dtype for weight in trained.parameters()} == {torch.bfloat16}, "as it was"
    rebuilt = load_backbone(name="fashionclip-tiny").eval()
    rebuilt.load_state_dict(trained.state_dict())
    record = read_record(tmp_path / "record", decode_size=2 * rebuilt.preprocess.size)
    assert record.weights == weights_digest(rebuilt)
    found = embed(rebuilt, record.samples)
    assert all(lowest_cosine(found[kind], record.embeddings[kind]) >= 0.999999 for kind in found)
