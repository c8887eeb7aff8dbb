import pytest
import yaml

from fashionclip.retrieval.export.model_card import licence_of, model_card

NEEDED = {
    "label": "vit-b-32",
    "judge": None,
    "preprocessing": {"size": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "shortest"},
    "embedding": {"size": 512, "context_length": 77},
    "checked": {
        "source": "drawn garments",
        "photos": 32,
        "texts": 36,
        "lowest_cosine": {"open_clip": {"image": 0.9999876, "text": 1.0}},
    },
}
FULL = {
    **NEEDED,
    "judge": {"threshold": 0.31234, "scale": 20.0, "bias": -6.5},
    "base": {"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "image_weights": None},
    "data": {
        "name": "kaggle-products",
        "counts": {"read": 8000, "dropped": {"no_text": 1000}, "splits": {"train": 5500, "val": 700, "test": 800}},
    },
    "tuning": {
        "loss": "ContrastiveLoss(form=softmax)",
        "relation": "PairRelation()",
        "frozen": ["visual.trunk"],
        "epoch": 4,
        "max_epochs": 15,
        "steps": 105,
        "optimizer": "AdamW",
        "lr": 1e-5,
        "weight_decay": 0.1,
        "batch_size": 256,
        "devices": 1,
        "precision": "bf16-mixed",
        "augmentation": {"flip": 0.5},
        "seed": 0,
    },
    "metrics": {
        "text_to_image/recall@1": {"before": 0.25, "after": 0.5, "interval": [0.404, 0.596], "queries": 100},
        "text_to_image/median_rank": {"before": None, "after": 2.0},
    },
}


def front_matter(card):
    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def test_a_hub_can_read_the_front_matter():
    head = front_matter(model_card(FULL))
    assert head["library_name"] == "open_clip" and head["license"] == "mit" and "fashion" in head["tags"]
    hub = FULL["base"] | {"name": "hf-hub:Marqo/marqo-fashionSigLIP", "pretrained": None}
    head = front_matter(model_card(FULL | {"base": hub}))
    assert head["base_model"] == "Marqo/marqo-fashionSigLIP" and head["license"] == "apache-2.0"


@pytest.mark.parametrize(
    "line",
    [
        "| text_to_image/recall@1 | 0.250 | 0.500 | 0.404 to 0.596 | 100 |",
        "| text_to_image/median_rank |  | 2 |  |  |",
        "kaggle-products: 5,500 train, 700 val, 800 test photos",
        "Left out of 8,000 read: no_text 1,000.",
        "at least 0.3123, chosen on the val split",
        "sigmoid(20.0000 x cosine + -6.5000)",
        "| best epoch | 4 of at most 15 (105 steps) |",
        "| frozen parts | `visual.trunk` |",
        "| optimizer | AdamW, lr 1e-05, weight decay 0.1 |",
        "| batch | 256 rows a process, devices 1, precision bf16-mixed |",
        "| augmentation | flip 0.5 |",
        "their publisher states the licence mit",
        "32 photos and 36 texts of drawn garments",
        "| open_clip | 0.9999876 | 1.0000000 |",
    ],
)
def test_each_fact_is_told(line):
    assert line in model_card(FULL)


def test_what_is_not_known_is_left_out():
    card = model_card(NEEDED)
    assert "license" not in front_matter(card)
    assert [line for line in card.splitlines() if line.startswith("## ")] == ["## Use", "## Verdicts", "## Checked"]
    assert "No threshold was chosen" in card and "onnx" not in card and "transformers" not in card
    assert "not at hand" in model_card(NEEDED | {"data": {"name": "demo", "counts": None}})


def test_forms_say_how_they_are_used():
    cosine = {"image": 1.0, "text": 1.0}
    checked = NEEDED["checked"] | {
        "lowest_cosine": {"onnx": cosine, "transformers": cosine},
        "transformers_processing": {"image": 0.99995, "same_tokens": 35},
    }
    card = model_card(NEEDED | {"checked": checked})
    assert "`pixels`, float32 (B, 3, 224, 224)" in card and "`tokens`, int64 (B, 77)" in card
    assert 'CLIPModel.from_pretrained("DIR/transformers")' in card and "35 of the 36 texts" in card


@pytest.mark.parametrize(
    ("name", "pretrained", "image_weights", "licence", "told"),
    [
        ("ViT-B-32", "openai", None, "mit", "licence mit"),
        ("ViT-B-16-SigLIP", "webli", None, "apache-2.0", "licence apache-2.0"),
        ("fashionclip-lite0", None, "lite0", "apache-2.0", "its text tower from scratch"),
        ("MobileCLIP-S1", "datacompdr", None, "other", "see base model"),
        ("ViT-B-32", "mine.pt", None, None, "see base model"),
        ("hf-hub:someone/model", None, None, None, "see base model"),
        ("fashionclip-tiny", None, None, None, "no licence of base weights"),
    ],
)
def test_the_licence_follows_the_weights(name, pretrained, image_weights, licence, told):
    base = {"name": name, "pretrained": pretrained, "image_weights": image_weights}
    assert licence_of(base) == licence
    card = model_card(NEEDED | {"base": base})
    assert told in card and front_matter(card).get("license") == licence


def test_what_open_clip_alone_does_not_bring_is_said():
    base = {"name": "fashionclip-lite0-minilm", "pretrained": None, "image_weights": "lite0.load_imagenet_weights"}
    card = model_card(NEEDED | {"base": base, "towers": {"image": "tf_efficientnet_lite0_levels", "text": "some/text"}})
    assert (
        "import fashionclip.models.lite0" in card
        and "the hub for the config of the text tower, 1 kB of `some/text`" in card
    )
    assert "its text tower that of `some/text`" in card
    for towers in ({}, {"towers": {"image": "tf_efficientnet_lite0", "text": None}}):
        card = model_card(NEEDED | {"base": base} | towers)
        assert "With open_clip alone;" in card and "import fashionclip" not in card and "asks the hub" not in card
        assert "its text tower from scratch" in card
