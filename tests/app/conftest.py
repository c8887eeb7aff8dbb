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
