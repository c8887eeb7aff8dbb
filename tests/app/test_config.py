import importlib
import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, ListConfig, OmegaConf

from fashionclip.app.config import check_added_keys, check_triplets, plain
from fashionclip.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in CONFIGS.iterdir() if folder.is_dir()
}
CHOICES = [(group, option) for group, options in GROUPS.items() for option in options if option != "base"]


@pytest.fixture(autouse=True)
def configs():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def targets(node):
    """Every node of a config that names what to build."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield node
        for key in node:
            if not OmegaConf.is_missing(node, key):
                yield from targets(node._get_node(key))
    elif isinstance(node, ListConfig):
        for part in node:
            yield from targets(part)


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_every_choice_composes_and_names_only_arguments_that_exist(group, option):
    """No hub is asked: a config that must load something to be composed would fail offline."""
    cfg = compose("train", [f"{group}={option}"])
    for node in targets(cfg):
        module, _, name = node["_target_"].rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            keys = {key for key in map(str, node) if key not in ("_target_", "_partial_", "triplets")}
            assert keys <= set(parameters), node["_target_"]


def test_each_choice_says_what_it_is_or_how_it_runs():
    bare = [f"{g}/{o}" for g, o in CHOICES if not (CONFIGS / g / f"{o}.yaml").read_text().startswith("#")]
    assert bare == []
    models = [(CONFIGS / "model" / f"{o}.yaml").read_text() for o in GROUPS["model"] if o != "base"]
    assert all("python train.py model=" in text for text in models)


@pytest.mark.parametrize("override", ["nonsense=1", "trainer.max_epoch=3", "dataset.sauce=x", "loss=nonsense"])
def test_unknown_keys_and_choices_are_refused(override):
    with pytest.raises(ConfigCompositionException):
        compose("train", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+optimizer.momentum=1", "momentum: unknown key. Its place has.*betas"),
        ("+nonsense=1", "nonsense: unknown key"),
    ],
)
def test_added_keys_that_nothing_reads_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        check_added_keys(compose("train", [override]), [override])


def test_added_keys_that_their_place_takes_are_allowed():
    overrides = ["+trainer.limit_val_batches=2", "+optimizer.amsgrad=true", "trainer.max_epochs=1"]
    check_added_keys(compose("train", overrides), overrides)


def test_a_loss_of_triplets_needs_a_dataset_that_says_what_they_are():
    check_triplets(compose("train", ["loss=semipos", "dataset=kaggle-products"]))
    cfg = compose("train", ["loss=semipos", "dataset=kaggle-products", "~dataset.triplets"])
    with pytest.raises(InputError, match=r"has no `triplets`.*Use loss=contrastive"):
        check_triplets(cfg)


def test_how_triplets_are_mined_is_the_datasets_choice_unless_it_is_given():
    for photos in ("df2", "kaggle-products"):
        assert compose("train", [f"dataset={photos}"]).loss.function.mining == "batch-hard"
    assert compose("train", []).loss.function.mining == "all", "of captions"
    assert compose("train", ["dataset=df2", "loss.mining=given"]).loss.function.mining == "given"
    with pytest.raises(InputError, match="mining"):
        check_triplets(compose("train", ["dataset=df2", "~dataset.triplets.mining"]))


def test_a_loss_may_say_its_batch_size():
    assert compose("train", ["loss=match-mismatch", "dataset=match-mismatch"]).data.batch_size == 128
    assert compose("train", ["loss=contrastive", "model=lite0"]).data.batch_size == 256


def test_the_seed_recipe():
    cfg = compose("train", ["experiment=clothing-search"])
    assert (cfg.optimizer.lr, cfg.data.batch_size, cfg.trainer.max_epochs) == (5e-6, 32, 5)
    assert cfg.model.backbone.name == "ViT-B-32" and cfg.dataset.ratios.train == 0.9
    assert all(plain(cfg.augmentation).values()), "crop, flip, colour jitter and rotation"


def test_the_seeker_recipe():
    cfg = compose("train", ["experiment=seeker"])
    assert (cfg.loss.function.loss.form, cfg.loss.function.loss.margin, cfg.trainer.max_epochs) == ("edit", 1.0, 30)
    assert cfg.optimizer._target_ == "torch.optim.Adam" and cfg.optimizer.lr == 1e-5
    assert cfg.scheduler._target_.endswith("plateau")
