"""Whole runs in this process, of a model so small that they take seconds."""

import json
from pathlib import Path

import open_clip
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from fashionclip.app.run import train

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
MONITOR = "val/text_to_image/recall@10"


@pytest.fixture
def run(tmp_path, demo_dataset):
    """Trains with overrides; returns what training returns."""
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(tmp_path / "small.json")
    given = [
        "dataset=kaggle-products",
        f"dataset.root={demo_dataset.root}",
        "loss=contrastive",
        "model=tiny",
        "model.backbone.name=small",
        "data.batch_size=16",
        "data.num_workers=0",
        "trainer.max_epochs=1",
        f"hydra.run.dir={tmp_path}",
        f"hydra.runtime.output_dir={tmp_path}",
        "trainer.enable_progress_bar=false",
        "~logger.tensorboard",
    ]

    def trained(*overrides):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("train", [*given, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return train(cfg)

    yield trained
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def test_a_run_returns_the_monitored_value_on_val_of_its_best_checkpoint(run, tmp_path, capsys):
    returned = run("trainer.max_epochs=3")
    fitted = (
        pd.read_csv(tmp_path / "csv" / "metrics.csv")[MONITOR].dropna().tolist()[1:]
    )  # but for that before training
    results = json.loads((tmp_path / "results.json").read_text())
    assert returned == pytest.approx(max(fitted)) == results["val"][MONITOR]
    assert results["monitor"] == MONITOR and set(results) == {"monitor", "val", "before", "after"}
    printed = capsys.readouterr().out
    assert printed.count("before training   ") == 1 and "epoch 3/3   loss" in printed
    assert f"best: {MONITOR} {returned:.3f}, after epoch" in printed and "  recall@10 *" in printed
