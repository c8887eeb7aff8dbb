"""The data loaders of a prepared dataset, for any relation."""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing
import os
import signal
import warnings
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from fashionclip import distributed
from fashionclip.batch import Batch
from fashionclip.data.dataset import RetrievalDataset, Tokenize
from fashionclip.data.features import Photos, write_features
from fashionclip.data.hard_negatives import HardNegatives, HardNegativeSampler, hard_negatives
from fashionclip.data.judgements import judgements_of
from fashionclip.data.manifest_tensors import ManifestTensors, PackedStrings
from fashionclip.data.relations import BatchPlan, BatchPlanner, PairRelation, Relation
from fashionclip.data.samplers import SeededSampler
from fashionclip.data.seen_skus import rows_of_seen_skus
from fashionclip.data.transforms import Transform, eval_transform, train_transform
from fashionclip.errors import InputError
from fashionclip.images import Preprocess
from fashionclip.manifest import PreparedDataset


class RetrievalDataModule(L.LightningDataModule):
    """Train, validation and test loaders. Evaluation takes what the relation asks for, such as each photo and its text.

    Args:
        dataset: Prepared dataset, as read from disk.
        relation: Relation among the photos and texts of a training batch.
        tokenize: Function from T texts to (T, L) token ids.
        preprocess: Size, mean and so on of the pixels that the backbone wants.
        augmentation: Arguments of `train_transform`; none: training sees the photos as evaluation does.
        batch_size: Rows of a training batch, times the number of processes, which share it.
        eval_batch_size: Rows of an evaluation batch, in each process.
        val_queries: Number of queries of a direction that a validation ranks at most; None: all.
        num_workers: Number of loading processes; None: one a core, at most 8.
        seed: Seed of the order of training, of what relations draw, and of judgements that a dataset does not fix.
        seen_skus: Whether testing embeds SKUs of the train split as well, behind the test split; there are two loaders
            then.
        tested: Name of the split that testing takes; None: test, or val where there is no test.
        frozen_image_part: Part of an image tower that photos are run through once before training; its features
            are kept in `<root>/features`, and augmentation is impossible then.
        frozen_text_part: Part of a text tower that texts are run through once before training, likewise.
        hard_negatives: Settings of hard negatives, which training finds and puts together; None: batches are of chance.

    Attributes:
        begun: Epoch of training that is gone on with, and number of its batches that were had before; None: no one is.
        rows: Manifest, with the dataset's judgements where the relation uses them.
        seen: Rows (N,) of the train split that testing embeds as well; N may be 0.

    Raises:
        InputError: Hard negatives are asked for, and there are no texts by themselves, or a column is missing.
    """

    def __init__(
        self,
        *,
        dataset: PreparedDataset,
        relation: Relation,
        tokenize: Tokenize,
        preprocess: Preprocess,
        augmentation: Mapping[str, Any] | None = None,
        batch_size: int,
        eval_batch_size: int,
        val_queries: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
        seen_skus: bool = True,
        tested: str | None = None,
        frozen_image_part: nn.Module | None = None,
        frozen_text_part: nn.Module | None = None,
        hard_negatives: HardNegatives | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.relation = relation
        self.hard_negatives = hard_negatives if hard_negatives and hard_negatives.every else None
        judgements = judgements_of(dataset, seed=seed) if relation.uses_judgements else None
        differ_in = self.hard_negatives.differ_in if self.hard_negatives else []
        coded = [*relation.columns, *differ_in]
        self.rows = ManifestTensors(dataset, coded=coded, fields=relation.fields, judgements=judgements)
        if self.hard_negatives and not isinstance(relation, PairRelation):
            raise InputError(
                f"loss.hard_negatives.every={self.hard_negatives.every}: hard negatives are wrong photos of a text, "
                f"and this loss (relation={relation.name}) does not learn from pairs of photo and text alone. Use "
                "loss=contrastive, or leave it out."
            )
        if missing := [column for column in differ_in if column not in self.rows.code]:
            raise InputError(
                f"loss.hard_negatives.differ_in={differ_in}: {dataset.root}/manifest.parquet has no column "
                f"{', '.join(missing)}; it has {list(dataset.manifest.columns)}. Name some of these."
            )
        self.seen = rows_of_seen_skus(dataset.manifest) if seen_skus else torch.empty(0, dtype=torch.long)
        self.tested = tested or ("test" if "test" in self.rows.split else "val")
        self.tokenize = tokenize
        self.train_transform = train_transform(preprocess, **(augmentation or {}))
        self.eval_transform = eval_transform(preprocess)
        self.decode_size = 2 * preprocess.size
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_queries = val_queries
        self.num_workers = min(os.cpu_count() or 1, 8) if num_workers is None else num_workers
        self.seed = seed
        self.begun: tuple[int, int] | None = None
        self.frozen_image_part = frozen_image_part
        self.frozen_text_part = frozen_text_part if relation.uses_text else None
        self.features = self.text_features = None
        if self.frozen_image_part is not None:
            self.features = self.photo_features_path(self.frozen_image_part)
        if self.frozen_text_part is not None:
            self.text_features = self.text_features_path(self.frozen_text_part)

    def state_dict(self) -> dict[str, Any]:
        loop = self.trainer.fit_loop  # type: ignore[union-attr]  # by which it is asked
        epochs: Any = loop.epoch_progress.current
        whole = epochs.processed == epochs.ready
        batches = 0 if whole else loop.epoch_loop.batch_progress.current.completed
        found = {"hard_negatives": self.hard_negatives.state_dict()} if self.hard_negatives else {}
        return {"epoch": epochs.processed, "batches": batches, **found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.begun = state_dict["epoch"], state_dict["batches"]
        if self.hard_negatives is not None:
            self.hard_negatives.load_state_dict(state_dict["hard_negatives"])

    def prepare_data(self) -> None:
        """Computes the features of frozen towers, on one process a machine."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if self.frozen_image_part is not None and self.features is not None:
            self.write_photo_features(self.frozen_image_part, self.features, device=device)
        if self.frozen_text_part is not None and self.text_features is not None:
            self.write_text_features(self.frozen_text_part, self.text_features, device=device)

    def write_photo_features(self, encoder: nn.Module, path: Path, *, device: torch.device) -> None:
        """Runs all photos through a module once, as evaluation sees them; see `write_features`."""
        photos = Photos(self.rows, transform=self.eval_transform, decode_size=self.decode_size)
        write_features(
            encoder, photos, path, device=device, batch_size=self.eval_batch_size, num_workers=self.num_workers
        )

    def write_text_features(self, encoder: nn.Module, path: Path, *, device: torch.device) -> None:
        """Runs all texts through a module once; see `write_features`."""
        write_features(
            encoder,
            self.rows.text,
            path,
            tokenize=self.tokenize,
            device=device,
            batch_size=self.eval_batch_size,
            num_workers=0,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        chosen = self.rows.of_split("train")
        sampler = self.relation.sampler(self.rows, chosen, seed=self.seed)
        if self.hard_negatives is not None:
            places = torch.tensor(sorted(sampler))
            near = partial(self.hard_negatives.near, find=partial(self.find_hard_negatives, chosen[places]))
            sampler = HardNegativeSampler(places, near=near, per_group=self.hard_negatives.per_group, seed=self.seed)
        if getattr(self.trainer, "overfit_batches", 0):
            if distributed.world_size() > 1:
                raise InputError(
                    "trainer.overfit_batches: with it Lightning itself deals out the rows to several processes, which "
                    "then cannot share a batch. Use trainer.devices=1, or trainer.limit_train_batches."
                )
            chosen = chosen[list(sampler)]  # Lightning takes them from the first on, in place of our sampler
        processes, rows = distributed.world_size(), len(sampler)  # type: ignore[arg-type]  # all of ours have a length
        if rows < processes:
            raise InputError(
                f"{self.rows.root}: {rows} rows to train on, fewer than the {processes} processes that share a batch. "
                "Prepare more products or lower trainer.devices."
            )
        size = self.batch_size * processes
        if rows < size:
            if distributed.rank() == 0:
                print(f"data.batch_size={self.batch_size}: a batch holds all {rows} rows that there are to train on")
            size = rows
        if size == 1 and not self.relation.uses_judgements:
            raise InputError(
                "data.batch_size=1: nothing in a batch is there to be compared with, so the loss is 0 and nothing is "
                "learned. Raise data.batch_size; loss.cache_chunk keeps memory low."
            )
        return self._loader(chosen, self.relation, self.train_transform, size, sampler=self.begin(sampler, size))

    def find_hard_negatives(self, rows: Tensor) -> Tensor:
        """Positions (N, K) of the hard negatives of each of the (N,) rows, by the weights as they are.

        Each process finds those of its share of the rows, so that all know the same. Photos are as in evaluation.
        """
        trainer: Any = self.trainer
        settings: Any = self.hard_negatives
        module, own = trainer.lightning_module, distributed.share(len(rows))
        training = module.backbone.training
        module.backbone.eval()
        images, texts = [], []
        with torch.no_grad():
            # draws of training go on as if there had been none here
            with torch.random.fork_rng(devices=[]), trainer.precision_plugin.forward_context():
                for batch in self._evaluation(rows[own]):
                    image, text = module.embed(trainer.strategy.batch_to_device(batch))
                    said = torch.searchsorted(batch.text_id, self.rows.text_id[batch.image_row])
                    images.append(image.float())
                    texts.append(text.float()[said.to(text.device)])
            module.backbone.train(training)
            image = distributed.gather(torch.cat(images), total=len(rows))
            alike = [self.rows.item_id, self.rows.photo_id, self.rows.text_key[self.rows.text_id]]
            if settings.differ_in:
                columns = torch.stack([self.rows.code[column] for column in settings.differ_in])
                alike.append(torch.unique(columns, dim=1, return_inverse=True)[1])
            found = hard_negatives(
                torch.cat(texts),
                image,
                own=torch.arange(len(rows), device=image.device)[own],
                alike=[code[rows].to(image.device) for code in alike],
                count=settings.candidates,
                margin=settings.margin,
            )
            found = distributed.gather(found, total=len(rows)).cpu()
        if not (found >= 0).any() and distributed.rank() == 0:
            warnings.warn(
                f"loss.hard_negatives: none was found, so batches are of chance. All {len(rows)} rows of train agree "
                f"in differ_in={settings.differ_in}, or no wrong photo is less like a text than its own by "
                f"margin={settings.margin}. Leave out differ_in, or lower the margin.",
                stacklevel=2,
            )
        return found

    def begin(self, sampler: Sampler[int], size: int) -> Sampler[int]:
        """The sampler of training, which begins where a training is gone on with, if it is.

        Args:
            sampler: Sampler of positions.
            size: Number of positions of a batch.

        Raises:
            InputError: A training is gone on with, and the sampler cannot begin there.
        """
        if self.begun is not None:
            if not isinstance(sampler, SeededSampler):
                raise InputError(
                    f"resume: the order of batches, of {type(sampler).__name__}, cannot be gone on with. Expected the "
                    "relation's sampler to be a SeededSampler of fashionclip/data/samplers.py."
                )
            epoch, batches = self.begun
            sampler.begun, self.begun = (epoch, batches * size), None  # Lightning tells the epoch when it is too late
        return sampler

    @cached_property
    def validation_plans(self) -> list[BatchPlan]:
        """What batches of val hold, as large as those of training and the same in each epoch: of these is `val/loss`.

        The rest that makes no whole batch is left out, unless it is all there is. Empty where no text says anything.
        """
        chosen = self.rows.of_split("val")
        if "text" in self.relation.columns and not self.rows.worded[chosen].any():
            return []
        positions = torch.tensor(list(self.relation.sampler(self.rows, chosen, seed=self.seed)))
        size = self.batch_size * distributed.world_size()
        batches = [batch for batch in positions.split(size) if len(batch) == size] or [positions]
        return [
            self.relation.plan(self.rows, chosen[batch], draws=torch.Generator().manual_seed(number))
            for number, batch in enumerate(batches)
        ]

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation(self.rows.of_split("val"))

    def test_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        test = self._evaluation(self.rows.of_split(self.tested))
        return [test, self._evaluation(self.seen)] if len(self.seen) else test

    def photo_features_path(self, encoder: nn.Module) -> Path:
        """The file of what a module makes of all photos."""
        return self._features_path(encoder, self.rows.path, self.eval_transform)

    def text_features_path(self, encoder: nn.Module) -> Path:
        """The file of what a module makes of all texts."""
        return self._features_path(encoder, self.rows.text, self.tokenize(["a"]))

    def _features_path(self, encoder: nn.Module, inputs: PackedStrings, how: object) -> Path:
        """Named by the encoder, its weights, the paths or texts that it is given, and how they are brought to it."""
        digest = hashlib.sha256(f"{how}{encoder}".encode() + inputs.bytes.numpy().tobytes())
        for name, tensor in encoder.state_dict().items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return self.dataset.root / "features" / f"{digest.hexdigest()[:16]}.npy"

    def _evaluation(self, chosen: Tensor) -> DataLoader[Batch]:
        return self._loader(chosen, self.relation.evaluated(), self.eval_transform, self.eval_batch_size)

    def _loader(
        self,
        chosen: Tensor,
        relation: BatchPlanner,
        transform: Transform,
        batch_size: int,
        *,
        sampler: Sampler[int] | None = None,
    ) -> DataLoader[Batch]:
        """Of training where a sampler is given: then all processes are handed the same batches and share them."""
        train = sampler is not None
        dataset = RetrievalDataset(
            self.rows,
            chosen,
            relation=relation,
            transform=transform,
            tokenize=self.tokenize,
            decode_size=self.decode_size,
            features=self.features,
            text_features=self.text_features,
            seed=self.seed,
            process=distributed.rank() if train else 0,
            processes=distributed.world_size() if train else 1,
        )
        workers = 0 if self.features else self.num_workers  # reading features takes less than starting processes
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=train,  # a contrastive loss of few rows is another one
            num_workers=workers,
            persistent_workers=workers > 0 and train,
            collate_fn=_whole,  # the dataset returns finished batches
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_without_signals,
        )


def _without_signals(worker: int) -> None:
    """Whoever asked a training to end, and all its processes, gets the step at hand done first, for which they load."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_loading() -> None:
    """Ends loading processes with the program: Python asks them by SIGTERM, and waits until they have ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes an ended one for a fault
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def _whole(batch: Any) -> Any:
    return batch
