import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_method
from omegaconf import OmegaConf

from fashionclip.app.datasets import open_dataset, prepare
from fashionclip.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("function", [prepare, open_dataset])
@pytest.mark.parametrize("root", [None, ""])
def test_a_missing_root_is_one_message(function, root):
    cfg = OmegaConf.create({"_target_": "no.such.function", "name": "match-mismatch", "source": None, "root": root})
    with pytest.raises(InputError, match=r"dataset\.root: not given\. Expected the folder"):
        function(cfg)


def test_the_command_that_prepares_a_dataset_quotes_a_root_with_blanks(tmp_path):
    cfg = OmegaConf.create({"name": "df2", "source": "???", "root": f"{tmp_path}/my data"})
    with pytest.raises(InputError, match=rf"dataset\.source=DIR 'dataset\.root={tmp_path}/my data'"):
        open_dataset(cfg)


@pytest.fixture
def demo(tmp_path):
    """Prepares a small demo catalogue with overrides; always at the same root."""
    given = ["dataset=demo", "dataset.items=8", "dataset.shots=1", "dataset.max_side=32"]
    given += [f"dataset.source={tmp_path / 'raw'}", f"dataset.root={tmp_path / 'prepared'}"]

    def prepared(*overrides):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return prepare(compose("prepare", [*given, *overrides]).dataset)

    yield prepared
    GlobalHydra.instance().clear()


def test_a_dataset_that_takes_anothers_place_says_so(demo, capsys):
    demo()
    demo()
    assert "took the place" not in capsys.readouterr().out
    demo("dataset.seed=1")
    said = capsys.readouterr().out
    assert said.count("took the place of a dataset of other source") == 1 and "keep its fingerprint" in said


def test_splits_that_come_out_empty_are_said(demo, capsys):
    demo("dataset.ratios={train: 0.0, val: 0.0, test: 1.0}")
    assert "no row fell to train or val. train.py needs rows in train and val" in capsys.readouterr().out
    two_way = demo("dataset.ratios={train: 0.8, val: 0.2, test: 0.0}")
    assert set(two_way.manifest["split"]) == {"train", "val"}
    assert "no test split, so train.py measures on val, on which it chooses" in capsys.readouterr().out


def test_without_val_a_part_of_train_is_held_out_for_it(demo, capsys):
    held_out = demo("dataset.items=40", "dataset.ratios={train: 0.7, val: 0, test: 0.3}")
    assert set(held_out.manifest["split"]) == {"train", "val", "test"}
    assert "no val, so 10% of train become val; nothing is chosen on train or test" in capsys.readouterr().out


def test_what_a_yaml_names_is_the_default_of_its_converter():
    """So that a call from Python prepares what the command line does."""
    for file in (CONFIGS / "dataset").glob("*.yaml"):
        given = OmegaConf.to_container(OmegaConf.load(file))
        if "_target_" not in given:
            continue
        for node in (given, given.get("limits", {}), *given.get("overlays", {}).values()):
            takes = inspect.signature(get_method(node["_target_"])).parameters if node else {}
            for key, value in node.items():
                default = takes[key].default if key in takes else inspect.Parameter.empty
                if default is not inspect.Parameter.empty and key not in (
                    "limits",
                    "overlays",
                    "source",
                    "demo_source",
                    "splits",
                ):
                    assert value == (list(default) if isinstance(default, tuple) else default), (file.name, key)
