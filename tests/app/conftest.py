import json
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from torch import nn

from fashionclip.app.checkpoint import named
from fashionclip.app.run import train
from fashionclip.metrics.intervals import intervals_of
from fashionclip.retrieval.export.training_record import RECORD, write_record
from fashionclip.training.module import RetrievalModule

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def quick_results(monkeypatch):
    """No pictures of examples, and intervals of few draws: both take longer than all else of a small evaluation."""
    monkeypatch.setattr("fashionclip.app.results.draw_examples", lambda *_: None)
    monkeypatch.setattr("fashionclip.evaluation.outcome.intervals_of", partial(intervals_of, draws=20))


@pytest.fixture
def run(tmp_path, demo_dataset, quick_results):
    """Trains with overrides; returns what training returns."""
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(tmp_path / "small.json")
    given = [
        "dataset=kaggle-products",
        f"dataset.root={demo_dataset.root}",
        "loss=contrastive",
        "model=tiny",
        "model.backbone.name=small",
        "data.batch_size=16",
        "data.num_workers=0",
        "trainer.max_epochs=1",
        f"hydra.run.dir={tmp_path}",
        f"hydra.runtime.output_dir={tmp_path}",
        "trainer.enable_progress_bar=false",
        "loss.monitor=val/text_to_image/mrr",
        "~logger.tensorboard",
        "report=false",
    ]

    def trained(*overrides, of=None):
        """Of a run's folder: with its config alone, which is made again."""
        with initialize_config_dir(str(of or CONFIGS), version_base="1.3"):
            kept = [one for one in given if "~logger" not in overrides or one != "~logger.tensorboard"]
            cfg = compose("config" if of else "train", [*([] if of else kept), *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return train(cfg)

    yield trained
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


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
