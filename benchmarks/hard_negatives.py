"""Whether hard negatives help, and against what a model confuses, on real photos.

    python prepare.py dataset=kaggle-products dataset.source=DIR dataset.root=ROOT \\
        dataset.ratios='{train: 0.6, val: 0.1, test: 0.3}'
    python benchmarks/hard_negatives.py --data ROOT [ROOT ...] [--model lite0-minilm] [--seeds 0 1 2] [--only off on]

Trains each way for the same number of epochs, once with each seed on each dataset (such as the same photos, split with
another dataset.seed), and measures the test split: recall@1 and @10 of its texts, and how often their first photo is of
another category than their own. Means; in brackets the lowest, the highest, and in how many runs it is higher than with
the first way. Then of the texts of some categories, all runs together, how often it is of the category that they are
confused with. Results so far are in RESULTS.md.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import lightning as L
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fashionclip.app.metrics import metrics_of
from fashionclip.app.user_errors import quiet_lightning
from fashionclip.data.datamodule import RetrievalDataModule
from fashionclip.manifest import read_dataset
from fashionclip.training.module import RetrievalModule

REPO = Path(__file__).parents[1]
ON = "loss.hard_negatives.every=1"
OTHER = [ON, "loss.hard_negatives.margin=null", "loss.hard_negatives.differ_in=[category]"]
WAYS = {
    "off": [],
    "on": [ON],
    "2 together": [ON, "loss.hard_negatives.per_group=2"],
    "16 together": [ON, "loss.hard_negatives.per_group=16"],
    "64 together": [ON, "loss.hard_negatives.per_group=64"],
    "no margin": [ON, "loss.hard_negatives.margin=null"],
    "margin 0.2": [ON, "loss.hard_negatives.margin=0.2"],
    "other category": OTHER,
    "the same, 16 together": [*OTHER, "loss.hard_negatives.per_group=16"],
}
CONFUSED = [  # a text's category, and that of the wrong photo
    ("Dresses", "Nightdress"),
    ("Nightdress", "Dresses"),
    ("Skirts", "Shorts"),
    ("Shorts", "Skirts"),
    ("Dresses", "Tops"),
    ("Kurtis", "Kurtas"),
    ("Sweatshirts", "Sweaters"),
    ("Casual Shoes", "Sports Shoes"),
    ("Sandals", "Flip Flops"),
    ("Flats", "Heels"),
    ("Tops", "Tshirts"),
]


def train(root: Path, overrides: list[str], *, seed: int) -> tuple[dict[str, float], pd.DataFrame]:
    """Trains as `train.py` does, but to the last epoch and without looking at val.

    Returns:
        Test metrics; and of each test text the category of its photo, and of the photo that it finds first.
    """
    with initialize_config_dir(str(REPO / "configs"), version_base="1.3"):
        given = ["dataset=kaggle-products", f"dataset.root={root}", "loss=contrastive", f"seed={seed}", *overrides]
        cfg = compose("train", given)
    L.seed_everything(seed, workers=True, verbose=False)
    backbone = instantiate(cfg.model.backbone)
    data = RetrievalDataModule(
        dataset=read_dataset(root),
        relation=instantiate(cfg.loss.relation),
        tokenize=backbone.tokenizer,
        preprocess=backbone.preprocess,
        batch_size=cfg.data.batch_size,
        eval_batch_size=cfg.data.eval_batch_size,
        seed=seed,
        frozen_image_part=backbone.frozen_image_part(),
        frozen_text_part=backbone.frozen_text_part(),
        hard_negatives=instantiate(cfg.loss.hard_negatives),
    )
    module = RetrievalModule(
        backbone=backbone,
        loss=instantiate(cfg.loss.function),
        metrics=metrics_of(data, functions=instantiate(cfg.metrics)),
        optimizer=instantiate(cfg.optimizer, _convert_="all"),
        scheduler=instantiate(cfg.scheduler),
        weight_decay=cfg.optimizer.weight_decay,
    )
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=cfg.trainer.max_epochs, limit_val_batches=0, gradient_clip_val=1.0, **quiet
    )
    trainer.fit(module, data)
    (metrics,) = trainer.test(module, data, verbose=False)
    seen, category = module.metrics.embedded, data.dataset.manifest["category"].tolist()
    own = dict(zip(data.rows.text_id.tolist(), category, strict=True))
    found = seen.image_row[(seen.text @ seen.image.T).argmax(1)].tolist()
    pairs = zip(seen.text_id.tolist(), found, strict=True)
    return metrics, pd.DataFrame([{"asked": own[text], "found": category[row]} for text, row in pairs])


def told(values: list[float], first: list[float]) -> str:
    higher = sum(one > other for one, other in zip(values, first, strict=True))
    beside = "" if values == first else f", higher in {higher} of {len(values)}"
    return f"{sum(values) / len(values):.3f} ({min(values):.3f}-{max(values):.3f}{beside})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="prepared datasets with a category")
    parser.add_argument("--model", default="lite0-minilm", help="by its name in configs/model")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), help="some of the ways")
    parser.add_argument("overrides", nargs="*", help="for all runs, behind --, such as data.batch_size=128")
    options = parser.parse_args()
    quiet_lightning()
    given = [f"model={options.model}", f"trainer.max_epochs={options.epochs}", *options.overrides]
    first: dict[str, list[float]] = {}  # of the first way, run by run
    for way in options.only:
        measured: dict[str, list[float]] = {"recall@1": [], "recall@10": [], "another category": []}
        tables = []
        for seed, root in product(options.seeds, map(Path.resolve, options.data)):
            metrics, hits = train(root, [*given, *WAYS[way]], seed=seed)
            tables.append(hits)
            for name in ("recall@1", "recall@10"):
                measured[name].append(metrics[f"test/text_to_image/{name}"])
            measured["another category"].append(float((hits["asked"] != hits["found"]).mean()))
        first = first or measured
        print(f"{way:22}" + "".join(f"  {name} {told(values, first[name])}" for name, values in measured.items()))
        hits = pd.concat(tables)
        for asked, wrong in CONFUSED:
            found = hits.loc[hits["asked"] == asked, "found"]
            if len(found):
                shares = f"{wrong} first {(found == wrong).mean():.3f}, any other {(found != asked).mean():.3f}"
                print(f"{'':22}  {asked} finds {shares} of {len(found)}", flush=True)


if __name__ == "__main__":
    main()
