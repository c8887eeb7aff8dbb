"""Every dataset, loss and tuning that go together take two steps, and every experiment does."""

import json
from itertools import product
from pathlib import Path

import open_clip
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from fashionclip.app.datasets import prepare
from fashionclip.app.run import train
from fashionclip.errors import InputError
from fashionclip.prepare.deepfashion2.standin import write_deepfashion2_fixture

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
TUNINGS = sorted(file.stem for file in (CONFIGS / "tuning").glob("*.yaml"))
LOSSES = ("contrastive", "semipos", "match-mismatch", "mixed", "mixed-judgements", "metric-learning")
ANYWHERE = {"contrastive", "match-mismatch", "mixed-judgements"}
DATASETS = {  # what each is trained with
    "demo": set(LOSSES),
    "kaggle-products": set(LOSSES),
    "products": set(LOSSES),
    "synthetic-triplet": set(LOSSES),
    "df2": set(LOSSES),
    "judgements-csv": ANYWHERE,
    "judgements-derived": ANYWHERE,
}
WITHOUT_TEXTS = {"semipos", "metric-learning"}


@pytest.fixture
def two_steps(tmp_path, monkeypatch):
    """Trains a small model for two batches with overrides, without a trace but its folder."""
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(tmp_path / "small.json")
    given = ["model=tiny", "model.backbone.name=small", "data.batch_size=8", "data.num_workers=0", "debug=fast"]
    given += ["trainer.fast_dev_run=2", "trainer.enable_progress_bar=false"]
    given += ["trainer=gpu" if torch.cuda.is_available() else "trainer=cpu"]
    given += [f"hydra.run.dir={tmp_path}", f"hydra.runtime.output_dir={tmp_path}"]

    def trained(*overrides):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("train", [*given, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        train(cfg)

    yield trained
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="module")
def roots(tmp_path_factory, demo_dataset):
    """A small dataset of each kind: the overrides that find it."""
    folder = tmp_path_factory.mktemp("datasets")
    photos = demo_dataset.root / "images"
    shop = demo_dataset.manifest.assign(image=[str(demo_dataset.root / path) for path in demo_dataset.manifest["path"]])
    shop.to_csv(folder / "shop.csv", index=False)
    texts = shop["text"].sample(frac=1, random_state=0).tolist()
    judged = pd.concat([shop.assign(label="match"), shop.assign(text=texts, label="mismatch")])
    judged.rename(columns={"image": "image_path"}).to_csv(folder / "judged.csv", index=False)
    write_deepfashion2_fixture(folder / "raw", photos=photos, images=120, faults=False, workers=0)
    ratios, small = "dataset.ratios={train: 0.6, val: 0.2, test: 0.2}", "dataset.max_side=96"
    outside, alone = "dataset.allow_outside_root=true", "dataset.workers=0"
    of = {
        "demo": [f"dataset.source={folder / 'drawn'}", "dataset.items=34", "dataset.shots=2", small],
        "products": [f"dataset.source={folder / 'shop.csv'}", outside, ratios, small],
        "synthetic-triplet": [f"dataset.demo_source={folder / 'raw1'}", "dataset.demo_items=20", ratios, small, alone],
        "df2": [f"dataset.source={folder / 'raw'}", "dataset.dev_split=0.3", small, alone],
        "judgements-csv": [
            f"dataset.source={folder / 'judged.csv'}",
            f"dataset.report={folder / 'validation.json'}",
            outside,
            "dataset.drop_errors=true",
            ratios,
            small,
        ],
        "judgements-derived": [
            f"dataset.source={demo_dataset.root}",
            "dataset.matches=2",
            "dataset.mismatches=2",
            small,
        ],
    }
    found = {"kaggle-products": [f"dataset.root={demo_dataset.root}"]}
    for name, given in of.items():
        found[name] = [*given, f"dataset.root={folder / name}"]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            prepare(compose("prepare", [f"dataset={name}", *found[name]]).dataset)
    return found


@pytest.mark.parametrize(
    ("loss", "tuning"),
    [("mixed", "layerwise"), ("semipos", "partial"), ("match-mismatch", "bias-only"), ("contrastive", "lp-ft")],
)
def test_losses_and_tunings_go_together(two_steps, demo_dataset, loss, tuning, capsys):
    two_steps("dataset=kaggle-products", f"dataset.root={demo_dataset.root}", f"loss={loss}", f"tuning={tuning}")
    assert "training, validation and test have run through" in capsys.readouterr().out


@pytest.mark.slow
def test_every_dataset_takes_every_loss_and_every_loss_every_tuning(two_steps, roots, capsys):
    """Or is refused in a sentence. A tuning knows nothing of the dataset: those of the first pairs go round."""
    pairs = list(product(DATASETS, LOSSES))
    cases = {(dataset, loss, TUNINGS[number % len(TUNINGS)]) for number, (dataset, loss) in enumerate(pairs)}
    cases |= set(product(["kaggle-products"], LOSSES, TUNINGS))
    ran, refused = set(), {}
    for dataset, loss, tuning in sorted(cases):
        try:
            two_steps(f"dataset={dataset}", *roots[dataset], f"loss={loss}", f"tuning={tuning}")
            assert "training, validation and test have run through" in capsys.readouterr().out
            ran.add((dataset, loss, tuning))
        except InputError as error:
            refused[dataset, loss, tuning] = str(error)
    unfit = {case for case in cases if case[1] not in DATASETS[case[0]]}
    locked = {case for case in cases - unfit if case[1] in WITHOUT_TEXTS and case[2] == "lock-image"}
    assert refused.keys() == unfit | locked
    assert all("nothing is left to train" in refused[case] for case in locked)
    assert {case[:2] for case in ran | locked} == {pair for pair in pairs if pair[1] in DATASETS[pair[0]]}
    assert {case[1:] for case in ran | locked} == set(product(LOSSES, TUNINGS))


@pytest.mark.slow
def test_every_experiment_takes_two_steps(two_steps, roots):
    for file in sorted((CONFIGS / "experiment").glob("*.yaml")):
        small = ["model.backbone.image_size=32", "model.backbone.pretrained=null", "+model.backbone.load_weights=false"]
        dataset = "kaggle-products" if "kaggle-products" in file.read_text() else "synthetic-triplet"
        two_steps(f"experiment={file.stem}", *roots[dataset], *small)
