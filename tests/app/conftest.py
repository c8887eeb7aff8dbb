import numpy as np
import pytest
import torch
from torch import nn

from fashionclip.app.checkpoint import named
from fashionclip.retrieval.export.training_record import RECORD, write_record
from fashionclip.training.module import RetrievalModule


@pytest.fixture
def leave_run():
    def leave_run(folder, backbone, dataset, *, name, tag=None):
        """What a training leaves in its folder, as far as evaluation and export look."""
        config = named(
            {
                "model": {
                    "label": name,
                    "backbone": {
                        "_target_": "fashionclip.models.load.load_backbone",
                        "name": name,
                        "pretrained": tag,
                        "image_size": None,
                        "freeze": [],
                    },
                },
                "dataset": {"name": "demo", "root": str(dataset.root)},
                "dataset_fingerprint": dataset.info["fingerprint"],
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
        )
        module = RetrievalModule(backbone=backbone, loss=nn.Identity(), metrics=nn.Identity(), config=config)
        checkpoint = {"state_dict": module.state_dict(), "epoch": 0, "global_step": 1}
        module.on_save_checkpoint(checkpoint)
        (folder / "checkpoints").mkdir(parents=True)
        torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
        write_record(folder / RECORD, backbone, dataset)

    return leave_run


COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "lime": (0, 1, 0), "blue": (0, 0, 1)}


class Colours:
    """Stands in for an encoder: embeds a photo as its mean colour, and a text as the colours that it names."""

    digest = "colours"
    decode_size = 32

    def __init__(self):
        self.facts = {}

    def texts(self, texts):
        return self.unit([np.sum([COLOURS.get(word, (0, 0, 0)) for word in text.split()], axis=0) for text in texts])

    def images(self, images):
        return self.embed([self.pixels(image) for image in images])

    def pixels(self, image):
        return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1)

    def embed(self, pixels):
        return self.unit([one.float().mean(dim=(1, 2)).numpy() for one in pixels])

    def unit(self, vectors):
        vectors = np.asarray(vectors, dtype=np.float32) + 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def colours(monkeypatch):
    """The encoder of every export."""
    encoder = Colours()
    for module in ("encoder", "search.search"):
        monkeypatch.setattr(f"fashionclip.retrieval.{module}.load_encoder", lambda folder, **options: encoder)
    monkeypatch.setattr("fashionclip.retrieval.search.search.export_digest", lambda folder: Colours.digest)
    return encoder
