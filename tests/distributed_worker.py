"""One of several gloo processes, started by test_distributed.py: `distributed_worker.py RANK PROCESSES FOLDER`."""

import math
import sys
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from fashionclip import distributed
from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.metrics.accumulate import RetrievalMetrics
from fashionclip.metrics.catalog import CatalogScores
from fashionclip.metrics.judged import JudgementMetrics
from fashionclip.metrics.ranking import mean_reciprocal_rank, recall

ITEM_ID = torch.tensor([0, 1, 2, 3, 0, 4, 2, 5, 6])
TEXT_ID = torch.tensor([0, 1, 2, 3, 4, 1, 5, 5, 6])  # products 1 and 4, 2 and 5 share a text
IS_QUERY = torch.tensor([False, True, True, False, True, False, False, True, True])
PAIRS = 8


class Model(nn.Module):
    def __init__(self, form: str, multi_positive: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(6, 4), nn.Linear(6, 4)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(5)))
        self.logit_bias = nn.Parameter(torch.tensor(-2.0)) if form == "sigmoid" else None
        self.loss = ContrastiveLoss(form=form, multi_positive=multi_positive)

    def forward(self, photo, caption, rows):
        return self.loss(
            image=normalize(self.image(photo), dim=1),
            text=normalize(self.text(caption), dim=1),
            item_id=ITEM_ID[rows],
            text_id=TEXT_ID[rows],
            logit_scale=self.logit_scale,
            logit_bias=self.logit_bias,
        )


def losses(rank, processes):
    photo, caption = torch.randn(2, PAIRS, 6, generator=torch.Generator().manual_seed(1))
    rows = torch.arange(PAIRS).chunk(processes)[rank]
    results = {}
    for form, multi_positive in product(("softmax", "sigmoid"), (True, False)):
        model = Model(form, multi_positive)
        wrapped = DistributedDataParallel(model) if processes > 1 else model  # averages only while it lives
        loss = wrapped(photo[rows], caption[rows], rows)
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results[f"{form} multi_positive={multi_positive}"] = (loss.detach(), gradients)
    return results


def metrics(rank, processes):
    image, text = normalize(torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(2)), dim=2)
    functions = {"recall@1": partial(recall, k=1), "mrr": mean_reciprocal_rank}
    scores = partial(CatalogScores, item_id=ITEM_ID, text_id=TEXT_ID, functions=functions, is_query=IS_QUERY)
    seen = torch.tensor([0, 4, 5, 8])
    collected = {
        "all": RetrievalMetrics(item_id=ITEM_ID, text_id=TEXT_ID, functions=functions),
        "seen apart": RetrievalMetrics(
            item_id=ITEM_ID,
            text_id=TEXT_ID,
            functions=functions,
            also=[scores(slices={"half": list("aaaabbbbb")})],
            apart=seen,
            of_apart=[scores(slices={}, suffix="_seen")],
        ),
    }
    for order in [1, 2, 3, 6, 7], seen.tolist():  # a loader each
        padded = [*order, *order[: -len(order) % processes]]  # as by DistributedSampler
        for rows in torch.tensor(padded[rank::processes]).split(2):
            text_id = TEXT_ID[rows].unique()
            for metric in collected.values():
                metric.update(image[rows], rows, text[text_id], text_id)
    return {name: metric.compute() for name, metric in collected.items()}


def without_texts_or_batches(rank):
    """Photos alone, all of them embedded by the first process: the second sees no batch."""
    photo = normalize(torch.randn(9, 5, generator=torch.Generator().manual_seed(4)), dim=1)
    functions = {"recall@1": partial(recall, k=1)}
    results = {}
    for name, texts, idle in (("no text", False, False), ("no batch", True, True), ("neither", False, True)):
        collected = RetrievalMetrics(item_id=ITEM_ID, text_id=TEXT_ID, functions=functions, texts=texts)
        if rank == 0 or not idle:
            rows = torch.arange(9)
            text_id = TEXT_ID.unique() if texts else rows[:0]
            collected.update(photo, rows, photo[text_id], text_id)
        results[name] = collected.compute()
    return results


def judged(rank, processes):
    """What judgements come to: in shares of 16 and 5, where one comes twice; and with none for the second process."""
    image, noise = normalize(torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(3)), dim=2)
    kind = torch.arange(20) % 3
    text = normalize(noise + torch.tensor([0.3, 0.6, 0.1])[kind][:, None] * image, dim=1)
    shares = {"uneven": [range(3, 19), [0, 1, 2, 19, 4]], "none": [range(20), []], "no batch": [range(20), None]}
    results = {}
    for name, dtype in product(shares, (torch.float32, torch.bfloat16)):
        collected = JudgementMetrics(kind=kind, kinds=("colour", "match", "shuffled"))
        collected.choosing = True
        mine = shares[name][rank] if processes > 1 else range(20)
        for rows in [] if mine is None else torch.tensor(mine, dtype=torch.long).split(6):
            sides = image[rows].to(dtype), text[rows].to(dtype)
            collected.update(*sides, label=kind[rows] == 1, judgement_id=rows)
        values = collected.compute()
        values |= {name: getattr(collected, name).clone() for name in ("threshold", "scale", "bias")}
        results[name, dtype] = values | vars(collected.offenders) | vars(collected.calibration)
    return results


def work(rank, processes):
    assert (distributed.rank(), distributed.world_size()) == (rank, processes)
    gathered = distributed.gather(torch.full((2, 1), rank))
    return {
        "gathered": gathered,
        "losses": losses(rank, processes),
        "metrics": metrics(rank, processes),
        "without": without_texts_or_batches(rank),
        "judged": judged(rank, processes),
    }


if __name__ == "__main__":
    rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=processes)
    torch.save(work(rank, processes), folder / f"{rank}.pt")
    dist.destroy_process_group()
