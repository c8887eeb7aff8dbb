import os
from pathlib import Path

import pytest
import torch

os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine torch's threads make small operations up to a hundred times slower."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real photos that FASHIONCLIP_REAL_DATA names."""
    folder = os.environ.get("FASHIONCLIP_REAL_DATA", "")
    if not folder or not Path(folder, "kaggle-products").is_dir():
        pytest.skip("FASHIONCLIP_REAL_DATA does not name a folder with kaggle-products/")
    return Path(folder)


@pytest.fixture(scope="session")
def demo_dataset(tmp_path_factory):
    """A small drawn catalogue, prepared: 34 items with 3 photos each."""
    from fashionclip.prepare.demo import prepare_demo

    folder = tmp_path_factory.mktemp("demo")
    return prepare_demo(
        name="demo",
        source=folder / "raw",
        root=folder / "prepared",
        items=34,
        shots=3,
        seed=0,
        max_side=160,
        ratios={"train": 0.6, "val": 0.2, "test": 0.2},
        workers=0,
    )
