"""The LightningModule: embeds a batch, asks the loss, and evaluates retrieval."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.checkpoint import checkpoint

from fashionclip import distributed
from fashionclip.batch import Batch, Judgements, RelationTensors
from fashionclip.errors import InputError
from fashionclip.losses.protocol import LogitLoss
from fashionclip.metrics.judgement_metrics import JudgementMetrics
from fashionclip.metrics.retrieval_metrics import RetrievalMetrics
from fashionclip.models.backbone import Backbone
from fashionclip.training.distillation import Teacher
from fashionclip.training.optim import parameter_groups, scale_rates
from fashionclip.training.validation_loss import embeddings_of


class RetrievalModule(L.LightningModule):
    """Fine-tunes a backbone with a loss.

    Args:
        backbone: Model to train.
        loss: Function of what the batch's relation selects; a `LogitLoss` takes the logit scale and bias as well.
        metrics: Metrics of an evaluation pass.
        judged: Metrics of its judgements, where there are any; what they choose on val is kept in the checkpoint.
        optimizer: Function from parameter groups to an optimizer; None for evaluation only.
        scheduler: Function from an optimizer (and `total_steps`, where it is an argument) to a schedule of the learning
            rate by steps, or to `ReduceLROnPlateau`; None: the rate stays as it is.
        weight_decay: Weight decay of matrices and kernels.
        rates: Factor on the learning rate by the name of a parameter of the backbone; 1 where there is none.
        monitor: Validation metric that a plateau schedule watches.
        teacher: Backbone as it was before training, near whose embeddings its own shall stay; None: none.
        cache_chunk: Number of photos, or texts, that training encodes at a time, so that memory does not grow with the
            batch; each is encoded twice then. None: all at once.
        config: Plain resolved config, kept in every checkpoint so that it can be loaded by itself.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        loss: nn.Module,
        metrics: RetrievalMetrics,
        judged: JudgementMetrics | None = None,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., LRScheduler] | None = None,
        weight_decay: float = 0.0,
        rates: Mapping[str, float] = MappingProxyType({}),
        monitor: str | None = None,
        teacher: Teacher | None = None,
        cache_chunk: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.loss = loss
        self.metrics = metrics
        self.judged = judged
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.weight_decay = weight_decay
        self.rates = {f"backbone.{name}": rate for name, rate in rates.items()}
        self.monitor = monitor
        self.teacher = teacher
        self.cache_chunk = cache_chunk
        self.config = dict(config or {})
        self.ever_above_zero = False  # the loss of a step

    def embed(self, batch: Batch, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
        """(I, D) and (T, D) unit-norm embeddings of a batch's photos and texts, of which there may be none.

        In chunks their activations are not kept: backward encodes each chunk again, with the same random numbers and in
        the same precision, so gradients are those of the whole batch. (Dropout draws chunk by chunk, where a batch at
        once would draw layer by layer.)

        Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"; PyTorch's
        checkpoints of activations, one a chunk, are its two passes.

        Args:
            batch: Batch to embed.
            chunk: Number of photos, or texts, at a time; None: all at once.
        """
        image = _in_chunks(self.backbone.encode_image, batch.images, chunk)
        return image, _in_chunks(self.backbone.encode_text, batch.texts, chunk) if len(batch.texts) else image[:0]

    def on_train_start(self) -> None:
        """Refuses what chunks would change, and says what accumulation does not do.

        Raises:
            InputError: Embeddings are computed in chunks, and what is trained looks at a whole batch.
        """
        if self.cache_chunk and any(isinstance(one, _BatchNorm) and one.training for one in self.backbone.modules()):
            raise InputError(
                f"loss.cache_chunk={self.cache_chunk}: the model has batch norms that are trained, which would see a "
                "chunk in place of the batch, and twice. Freeze that tower (tuning), choose a model without, or leave "
                "loss.cache_chunk out."
            )
        times = self.trainer.accumulate_grad_batches
        if times > 1 and isinstance(self.loss, LogitLoss) and self.trainer.is_global_zero:
            warnings.warn(
                f"trainer.accumulate_grad_batches={times} adds no negatives: each batch is contrasted by itself. For "
                "more of them in the same memory raise data.batch_size and set loss.cache_chunk.",
                stacklevel=2,
            )

    def prepare_data(self) -> None:
        if self.teacher is not None:
            self.teacher.prepare(self.trainer.strategy.root_device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert batch.relation is not None, "a training batch has a relation"
        loss = self.joint_loss(batch)
        joint = distributed.summed(loss) / distributed.world_size()  # on all processes, so that all stop at once
        self._check_loss(float(joint))
        self.log("train/loss", joint, prog_bar=True, batch_size=len(batch.relation))
        self.log("train/logit_scale", self.backbone.logit_scale.exp(), batch_size=len(batch.relation))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.backbone.clamp_logit_scale()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, judged=True)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Takes the tested split, then what is measured apart from it: photos of train, but no judgements."""
        self._evaluate(batch, judged=dataloader_idx == 0)

    def on_train_epoch_end(self) -> None:
        """Refuses to go on where nothing is learned.

        Raises:
            InputError: The loss was 0 at every step so far.
        """
        if not self.ever_above_zero:
            raise InputError(
                "the loss was 0 at every step of the first epoch, so nothing is learned: nothing in a batch costs "
                "anything. Raise data.batch_size (one photo has nothing to be compared with), choose another "
                "loss.mining, or a larger margin."
            )

    def on_validation_epoch_end(self) -> None:
        """Measures val, and its loss: that of training over batches of val that are the same each time."""
        self._log_metrics("val", choosing=True)
        losses = []
        with torch.autocast(self.device.type, enabled=False):
            for plan in self.trainer.datamodule.validation_plans:  # type: ignore[attr-defined]
                if plan.relation is not None and (both := embeddings_of(plan, self.metrics.everything)) is not None:
                    relation = move_data_to_device(plan.relation, self.device)
                    losses.append(distributed.summed(self._loss_of(relation, *both)) / distributed.world_size())
        if losses and torch.stack(losses).isfinite().all():  # not where photos were left out, or a loss has no value
            self.log("val/loss", torch.stack(losses).mean(), sync_dist=False)

    def on_test_epoch_end(self) -> None:
        self._log_metrics(self.trainer.datamodule.tested, choosing=False)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        assert self.make_optimizer is not None, "built without an optimizer, for evaluation only"
        groups = parameter_groups(self, weight_decay=self.weight_decay, rates=self.rates)
        optimizer = scale_rates(self.make_optimizer(groups))
        if self.make_scheduler is None:
            return optimizer
        asked = inspect.signature(self.make_scheduler).parameters  # torch's own schedules plan without it
        total = {"total_steps": int(self.trainer.estimated_stepping_batches)} if "total_steps" in asked else {}
        scheduler = self.make_scheduler(optimizer, **total)
        if isinstance(scheduler, ReduceLROnPlateau):
            validated = self.trainer.check_val_every_n_epoch or 1  # epochs in between have nothing to go by
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": self.monitor, "frequency": validated},
            }
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["backbone"] = self.backbone.files()
        checkpoint["ever_above_zero"] = self.ever_above_zero

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.ever_above_zero = checkpoint.get("ever_above_zero", False)

    def joint_loss(self, batch: Batch) -> Tensor:
        """A scalar whose mean over processes is the loss of the batch that they share."""
        image, text = self.embed(batch, chunk=self.cache_chunk)
        kept = 0 if self.teacher is None else self.teacher.distance(batch, image, text)
        # float32: the gradients of all processes add up in it
        image = distributed.gather(image.float(), total=batch.joint_images)
        if batch.joint_texts:
            text = distributed.gather(text.float(), total=batch.joint_texts)
        assert batch.relation is not None, "a training batch has a relation"
        return self._loss_of(batch.relation, image, text) + kept

    def _loss_of(self, relation: RelationTensors, image: Tensor, text: Tensor) -> Tensor:
        scale = (
            {"logit_scale": self.backbone.logit_scale, "logit_bias": self.backbone.logit_bias}
            if isinstance(self.loss, LogitLoss)
            else {}
        )
        return self.loss(**relation.select(image, text), **scale)

    def _check_loss(self, loss: float) -> None:
        """Stops a training that is broken, at its first step that shows it.

        Raises:
            InputError: The loss is not a number, or infinite.
        """
        self.ever_above_zero |= loss != 0
        if not math.isfinite(loss):
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            raise InputError(
                f"the loss is {loss} at step {self.trainer.global_step} (epoch {self.trainer.current_epoch}, learning "
                f"rate {rate:.2g}). Checkpoints of earlier epochs are kept. Try a tenth of optimizer.lr, or "
                "trainer.precision=32-true in place of mixed precision."
            )

    def _evaluate(self, batch: Batch, *, judged: bool) -> None:
        image, text = self.embed(batch)
        self.metrics.update(image, batch.image_row, text, batch.text_id)
        if judged and self.judged is not None and isinstance(batch.relation, Judgements):
            selected = batch.relation.select(image, text)
            self.judged.update(**selected, judgement_id=batch.relation.judgement_id)

    def _log_metrics(self, split: str, *, choosing: bool) -> None:
        with torch.autocast(self.device.type, enabled=False):
            self.metrics.validating = split == "val"
            values = self.metrics.compute()
            if self.judged is not None:
                self.judged.choosing = choosing
                values |= self.judged.compute()
                self.judged.reset()
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, sync_dist=False)
        self.metrics.reset()


def _in_chunks(encode: Callable[[Tensor], Tensor], inputs: Tensor, chunk: int | None) -> Tensor:
    if chunk is None:
        return encode(inputs)
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in inputs.split(chunk)])
