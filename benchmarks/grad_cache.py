"""Peak memory of a training step over the size of its batch, at once and in chunks: python benchmarks/grad_cache.py

Each line is a process of its own, whose largest resident set counts; the one before its step is taken off. A ViT from
scratch (model=tiny) on random photos and texts, InfoNCE, on the CPU. `--gpu` measures torch's peak on the GPU instead.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

SIZES = (64, 128, 256, 512)


def step(size: int, chunk: int | None, *, gpu: bool) -> None:
    """Takes two steps; prints peak memory in MB and seconds of the second."""
    import torch
    from torch import nn

    from fashionclip.batch import Batch, Pairs
    from fashionclip.losses.contrastive import ContrastiveLoss
    from fashionclip.models.load import load_backbone
    from fashionclip.training.module import RetrievalModule

    device = torch.device("cuda" if gpu else "cpu")
    torch.manual_seed(0)
    backbone = load_backbone(name="fashionclip-tiny")
    module = RetrievalModule(backbone=backbone, loss=ContrastiveLoss(), metrics=nn.Identity(), cache_chunk=chunk)
    module.to(device).train()
    rows = torch.arange(size, device=device)
    side = backbone.preprocess.size
    batch = Batch(
        images=torch.randint(256, (size, 3, side, side), dtype=torch.uint8, device=device),
        image_row=rows,
        texts=backbone.tokenizer([f"photo {row}" for row in rows.tolist()]).to(device),
        text_id=rows,
        relation=Pairs(image_index=rows, text_index=rows, item_id=rows, text_id=rows),
        joint_images=size,
        joint_texts=size,
    )
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KB elsewhere
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        began = time.perf_counter()
        module.zero_grad()
        module.joint_loss(batch).backward()
        if gpu:
            torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
    print(torch.cuda.max_memory_allocated() / 2**20 if gpu else peak, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="on a GPU")
    parser.add_argument("--chunk", type=int, default=32, help="loss.cache_chunk")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)  # size and chunk, 0: at once
    options = parser.parse_args()
    if options.one:
        return step(options.one[0], options.one[1] or None, gpu=options.gpu)
    print(f"batch   at once            in chunks of {options.chunk}")
    for size in SIZES:
        cells = []
        for chunk in (0, options.chunk):
            command = [sys.executable, __file__, "--one", str(size), str(chunk), *(["--gpu"] if options.gpu else [])]
            memory, seconds = map(float, subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split())
            cells.append(f"{memory:6.0f} MB {seconds:5.2f} s")
        print(f"{size:5}  {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
