import json
import logging
import os
import sys
from copy import copy
from functools import cache
from pathlib import Path

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.tokenizer import SimpleTokenizer

os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"
constants.HF_HUB_OFFLINE = True  # here, where it is imported already: else its client tries again for a minute
os.environ["GRPC_VERBOSITY"] = "ERROR"  # of Milvus, whose threads would else speak up in every fork of a later test
sys.path.append(str(Path(__file__).parent))  # drawn_photos

ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine torch's threads make small operations up to a hundred times slower."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_log_of_another_test():
    """A command that Hydra runs in this process goes on logging to a file of its run's folder."""
    before = logging.root.handlers[:]
    yield
    for handler in logging.root.handlers[:]:
        if handler not in before and isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session", autouse=True)
def one_vocabulary():
    """open_clip reads its 49,408 tokens anew for every model, which takes as long as the rest of a small one."""
    made = SimpleTokenizer()

    def tokenizer(context_length, **given):
        if given:
            return SimpleTokenizer(context_length=context_length, **given)
        same = copy(made)
        same.context_length = context_length
        return same

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("open_clip.factory.SimpleTokenizer", tokenizer)
        yield


@pytest.fixture(scope="session")
def real_data():
    """The folder of real photos that FASHIONCLIP_REAL_DATA names."""
    folder = os.environ.get("FASHIONCLIP_REAL_DATA", "")
    if not folder or not Path(folder, "kaggle-products").is_dir():
        pytest.skip("FASHIONCLIP_REAL_DATA does not name a folder with kaggle-products/")
    return Path(folder)


@pytest.fixture(scope="session")
def demo_dataset(tmp_path_factory):
    """A small drawn catalogue, prepared: 34 items with 3 photos each."""
    from fashionclip.prepare.demo import prepare_demo

    folder = tmp_path_factory.mktemp("demo")
    return prepare_demo(source=folder / "raw", root=folder / "prepared", items=34, max_side=160, workers=0)


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    from fashionclip.models.load import load_backbone

    folder = tmp_path_factory.mktemp("architectures")

    def build(architecture=ARCHITECTURE, *, name="fashionclip-under-test", seed=0, **settings):
        """Makes an architecture known to open_clip, under a name, and builds it with random weights."""
        file = folder / f"{name}.json"
        file.write_text(json.dumps(architecture))
        open_clip.add_model_config(file)
        torch.manual_seed(seed)
        return load_backbone(name=name, **settings).eval()

    return build


@pytest.fixture(scope="session")
def without_weights():
    """Builds a model of open_clip that has the shapes of its weights alone, once in a session."""

    @cache
    def built(name):
        with torch.device("meta"):
            return open_clip.create_model(name, device="meta")

    return built


@pytest.fixture
def words(tmp_path):
    """A folder with a tokenizer of transformers."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    ids = {"[UNK]": 0, "[PAD]": 1, "a": 2, "red": 3, "dress": 4, "women": 5}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    saved = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]")
    saved.save_pretrained(tmp_path / "words")
    return tmp_path / "words"
