"""One of several gloo processes, started by test_distributed.py: `distributed_worker.py RANK PROCESSES FOLDER`."""

import runpy
import sys
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import normalize

from fashionclip import distributed
from fashionclip.metrics.judgement_metrics import JudgementMetrics
from fashionclip.metrics.ranking import recall, reciprocal_rank
from fashionclip.metrics.retrieval_metrics import RetrievalMetrics
from fashionclip.metrics.sku_metrics import SkuScores

ITEM_ID = torch.tensor([0, 1, 2, 3, 0, 4, 2, 5, 6])
TEXT_ID = torch.tensor([0, 1, 2, 3, 4, 1, 5, 5, 6])  # products 1 and 4, 2 and 5 share a text
PARITY = runpy.run_path(str(Path(__file__).with_name("parity.py")))
IS_QUERY = torch.tensor([False, True, True, False, True, False, False, True, True])


def metrics(rank, processes):
    image, text = normalize(torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(2)), dim=2)
    functions = {"recall@1": partial(recall, k=1), "mrr": reciprocal_rank}
    scores = partial(SkuScores, item_id=ITEM_ID, text_id=TEXT_ID, functions=functions, is_query=IS_QUERY)
    seen = torch.tensor([0, 4, 5, 8])
    collected = {
        "all": RetrievalMetrics(item_id=ITEM_ID, text_id=TEXT_ID, functions=functions),
        "same photos and texts": RetrievalMetrics(  # of rows that come to different processes
            item_id=ITEM_ID,
            text_id=TEXT_ID,
            text_key=TEXT_ID // 2,
            photo_id=torch.tensor([0, 1, 2, 1, 3, 4, 4, 5, 6]),
            group_id=ITEM_ID // 2,
            functions=functions,
        ),
        "seen apart": RetrievalMetrics(
            item_id=ITEM_ID,
            text_id=TEXT_ID,
            functions=functions,
            also=[scores()],
            apart=seen,
            of_apart=[scores(suffix="_seen")],
        ),
        "some queries": RetrievalMetrics(
            item_id=ITEM_ID, text_id=TEXT_ID, functions=functions, also=[scores()], val_queries=2
        ),
    }
    collected["some queries"].validating = True
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
        collected = JudgementMetrics(kind=kind, kinds=("colour", "match", "shuffled"), photo=torch.arange(len(kind)))
        collected.choosing = True
        mine = shares[name][rank] if processes > 1 else range(20)
        for rows in [] if mine is None else torch.tensor(mine, dtype=torch.long).split(6):
            sides = image[rows].to(dtype), text[rows].to(dtype)
            collected.update(*sides, label=kind[rows] == 1, judgement_id=rows)
        values = collected.compute()
        values |= {name: getattr(collected, name).clone() for name in ("threshold", "scale", "bias")}
        results[name, dtype] = values | vars(collected.offenders) | vars(collected.calibration)
    return results


def gathered(rank, processes):
    """Shares of 5 rows and of 1, of which one process has none; and the gradient of their weighted sum."""
    results = []
    for total in 5, 1:
        rows = torch.arange(float(total))[:, None].requires_grad_()
        own = rows[distributed.share(total)]
        whole = distributed.gather(own if len(own) else rows[:1], total=total)
        (whole * torch.arange(1.0, total + 1)[:, None]).sum().backward()
        results.append((whole.detach(), rows.grad, distributed.gather(torch.ones(max(len(own), 1)), total=total)))
    return results


def work(rank, processes, folder):
    assert (distributed.rank(), distributed.world_size()) == (rank, processes)
    return {
        "gathered": gathered(rank, processes),
        "summed": distributed.summed(torch.tensor(rank + 1.0)),
        "parity": PARITY["parity"](rank, processes, folder, precisions=(torch.float32,)),
        "cached": PARITY["parity"](rank, processes, folder, precisions=(torch.float32,), cache_chunk=2),
        "metrics": metrics(rank, processes),
        "without": without_texts_or_batches(rank),
        "judged": judged(rank, processes),
    }


if __name__ == "__main__":
    rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=processes)
    torch.save(work(rank, processes, folder), folder / f"{rank}.pt")
    dist.destroy_process_group()
