"""Every loss, form and mining, through dataset and module on a share of a batch: `parity.py RANK PROCESSES FOLDER`."""

import sys
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from pytorch_metric_learning import losses, miners
from torch import nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from fashionclip.data.content_distance import AttributeDistance
from fashionclip.data.dataset import RetrievalDataset
from fashionclip.data.judgements import JudgementRelation, judgements_of
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.mixed import MixedRelation
from fashionclip.data.relations import IdentityRelation, PairRelation
from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.losses.match_mismatch import MatchMismatchLoss
from fashionclip.losses.metric_learning import MetricLearningLoss
from fashionclip.losses.mining import MININGS, MinedTripletLoss
from fashionclip.losses.mixed import MixedLoss
from fashionclip.losses.protocol import LogitLoss
from fashionclip.losses.triplet_semipos import TripletSemiPosMarginWithDistanceLoss
from fashionclip.manifest import MANIFEST_COLUMNS, PreparedDataset
from fashionclip.training.distillation import Teacher
from fashionclip.training.module import RetrievalModule

ROWS, FEATURES, LETTERS = 24, 6, 128
# Positions of a batch as data loaders hand them out, 13 of which three come twice; and one with a single text.
BATCHES = {"uneven": [0, 1, 2, 3, 20, 4, 9, 1, 10, 5, 0, 21, 9], "one text": [6, 7, 8, 6]}


class Towers(nn.Module):
    """What a backbone is to the module, as small as can be."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.image, self.text = nn.Linear(FEATURES, 4), nn.EmbeddingBag(LETTERS, 4)
        self.logit_scale, self.logit_bias = nn.Parameter(torch.tensor(1.6)), nn.Parameter(torch.tensor(-2.0))

    def encode_image(self, images):
        return normalize(self.image(images), dim=1)

    def encode_text(self, texts):
        return normalize(self.text(texts), dim=1)


class Step(nn.Module):
    def __init__(self, loss, *, distilled, cache_chunk):
        super().__init__()
        teacher = Teacher(Towers(seed=1), weight=0.7) if distilled else None
        self.module = RetrievalModule(
            backbone=Towers(), loss=loss, metrics=nn.Identity(), teacher=teacher, cache_chunk=cache_chunk
        )

    def forward(self, batch):
        return self.module.joint_loss(batch)


def triplets(hard=None):
    return IdentityRelation(
        item="item_id",
        group="group_id",
        view="domain",
        hard=hard,
        distance=AttributeDistance(["category"]),
        second_view=True,
    )


def mined(form, mining, swap=False):
    return MinedTripletLoss(loss=TripletSemiPosMarginWithDistanceLoss(form=form, swap=swap), mining=mining)


def judged(form):
    begins = {} if form == "margin" else {"scale": 5.0, "bias": -1.0}
    return MatchMismatchLoss(form=form, match_weight=1.0, mismatch_weight=2.0, **begins)


def every_loss():
    """Name -> relation and loss."""
    for form, multi_positive in product(("softmax", "sigmoid"), (True, False)):
        yield (
            f"contrastive {form} {multi_positive}",
            PairRelation(),
            ContrastiveLoss(form=form, multi_positive=multi_positive),
        )
    yield "distilled contrastive", PairRelation(), ContrastiveLoss()
    yield "distilled triplets", triplets(), mined("ordered", "all")
    yield "contrastive of fields", PairRelation(text_fields={"category": 1.0}), ContrastiveLoss()
    for form, mining, swap in product(("ordered", "edit"), MININGS, (False, True)):
        yield f"triplets {form} {mining} {swap}", triplets("category" if swap else None), mined(form, mining, swap)
    for form, drawn in product(("bce", "focal", "margin"), (0, 2)):
        yield f"judgements {form} {drawn}", JudgementRelation(per_label=1, drawn=drawn), judged(form)
    for target, settings, miner in (
        (losses.SupConLoss, {}, None),
        (losses.MultiSimilarityLoss, {}, miners.MultiSimilarityMiner()),
        (losses.CircleLoss, {}, miners.UniformHistogramMiner(num_bins=10, pos_per_bin=4, neg_per_bin=4)),
        (losses.ProxyAnchorLoss, {"alpha": 4}, None),
    ):
        torch.manual_seed(0)  # of proxies
        sizes = {"items": torch.arange(ROWS), "embedding_size": 4}
        yield target.__name__, triplets(), MetricLearningLoss(make=partial(target, **settings), miner=miner, **sizes)
    yield (
        "mixed",
        MixedRelation(parts={"texts": PairRelation(), "photos": triplets()}, sampler="photos"),
        MixedLoss(
            parts={"texts": ContrastiveLoss(), "photos": mined("ordered", "batch-hard")},
            weights={"texts": 1.0, "photos": 0.5},
        ),
    )
    yield (
        "mixed judgements",
        MixedRelation(
            parts={"texts": PairRelation(), "judged": JudgementRelation(per_label=2, drawn=1)}, sampler="texts"
        ),
        MixedLoss(
            parts={"texts": ContrastiveLoss(form="sigmoid"), "judged": judged("bce")},
            weights={"texts": 1.0, "judged": 2.0},
        ),
    )


def rows_of(folder):
    """24 photos of 8 groups of two products, one without a text, with features in place of pixels."""
    number = np.arange(ROWS)
    group, item = number // 3, number // 3 * 2 + (number % 3 == 2)
    manifest = pd.DataFrame("", index=range(ROWS), columns=list(MANIFEST_COLUMNS)).assign(
        image_id=[f"{i:02}" for i in number],
        path=[f"images/{i}.png" for i in number],
        split="train",
        domain=np.where(number % 2, "query", "catalog"),
        item_id=[f"item {i}" for i in item],
        group_id=[f"group {g}" for g in group],
        category=[f"kind {i % 5}" for i in number],
        text=[f"text {i % 7}" if 6 <= i < 9 else f"text {i}" if i != 4 else "" for i in number],
    )
    manifest.loc[6:8, "text"] = "the same"
    dataset = PreparedDataset(root=folder, manifest=manifest, info={})
    columns = ["item_id", "group_id", "domain", "category"]
    return ManifestTensors(dataset, coded=columns, fields=["category"], judgements=judgements_of(dataset, seed=0))


def tokenize(texts):
    return torch.tensor([[ord(letter) for letter in text[-8:].rjust(8)] for text in texts])


def parity(rank, processes, folder, *, precisions, cache_chunk=None):
    """Name, batch and precision -> loss and gradients, averaged over processes."""
    rows, features = rows_of(folder), folder / f"features{rank}.npy"
    np.save(features, np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype(np.float32))
    results = {}
    for (name, relation, loss), batch, dtype in product(every_loss(), BATCHES, precisions):
        dataset = RetrievalDataset(
            rows,
            torch.arange(ROWS),
            relation=relation,
            transform=None,
            tokenize=tokenize,
            decode_size=1,
            features=features,
            process=rank,
            processes=processes,
        )
        step = Step(loss, distilled=name.startswith("distilled"), cache_chunk=cache_chunk)
        for parameter in (step.module.backbone.logit_scale, step.module.backbone.logit_bias):
            parameter.requires_grad_(isinstance(loss, LogitLoss))
        if not relation.uses_text:
            step.module.backbone.text.requires_grad_(False)
        if not (isinstance(loss, LogitLoss) and loss.biased):
            step.module.backbone.logit_bias.requires_grad_(False)
        step.zero_grad()
        wrapped = DistributedDataParallel(step) if processes > 1 else step
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            value = wrapped(dataset.__getitems__(BATCHES[batch]))
        value.backward()
        mean = value.detach().clone()
        if processes > 1:
            dist.all_reduce(mean)
        gradients = {n: p.grad.clone() for n, p in step.named_parameters() if p.requires_grad}
        results[name, batch, dtype] = mean / processes, gradients
    return results


if __name__ == "__main__":
    rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=processes)
    precisions = (torch.float32, torch.bfloat16)
    found = [parity(rank, processes, folder, precisions=precisions, cache_chunk=chunk) for chunk in (None, 2)]
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
