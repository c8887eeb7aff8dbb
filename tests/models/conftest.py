import json

import open_clip
import pytest
import torch

from fashionclip.models.load import load_backbone

ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture
def build(tmp_path):
    """Registers an architecture under a name of its own and builds it."""

    def build(architecture=ARCHITECTURE, name="fashionclip-under-test", **settings):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(architecture))
        open_clip.add_model_config(file)
        torch.manual_seed(0)
        return load_backbone(name=name, **settings).eval()

    return build
