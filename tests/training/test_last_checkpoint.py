"""A training that is cut anywhere ends, when it goes on, with the bits that it would have had."""

from functools import partial

import lightning as L
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader

from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.hard_negatives import HardNegatives, HardNegativeSampler
from fashionclip.data.samplers import SomeSampler
from fashionclip.training.checkpoints import LastCheckpoint, WholeCheckpoints
from fashionclip.training.epochs import EpochLines

ROWS, SIZE = 21, 4  # 5 steps an epoch


class Cut(Exception):
    pass


class Numbers(RetrievalDataModule):
    """Numbers in place of batches, in the order of our loaders."""

    def __init__(self, *, every):
        L.LightningDataModule.__init__(self)
        self.begun = self.frozen_image_part = self.frozen_text_part = None
        self.hard_negatives = HardNegatives(every=every) if every else None
        self.rows = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))

    def find(self):
        """As the weights at that time have it."""
        return (self.rows @ self.trainer.lightning_module.layer[0].weight @ self.rows.T).topk(5).indices

    def train_dataloader(self):
        sampler = SomeSampler(torch.arange(ROWS), seed=1)
        if self.hard_negatives:
            near = partial(self.hard_negatives.near, find=self.find)
            sampler = HardNegativeSampler(sampler.places, near=near, per_group=2, seed=1)
        return DataLoader(
            self.rows,
            batch_size=SIZE,
            drop_last=True,
            sampler=self.begin(sampler, SIZE),
        )

    def val_dataloader(self):
        return DataLoader(torch.randn(6, 3), batch_size=2)


class Toy(L.LightningModule):
    """With chance in its steps; `cut` is the number of the training or validation step that it does not do."""

    def __init__(self, *, cut, plateau):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 1))
        self.config = {"trainer": {"max_epochs": 3, "max_time": None}}
        self.cut, self.plateau, self.seen = cut, plateau, []

    def on_save_checkpoint(self, checkpoint):
        checkpoint["config"] = self.config

    def training_step(self, batch, batch_idx):
        if self.cut == ("train", self.trainer.fit_loop.epoch_loop.total_batch_idx):
            raise Cut
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        self.seen.append((self.trainer.current_epoch, batch_idx, loss.item()))
        return loss

    def validation_step(self, batch, batch_idx):
        if self.cut == ("val", self.trainer.current_epoch) and batch_idx == 1:  # as at a signal
            next(c for c in self.trainer.callbacks if isinstance(c, LastCheckpoint)).write(self.trainer)
            raise Cut
        self.log("val/recall", 1 / (1 + self.trainer.current_epoch))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
        if self.plateau:
            scheduler = {"scheduler": ReduceLROnPlateau(optimizer, mode="max", patience=0), "monitor": "val/recall"}
        else:
            total = int(self.trainer.estimated_stepping_batches)  # which makes the loader early
            scheduler = {"scheduler": LambdaLR(optimizer, lambda step: 1 - step / total), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def train(folder, *, cut=None, go_on=False, plateau=False, every=None, **settings):
    module = Toy(cut=cut, plateau=plateau)
    trainer = L.Trainer(
        **{"max_epochs": 3, "num_sanity_val_steps": 0} | settings,
        accelerator="cpu",
        callbacks=[LastCheckpoint(dirpath=str(folder), steps=2), EpochLines(monitor="val/recall")],
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(module, Numbers(every=every), ckpt_path=folder / "last.ckpt" if go_on else None, weights_only=True)
    except Cut:
        return module
    return module, torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
@pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX`")
@pytest.mark.parametrize(
    ("cuts", "settings"),
    [
        ([("train", 4), ("train", 6), ("train", 10), ("val", 1)], {}),
        ([("train", 7), ("val", 1)], {"plateau": True}),
        ([("train", 4), ("train", 8), ("train", 12), ("val", 0), ("val", 1)], {"every": 2}),
        ([("train", 8), ("val", 1)], {"every": 1, "val_check_interval": 2}),
        ([("train", 8), ("val", 0)], {"val_check_interval": 2}),
        ([("train", 8)], {"accumulate_grad_batches": 2}),
        ([("train", 8)], {"max_epochs": -1, "max_steps": 12, "check_val_every_n_epoch": None, "val_check_interval": 3}),
    ],
)
def test_it_goes_on_to_the_same_bits(tmp_path, cuts, settings, capsys):
    whole, last = train(tmp_path / "whole", **settings)
    lines = capsys.readouterr().out.splitlines()
    for cut in cuts:
        folder = tmp_path / f"{cut[0]}{cut[1]}"
        before = train(folder, cut=cut, **settings)
        capsys.readouterr()
        after, again = train(folder, go_on=True, **settings)
        assert after.seen[-1] == whole.seen[-1] and after.seen == whole.seen[-len(after.seen) :]
        assert len(before.seen) + len(after.seen) - len(whole.seen) in range(2), "what had been done is not done again"
        assert capsys.readouterr().out.splitlines()[-2:] == lines[-2:]
        for part in ("optimizer_states", "lr_schedulers", "loops", "callbacks", "state_dict", "Numbers", "global_step"):
            assert str(again[part]) == str(last[part]), (cut, part)
        assert all(torch.equal(again["state_dict"][name], value) for name, value in last["state_dict"].items())
