"""The loss of a training, and what a backbone trains for it."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.relations import Relation
from fashionclip.errors import InputError
from fashionclip.losses.protocol import LogitLoss
from fashionclip.models.backbone import Backbone


def loss_of(cfg: DictConfig, backbone: Backbone, relation: Relation, data: RetrievalDataModule) -> nn.Module:
    """Builds the loss. What has no part in it is frozen in the backbone, since DDP waits for every gradient.

    Args:
        cfg: Config of the run.
        backbone: Backbone, which gets the bias and the temperature that the loss asks for.
        relation: Relation of the loss.
        data: Data of the training.

    Raises:
        InputError: A temperature is given for a loss without a logit scale.
    """
    if "adapter" in cfg.loss:
        items, size = relation.alike(data.rows)[0][data.rows.of_split("train")], backbone.architecture["embed_dim"]
        loss = instantiate(cfg.loss.adapter, items=items, embedding_size=size)
    else:
        loss = instantiate(cfg.loss.function)
    if isinstance(loss, LogitLoss) and loss.biased:
        backbone.add_logit_bias()
    elif not relation.uses_text:
        backbone.freeze_text()
    elif backbone.logit_bias is not None:
        backbone.logit_bias.requires_grad_(False)
    if cfg.loss.get("temperature") is not None:
        if not isinstance(loss, LogitLoss):
            raise InputError(f"loss.temperature={cfg.loss.temperature}: this loss has no logit scale. Leave it out.")
        backbone.set_temperature(cfg.loss.temperature)
    if not isinstance(loss, LogitLoss):
        backbone.logit_scale.requires_grad_(False)
    return loss
