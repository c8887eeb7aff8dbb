import json
from dataclasses import asdict

import open_clip
import pytest
import torch
from torch import nn

from fashionclip.app.checkpoint import backbone_of, load_checkpoint
from fashionclip.app.export import export_run
from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.models.backbone import load_backbone
from fashionclip.retrieval.encoder import load_encoder
from fashionclip.retrieval.plain_open_clip import load_plain
from fashionclip.retrieval.record import RECORD, write_record
from fashionclip.retrieval.samples import chosen_of, lowest_cosine
from fashionclip.training.module import RetrievalModule

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
# Small models of three families, with the preprocessing that open_clip's tags of the real ones state.
FAMILIES = {
    "siglip": (
        ("ViT-B-16-SigLIP", "webli"),
        {
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
            "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True, "vocab_size": 6},
        },
    ),
    "mobileclip": (
        ("MobileCLIP-S1", "datacompdr"),
        {
            "embed_dim": 16,
            "vision_cfg": {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "image_size": 64},
            "text_cfg": TEXT,
        },
    ),
    "perception": (
        ("PE-Core-B-16", "meta"),
        {
            "embed_dim": 16,
            "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "image_size": 160},
            "text_cfg": TEXT,
        },
    ),
}


def config_of(name, tag, dataset):
    """As much of a run's config as is read of a checkpoint."""
    return {
        "model": {
            "label": name,
            "backbone": {
                "_target_": "fashionclip.models.backbone.load_backbone",
                "name": name,
                "pretrained": tag,
                "image_size": None,
                "freeze": [],
            },
        },
        "dataset": {"name": "demo", "root": str(dataset.root)},
        "loss": {
            "function": {"_target_": "fashionclip.losses.contrastive.ContrastiveLoss"},
            "relation": {"_target_": "fashionclip.data.relations.PairRelation"},
        },
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-5, "weight_decay": 0.1},
        "trainer": {"max_epochs": 1, "devices": 1, "precision": "32-true"},
        "augmentation": {},
        "data": {"batch_size": 16},
        "seed": 0,
    }


def leave_run(folder, backbone, config, dataset):
    """What a training leaves, as far as rebuilding it looks."""
    module = RetrievalModule(backbone=backbone, loss=nn.Identity(), metrics=nn.Identity(), config=config)
    checkpoint = {"state_dict": module.state_dict(), "epoch": 0, "global_step": 1}
    module.on_save_checkpoint(checkpoint)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    write_record(folder / RECORD, backbone, dataset)


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


@pytest.fixture
def register(tmp_path, monkeypatch):
    def register(name, architecture, tagged):
        """Makes a model known to open_clip, with one tag, "tag", that states the preprocessing of another's."""
        (tmp_path / f"{name}.json").write_text(json.dumps(architecture))
        open_clip.add_model_config(tmp_path / f"{name}.json")
        stated = open_clip.get_pretrained_cfg(*tagged)
        assert stated, f"open_clip has no tag {tagged}"
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"tag": stated})
        return stated

    return register


@pytest.mark.parametrize("family", FAMILIES)
def test_training_evaluation_export_and_index_embed_alike(family, words, register, demo_dataset, tmp_path, capsys):
    tagged, architecture = FAMILIES[family]
    if family == "siglip":
        architecture = {**architecture, "text_cfg": {**architecture["text_cfg"], "hf_tokenizer_name": str(words)}}
    name = f"checkpoint-{family}"
    stated = register(name, architecture, tagged)
    torch.manual_seed(0)
    trained = load_backbone(name=name, pretrained="tag", load_weights=False).eval()
    for key in ("mean", "std", "interpolation", "resize_mode"):
        assert asdict(trained.preprocess)[key] == stated[key]
    leave_run(tmp_path / "run", trained, config_of(name, "tag", demo_dataset), demo_dataset)
    words.rename(tmp_path / "gone")
    (tmp_path / f"{name}.json").unlink()

    evaluated = backbone_of(load_checkpoint(tmp_path / "run")).eval()
    assert evaluated.preprocess == trained.preprocess
    assert "the training run has embedded" not in capsys.readouterr().out
    facts = export_run(tmp_path / "run", tmp_path / "export")
    assert facts["checked"]["training_run"]["photos"] == 8
    plain, indexed = load_plain(tmp_path / "export"), load_encoder(tmp_path / "export")

    files, texts, _ = chosen_of(demo_dataset, count=4)
    photos = [load_image(file, at_least=2 * trained.preprocess.size) for file in files]
    transform = type(indexed)(backbone=trained, digest="", facts={})
    wanted = {"image": transform.images(photos), "text": transform.texts(texts)}
    again = type(indexed)(backbone=evaluated, digest="", facts={})
    with torch.inference_mode():
        found = {
            "evaluate": (again.images(photos), again.texts(texts)),
            "export": (plain.images(plain.pixels(photos)).numpy(), plain.texts(plain.tokens(texts)).numpy()),
            "index": (indexed.images(photos), indexed.texts(texts)),
        }
    for image, text in found.values():
        assert lowest_cosine(image, wanted["image"]) >= 0.9999 and lowest_cosine(text, wanted["text"]) >= 0.9999


def test_an_older_checkpoint_has_the_preprocessing_of_its_tag(register, demo_dataset, tmp_path):
    tagged, architecture = FAMILIES["mobileclip"]
    register("checkpoint-older", architecture, tagged)
    trained = load_backbone(name="checkpoint-older", pretrained="tag", load_weights=False)
    leave_run(tmp_path / "run", trained, config_of("checkpoint-older", "tag", demo_dataset), demo_dataset)
    checkpoint = load_checkpoint(tmp_path / "run")
    del checkpoint["backbone"]
    assert backbone_of(checkpoint).preprocess == trained.preprocess


def test_every_tag_of_open_clip_states_what_is_taken_from_it():
    for name, tag in open_clip.list_pretrained():
        assert {"mean", "std", "interpolation", "resize_mode"} <= set(open_clip.get_pretrained_cfg(name, tag))


def test_an_export_that_embeds_otherwise_than_the_run_is_refused(register, demo_dataset, tmp_path):
    tagged, architecture = FAMILIES["mobileclip"]
    register("checkpoint-lost", architecture, tagged)
    trained = load_backbone(name="checkpoint-lost", pretrained="tag", load_weights=False)
    config = config_of("checkpoint-lost", None, demo_dataset)  # as if its tag were not known any more
    leave_run(tmp_path / "run", trained, config, demo_dataset)
    file = tmp_path / "run" / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    del checkpoint["backbone"]
    torch.save(checkpoint, file)
    with pytest.raises(InputError, match="the rebuilt checkpoint embeds otherwise than the training run did"):
        export_run(tmp_path / "run", tmp_path / "export")
    assert not (tmp_path / "export").exists()
