"""Triplets a second: a training step of ours against a plain loop over (anchor, positive, negative) files.

    python prepare.py dataset=synthetic-triplet
    python benchmarks/triplet_step.py --data data/prepared/synthetic-triplet

Both train all of EfficientNet-Lite0 with AdamW on as many triplets a step, photos read from files by as many loading
processes. The plain loop takes each triplet as three photos: it decodes and encodes three. Ours takes a batch of
photos, decodes and encodes each once, and draws the triplets among them. The line between the two gives the plain
loop our memory format and allocator, so that what sharing brings can be told from what they bring.

Triplets that share photos are worth less to training than as many without; `benchmarks/semipos_forms.py` is about what
is learnt. Run it with nothing beside it. About 3 minutes on 2 cores; results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fashionclip.app.malloc import keep_freed_memory
from fashionclip.batch import Batch
from fashionclip.data.content_distance import EditDistance
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import IdentityRelation
from fashionclip.data.transforms import Transform, eval_transform
from fashionclip.images import load_image
from fashionclip.losses.mining import MinedTripletLoss, drawn, masks_of
from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss
from fashionclip.manifest import PreparedDataset, read_dataset
from fashionclip.models.backbone import Backbone
from fashionclip.models.load import load_backbone

WORKERS = 2
WARM_UP = 2  # steps
POOL = 1500  # photos that the plain loop's triplets are drawn from
VARIANTS = ("plain loop", "plain loop, our memory format and allocator", "fashionclip")


def model() -> Backbone:
    backbone = load_backbone(name="fashionclip-lite0")
    backbone.freeze_text()
    return backbone.train()


def relation() -> IdentityRelation:
    return IdentityRelation(
        item="item_id",
        group="base_id",
        distance=EditDistance(),
        second_view=False,
        per_group=15,
    )


def triplets_of(identities: Any) -> list[Tensor]:
    """Positions (N,) of the anchors, positives, semi-positives and negatives that the loss draws."""
    masks = masks_of(identities.item_id, identities.group_id, identities.view_id, identities.hard_id)
    return drawn(*masks, per_anchor=1, seed=identities.seed)


class TripletFiles(Dataset):
    """Triplets of rows, each photo opened by itself."""

    def __init__(self, rows: ManifestTensors, triplets: Tensor, look: Transform) -> None:
        self.rows, self.triplets, self.look = rows, triplets, look

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, position: int) -> list[Tensor]:
        files = (self.rows.root / self.rows.path[row] for row in self.triplets[position].tolist())
        return [self.look(load_image(file)) for file in files]


def plain_steps(rows: ManifestTensors, backbone: Backbone, *, steps: int, batch: int, ours: bool) -> Iterator[int]:
    """Triplets of each step."""
    tower = backbone.clip.visual
    if not ours:
        tower.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=1e-4)
    loss_function = torch.nn.TripletMarginWithDistanceLoss(margin=1.0)
    plan = relation().plan(rows, rows.of_split("train")[:POOL])
    anchor, positive, _, negative = triplets_of(plan.relation)
    triplets = plan.image_row[torch.stack([anchor, positive, negative], dim=1)]  # (N, 3)
    triplets = triplets[torch.randint(len(triplets), (steps * batch,))]
    files = TripletFiles(rows, triplets, eval_transform(backbone.preprocess))
    for photos in DataLoader(files, batch_size=batch, num_workers=WORKERS):
        embedded = []
        for images in photos:
            pixels = backbone.normalize(images)
            pixels = pixels.contiguous(memory_format=torch.channels_last) if ours else pixels
            embedded.append(torch.nn.functional.normalize(tower(pixels), dim=-1))
        loss = loss_function(*embedded)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(photos[0])


def our_loader(dataset: PreparedDataset, backbone: Backbone, *, photos: int) -> DataLoader[Batch]:
    data = RetrievalDataModule(
        dataset=dataset,
        relation=relation(),
        tokenize=backbone.tokenizer,
        preprocess=backbone.preprocess,
        batch_size=photos,
        eval_batch_size=photos,
        num_workers=WORKERS,
    )
    return data.train_dataloader()


def our_steps(loader: DataLoader[Batch], backbone: Backbone, *, steps: int) -> Iterator[int]:
    """Triplets of each step."""
    optimizer = torch.optim.AdamW((p for p in backbone.parameters() if p.requires_grad), lr=1e-4)
    loss_function = MinedTripletLoss(loss=TripletSemiPosMarginWithDistanceLoss())
    for batch in islice(loader, steps):
        assert batch.relation is not None
        image = backbone.encode_image(batch.images)
        loss = loss_function(**batch.relation.select(image, image[:0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(triplets_of(batch.relation)[0])


def measure(variant: str, options: argparse.Namespace) -> None:
    """Prints triplets and seconds of the steps after the warm-up."""
    torch.manual_seed(0)
    if variant != VARIANTS[0]:
        keep_freed_memory()
    dataset = read_dataset(options.data)
    rows = ManifestTensors(dataset, coded=relation().columns)
    backbone, steps = model(), WARM_UP + options.steps
    loader = our_loader(dataset, backbone, photos=options.photos)
    if variant == VARIANTS[2]:
        running = our_steps(loader, backbone, steps=steps)
    else:
        batch = len(triplets_of(next(iter(loader)).relation)[0])
        running = plain_steps(rows, backbone, steps=steps, batch=batch, ours=variant == VARIANTS[1])
    for _ in range(WARM_UP):
        next(running)
    start = time.perf_counter()
    triplets = sum(running)
    print(f"{triplets} {time.perf_counter() - start}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset of synthetic triplets")
    parser.add_argument("--photos", type=int, default=60, help="a step of ours")
    parser.add_argument("--steps", type=int, default=6, help="measured, after a warm-up")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        measure(options.variant, options)
        return
    speeds = []
    for variant in VARIANTS:  # a process each: an allocator's settings last as long as it does
        command = [sys.executable, *sys.argv, "--variant", variant]
        output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
        triplets, seconds = map(float, output.split()[-2:])
        speeds.append(triplets / seconds)
        times = "" if len(speeds) == 1 else f"   {speeds[-1] / speeds[0]:.1f} times the plain loop"
        print(f"{variant:<45} {speeds[-1]:7.1f} triplets/s{times}", flush=True)


if __name__ == "__main__":
    main()
