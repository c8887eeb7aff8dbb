"""How long one query takes on the CPU: a user's photo against a catalogue's SKUs, with and without encoding it.

    python benchmarks/query_latency.py --run RUN --data data/DeepFashion2_SKU

Embeds the catalogue of the test split once, then takes queries one by one: decode, preprocess and encode the photo
(encoding), then score every catalogue photo, take each SKU's best, and find the ten best SKUs (ranking). Prints the
median and the 95th percentile over the queries. Run it with nothing beside it; results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fashionclip.app.checkpoint import backbone_of, load_checkpoint
from fashionclip.data.transforms import eval_transform
from fashionclip.images import load_image
from fashionclip.manifest import read_dataset

BATCH = 64


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run folder or checkpoint of train.py")
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset with queries and a catalogue")
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    backbone = backbone_of(load_checkpoint(options.run)).eval()
    look, decode_size = eval_transform(backbone.preprocess), 2 * backbone.preprocess.size
    dataset = read_dataset(options.data)
    test = dataset.manifest[dataset.manifest["split"] == "test"]
    catalog, query = test[test["domain"] == "catalog"], test[test["domain"] == "query"]

    def encode(paths: list[str]) -> Tensor:
        photos = [look(load_image(dataset.root / path, at_least=decode_size)) for path in paths]
        return backbone.encode_image(torch.stack(photos))

    paths = catalog["path"].tolist()
    starts = tqdm(range(0, len(paths), BATCH), desc="catalogue", unit="batch")
    photo = torch.cat([encode(paths[start : start + BATCH]) for start in starts])  # (G, D)
    codes = catalog["item_id"].factorize()[0]
    sku, skus = torch.from_numpy(codes), int(codes.max()) + 1

    def rank(embedding: Tensor) -> Tensor:
        scores = (embedding @ photo.T)[0]  # (G,)
        best = torch.full((skus,), -torch.inf).scatter_reduce(0, sku, scores, "amax")  # (S,)
        return best.topk(min(10, skus)).indices

    rank(encode(query["path"].tolist()[:1]))  # the first call is slower
    times = []
    for path in tqdm(query["path"].sample(min(options.queries, len(query)), random_state=0), desc="queries"):
        start = time.perf_counter()
        embedding = encode([path])
        encoded = time.perf_counter()
        rank(embedding)
        times.append((time.perf_counter() - encoded, time.perf_counter() - start))
    print(f"{len(times)} queries against {len(paths)} photos of {skus} SKUs")
    for name, seconds in zip(("ranking alone", "with encoding"), np.array(times).T, strict=True):
        p50, p95 = 1000 * np.percentile(seconds, [50, 95])
        print(f"{name:<15} p50 {p50:7.2f} ms   p95 {p95:7.2f} ms")


if __name__ == "__main__":
    main()
