import sys
from itertools import zip_longest
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from fashionclip.app.arguments import arguments_of
from fashionclip.app.config import (
    check_added_keys,
    check_devices,
    check_loss_keys,
    check_monitor,
    check_values,
    fill_groups,
    plain,
)
from fashionclip.app.datasets import NO_ARGUMENTS
from fashionclip.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in CONFIGS.iterdir()
    if folder.is_dir() and folder.name not in ("sweep", "evaluation")  # no choices of a training
}
CHOICES = [(group, option) for group, options in GROUPS.items() for option in options if option != "base"]
ALONE = ("experiment", "identity")  # an experiment makes other choices, and an identity is of some datasets


def at_once():
    """Choices of different groups side by side, since composing takes long, so that each is among them."""
    together = [[f"{g}={o}" for g, o in CHOICES if g == group] for group in GROUPS if group not in ALONE]
    rows = [[choice for choice in row if choice] for row in zip_longest(*together)]
    return rows + [[f"{group}={option}"] for group, option in CHOICES if group in ALONE]


@pytest.fixture(autouse=True)
def configs():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def resolvable(overrides, name="train"):
    """A config as a script gets it, of which also `${hydra:...}` resolves."""
    cfg = compose(name, [*overrides, "hydra.runtime.output_dir=runs/x"], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


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


@pytest.mark.parametrize("choices", at_once(), ids=" ".join)
def test_every_choice_composes_and_names_only_arguments_that_exist(choices):
    """No hub is asked: a config that must load something to be composed would fail offline."""
    for node in targets(compose("train", choices)):
        known = arguments_of(node["_target_"], key=" ".join(choices))
        if "**" not in known:
            keys = {key for key in map(str, node) if key not in ("_target_", "_partial_", *NO_ARGUMENTS)}
            assert keys <= set(known), node["_target_"]


def test_each_choice_says_what_it_is_or_how_it_runs():
    others = [(g, file.stem) for g in ("sweep", "evaluation") for file in (CONFIGS / g).glob("*.yaml")]
    choices = [*CHOICES, *others]
    bare = [f"{g}/{o}" for g, o in choices if not (CONFIGS / g / f"{o}.yaml").read_text().startswith("#")]
    assert bare == []
    models = [(CONFIGS / "model" / f"{o}.yaml").read_text() for o in GROUPS["model"] if o != "base"]
    assert all("python train.py model=" in text for text in models)


@pytest.mark.parametrize("override", ["nonsense=1", "trainer.max_epoch=3", "dataset.sauce=x", "loss=nonsense"])
def test_unknown_keys_and_choices_are_refused(override):
    with pytest.raises(ConfigCompositionException):
        compose("train", [override])


def test_umlauts_and_brackets_are_quoted_as_the_page_says():
    quoted = 'dataset.source="photos/Größe [neu], 2"'
    assert quoted in (CONFIGS.parent / "docs" / "how-to" / "config.md").read_text(encoding="utf-8")
    assert compose("prepare", ["dataset=kaggle-products", quoted]).dataset.source == "photos/Größe [neu], 2"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "+optimizer.momentum=1",
            r"optimizer\.momentum: unknown key. Its place takes \[amsgrad, betas.*weight_decay\]",
        ),
        ("+optimizer.params=1", r"optimizer\.params: unknown key"),
        ("+trainer.callbacks=[]", r"trainer\.callbacks: unknown key. Its place takes \[accelerator"),
        ("+nonsense=1", "nonsense: nothing reads a key that is added there"),
        (
            "+data.size=1",
            r"Its place holds \[batch_size, cache_features, eval_batch_size, num_workers, val_queries\], set without",
        ),
        ("++data.size=1", r"data\.size: nothing reads a key that is added there.* set without '\+'"),
        ("+callbacks.checkpoint.keep=1", r"callbacks\.checkpoint\.keep: unknown key. Its place takes .*save_top_k"),
    ],
)
def test_added_keys_that_nothing_reads_are_refused_with_those_that_are_taken(override, message):
    with pytest.raises(InputError, match=message) as refused:
        check_added_keys(compose("train", [override]), [override])
    taken = str(refused.value).partition("[")[2]
    name = override.lstrip("+").partition("=")[0].rpartition(".")[2]
    assert name not in taken.partition("]")[0].split(", "), "what is refused is not offered"


@pytest.mark.parametrize(
    "override",
    [
        "+trainer.limit_val_batches=2",
        "+optimizer.amsgrad=true",
        "trainer.max_epochs=1",
        "+callbacks.clock={_target_: lightning.pytorch.callbacks.Timer, duration: '00:01:00:00'}",
        "+callbacks.clock._target_=lightning.pytorch.callbacks.Timer",
        "+logger.more={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: x}",
        "+dataset.overlays.stamp={_target_: fashionclip.prepare.synthetic_triplets.overlays.LogoOverlay}",
        "~logger.csv",
        "+loss.batch_size=32",
        "++data.batch_size=3",
    ],
)
def test_added_keys_that_their_place_takes_are_allowed(override):
    check_added_keys(compose("train", [override]), [override])


def test_to_a_run_of_before_a_key_may_be_added_that_it_had_not_yet():
    for key in [
        "tf32",
        "model.grad_checkpointing",
        "model.patch_dropout",
        "loss.cache_chunk",
        "loss.distill.weight",
        "wise_ft.alphas",
        "retention",
    ]:
        above, _, name = key.rpartition(".")
        cfg = compose("train", ["loss=contrastive"])
        with open_dict(cfg):
            (OmegaConf.select(cfg, above) if above else cfg).pop(name)
        check_added_keys(cfg, [f"+{key}=1"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch_size=0"], "data.batch_size=0: expected a whole number >= 1."),
        (["data.batch_size=-1"], "data.batch_size=-1: expected"),
        (["data.batch_size=abc"], "data.batch_size=abc: expected"),
        (["data.val_queries=0"], "data.val_queries=0: expected a whole number >= 1 or null."),
        (["loss.hard_negatives.every=0"], "loss.hard_negatives.every=0: expected a whole number >= 1 or null."),
        (["loss.hard_negatives.per_group=1"], "loss.hard_negatives.per_group=1: expected a whole number >= 2."),
        (["loss.hard_negatives.margin=-1"], "loss.hard_negatives.margin=-1: expected a number >= 0 or null."),
        (["loss.hard_negatives.differ_in=colour"], "loss.hard_negatives.differ_in=colour: expected a list or null."),
        (["data.eval_batch_size=1.5"], "data.eval_batch_size=1.5: expected"),
        (["model.lr=abc"], "model.lr=abc: expected a number > 0."),
        (["optimizer.lr=0"], "optimizer.lr=0: expected"),
        (["optimizer.betas=0.9"], "optimizer.betas=0.9: expected a list"),
        (["model.weight_decay=-1"], "model.weight_decay=-1: expected a number >= 0."),
        (["scheduler.warmup=1"], "scheduler.warmup=1: expected a number >= 0 and < 1."),
        (["model.lr=nan"], "model.lr=nan: expected a number > 0."),
        (["seed=-1"], "seed=-1: expected"),
        (["seed=abc"], "seed=abc: expected"),
        (["loss=contrastive", "loss.temperature=0"], "loss.temperature=0: expected a number > 0 or null."),
        (["loss=contrastive", "loss.temperature=abc"], "loss.temperature=abc: expected"),
        (["loss.monitor=null"], "loss.monitor=None: expected a metric of validation"),
        (["~loss.monitor"], "loss.monitor=None: expected a metric of validation"),
        (["loss.margin=abc"], "loss.margin=abc: expected a number >= -1 or null."),
        (
            ["loss=mixed", "loss.parts.triplet_semipos.margin=-7"],
            "loss.parts.triplet_semipos.margin=-7: expected a number >= -1 or null.",
        ),
        (["loss.form=abc"], "loss.form=abc: expected 'ordered' or 'edit'."),
        (["loss=contrastive", "loss.form=abc"], "loss.form=abc: expected 'softmax' or 'sigmoid'."),
        (["loss=mixed", "loss.parts.contrastive.form=a"], "loss.parts.contrastive.form=a: expected 'softmax' or"),
        (["loss.mining=given"], "loss.mining=given: expected 'random', 'all', 'batch-hard' or 'semi-hard'. What was"),
        (["identity.mining=x"], "identity.mining=x: expected 'random', 'all'"),
        (["loss=metric-learning", "loss.miner=3"], "loss.miner=3: expected a node with _target_ or null."),
        (["callbacks.checkpoint.monitor=val/other"], "callbacks.checkpoint: monitor=val/other"),
        (["~callbacks.checkpoint"], "callbacks.checkpoint: left out"),
        (["~logger.csv", "~logger.tensorboard"], "Add ~callbacks.learning_rate."),
        (["~logger"], "Add ~callbacks.learning_rate."),
        (["~callbacks"], "callbacks.checkpoint: left out"),
        (["logger.csv=null", "logger.tensorboard=null"], "Add ~callbacks.learning_rate."),
        (["~optimizer"], "optimizer: left out, and nothing can be trained without it. Leave it in."),
        (["~data"], "data: left out, and nothing"),
        (["+callbacks.x._target_=lightning.pytorch.callbacks.LearningRateFinder"], "callbacks.x: Lightning's search"),
        (["trainer.check_val_every_n_epoch=null"], "Add +trainer.val_check_interval=N"),
        (["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=0.5"], "a whole number of steps"),
        (["data.batch_size=[1]"], "data.batch_size=[1]: expected"),
        (["optimizer.eps=[1e-3]"], "optimizer.eps="),
        (["~model.lr"], "optimizer.lr: Interpolation key 'model.lr' not found"),
        (["trainer.max_epochs=0"], "python evaluate.py model=lite0-unfrozen dataset=synthetic-triplet"),
        (["trainer.max_epochs=-1"], "trainer.max_epochs=-1: expected 1 or more"),
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc: expected a whole number"),
        (["trainer.check_val_every_n_epoch=16"], "more than trainer.max_epochs=15"),
        (["model=lite0", "augmentation=light"], "data.cache_features=true: photos are embedded once, so augmentation="),
        (["trainer.precision=half"], "trainer.precision=half: expected 64, 32 or 16 or 'transformer-engine', "),
        (["+callbacks.clock=1"], "callbacks.clock=1: expected a node with _target_"),
        (["+callbacks.clock={_target_: no.such.Clock}"], "callbacks.clock._target_=no.such.Clock: cannot be imported"),
        (["dataset.max_side=0"], "dataset.max_side=0: expected a whole number >= 1."),
        (["dataset.max_side=abc"], "dataset.max_side=abc: expected"),
        (["dataset.ratios=0.8"], "dataset.ratios=0.8: expected keys with values."),
        (["dataset.save_hf=no"], "dataset.save_hf=no: expected true or false."),
        (["dataset.captions=5"], "dataset.captions=5: expected text or null."),
        (["dataset.overlays.text.colours=white"], "dataset.overlays.text.colours=white: expected a list."),
        (["augmentation.crop_scale=0.5"], "augmentation.crop_scale=0.5: expected a list or null."),
        (["augmentation.crop_scale=[a]"], "augmentation.crop_scale=['a']: expected a number or null."),
        (["identity.distance=abc"], "distance=abc: expected a node with _target_."),
    ],
)
def test_values_that_cannot_work_are_one_line_each(overrides, message):
    cfg = resolvable(overrides)
    fill_groups(cfg)
    with pytest.raises(InputError) as refused:
        check_values(cfg)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not message.startswith("loss.") or str(refused.value).startswith(message), "by the key that was given"


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=contrastive", "dataset=kaggle-products", "model=lite0", "scheduler=plateau", "logger=wandb"],
        ["loss=mixed", "dataset=df2", "trainer=ddp", "trainer.devices=2", "augmentation=strong"],
        ["loss=match-mismatch", "dataset=match-mismatch", "optimizer=adam", "trainer.devices=[0]"],
        ["trainer.max_epochs=-1", "+trainer.max_steps=3", "optimizer.lr=1", "dataset.overlays.logo=null"],
        ["~logger", "~callbacks.learning_rate"],
        ["~metrics", "~logger.csv", "~scheduler", "~augmentation", "callbacks.early_stopping=null"],
        ["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=2", "trainer.log_every_n_steps=null"],
        ["optimizer._target_=torch.optim.Adafactor", "~optimizer.betas", "optimizer.eps=[null,1e-3]"],
        ["+loss.batch_size=32"],
        ["experiment=clothing-search", "+trainer.fast_dev_run=true", "trainer.max_time='00:01:00:00'"],
    ],
)
def test_values_that_work_pass(overrides):
    cfg = resolvable(overrides)
    fill_groups(cfg)
    check_values(cfg)


@pytest.mark.parametrize(
    "dataset", ["demo", "df2", "judgements-csv", "judgements-derived", "match-mismatch", "synthetic-triplet"]
)
def test_what_prepare_and_evaluate_get_passes(dataset):
    check_values(resolvable([f"dataset={dataset}"], "prepare"))
    check_values(resolvable([f"dataset={dataset}", "model=lite0"], "evaluate"))


def test_a_choice_in_place_of_a_run_s_values_is_refused():
    cfg = resolvable([])
    cfg.model = "lite0"
    with pytest.raises(InputError, match=r"^model=lite0: the config of a run has values.* leave out --again"):
        check_values(cfg)


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(
        InputError, match=r"trainer\.accelerator=gpu: torch .* finds no GPU on this machine. Use trainer=cpu"
    ):
        check_devices(compose("train", ["trainer=gpu"]).trainer)
    check_devices(compose("train", ["trainer=ddp"]).trainer)


def test_a_monitor_that_nothing_measures_is_refused_with_what_is_measured():
    check_monitor("val/x/mrr", [{"val/x/mrr": 0.5}])
    with pytest.raises(InputError, match=r"loss\.monitor=val/y: not measured.*one of val/spread, val/x/mrr\."):
        check_monitor("val/y", [{"val/x/mrr": 0.5, "val/spread": 1.0}])
    with pytest.raises(InputError, match="nothing was validated"):
        check_monitor("val/y", [])


def test_a_loss_among_photos_needs_a_dataset_that_says_which_belong_together():
    check_values(resolvable(["loss=semipos", "dataset=kaggle-products"]))
    with pytest.raises(InputError, match=r"^Interpolation key 'identity\.\w+' not found.*Use loss=contrastive"):
        check_values(resolvable(["loss=semipos", "dataset=kaggle-products", "~identity"]))


def test_how_triplets_are_mined_is_the_datasets_choice_unless_it_is_given():
    for photos in ("df2", "kaggle-products"):
        assert compose("train", [f"dataset={photos}"]).loss.function.mining == "batch-hard"
    assert compose("train", []).loss.function.mining == "all", "of captions"
    assert compose("train", ["dataset=df2", "loss.mining=random"]).loss.function.mining == "random"
    with pytest.raises(InputError, match=r"'identity\.mining' not found"):
        check_values(resolvable(["dataset=df2", "~identity.mining"]))


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (["loss=contrastive", "loss.form=sigmoid", "loss.temperature=0.1", "loss.monitor=val/x"], None),
        (["loss=semipos", "loss.margin=0.5", "loss.relation.per_group=3"], None),
        (["loss=mixed", "loss.parts.contrastive.temperature=0.1", "loss.weights.contrastive=2"], None),
        (["loss=mixed", "loss.parts.triplet_semipos.monitor=val/x", "~loss.batch_size", "seed=3"], None),
        (["loss=mixed", "loss.parts.contrastive.monitor=val/x"], "loss.parts.contrastive.monitor"),
        (["loss=metric-learning", "identity.per_group=2", "+loss.function.alpha=1"], None),
        (["loss=metric-learning", "identity.mining=all"], "identity.mining"),
        (["loss=mixed", "loss.parts.contrastive={form: sigmoid}"], None),
        (["loss=semipos", "dataset=judgements-derived", "+identity=kaggle-products"], None),
        (["loss=contrastive", "dataset=judgements-derived", "+identity=kaggle-products"], "identity"),
        (["loss=mixed-judgements", "loss.parts.match_mismatch.batch_size=3"], "loss.parts.match_mismatch.batch_size"),
    ],
)
def test_a_key_of_the_loss_that_changes_nothing_is_refused(overrides, refused):
    cfg = compose("train", [o for o in overrides if "~" not in o])
    if refused is None:
        check_loss_keys(cfg, overrides)
    else:
        with pytest.raises(InputError, match=rf"{refused}=\S+: nothing reads {refused} in this loss\. Leave it out\."):
            check_loss_keys(cfg, overrides)


def test_the_keys_of_a_loss_reach_what_it_builds():
    """By the names that a command line gives them, the same for every loss."""
    contrastive = ["loss.form=sigmoid", "loss.multi_positive=false"]
    judged = ["loss.form=focal", "loss.scale=5", "loss.gamma=1", "loss.per_label=null", "loss.drawn=0"]
    semipos = [
        "loss.form=edit",
        "loss.margin=0.5",
        "loss.swap=true",
        "loss.mining=all",
        "loss.distance_function=cosine",
    ]
    for name, overrides in (("contrastive", contrastive), ("match-mismatch", judged), ("semipos", semipos)):
        cfg = compose("train", [f"loss={name}", *overrides])
        loss, relation = instantiate(cfg.loss.function), instantiate(cfg.loss.relation)
        if name == "contrastive":
            assert (loss.form, loss.biased, loss.multi_positive) == ("sigmoid", True, False)
        elif name == "match-mismatch":
            assert (loss.form, loss.gamma, relation.per_label, relation.drawn) == ("focal", 1, None, 0)
            assert loss.log_scale.exp().item() == pytest.approx(5)
        else:
            assert (loss.loss.form, loss.loss.margin, loss.loss.swap, loss.mining) == ("edit", 0.5, True, "all")
            assert loss.loss.distance_function == "cosine"


def test_an_extra_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(InputError, match=r"loss\.function\._target_=pytorch_metric.*pip install 'fashionclip\[pml\]'"):
        check_values(resolvable(["loss=metric-learning"]))


def test_a_loss_may_say_its_batch_size():
    assert compose("train", ["loss=match-mismatch", "dataset=match-mismatch"]).data.batch_size == 128
    assert compose("train", ["loss=contrastive", "model=lite0"]).data.batch_size == 256


def test_the_seed_recipe():
    cfg = compose("train", ["experiment=clothing-search"])
    assert (cfg.optimizer.lr, cfg.data.batch_size, cfg.trainer.max_epochs) == (5e-6, 32, 5)
    assert cfg.model.backbone.name == "ViT-B-32" and cfg.dataset.ratios.train == 0.9
    assert all(plain(cfg.augmentation).values()), "crop, flip, colour jitter and rotation"
    assert cfg.augmentation.crop_scale == [0.8, 1.0] and cfg.augmentation.color_jitter[3] == 0, "no hue"
    assert cfg.model.backbone.pretrained == "openai" and cfg.callbacks.early_stopping.patience == 3


def test_the_seeker_recipe():
    cfg = compose("train", ["experiment=seeker"])
    assert (cfg.loss.function.loss.form, cfg.loss.function.loss.margin, cfg.trainer.max_epochs) == ("edit", 1.0, 30)
    assert cfg.optimizer._target_ == "torch.optim.Adam" and cfg.optimizer.lr == 1e-5
    assert cfg.scheduler._target_.endswith("plateau") and cfg.model.backbone.pretrained == "openai"


def test_a_published_recipe_says_what_differs_from_it():
    for name in GROUPS["experiment"]:
        text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
        assert "# What differs from it, and why:\n# - " in text or "No published recipe" in text, name


def test_hydra_itself_runs_no_command(tmp_path):
    """From the version on that pyproject.toml asks for; 1.3.2 ran it."""
    with pytest.raises(InstantiationException, match="blocklisted"):
        instantiate({"_target_": "os.system", "_args_": [f"touch {tmp_path / 'ran'}"]})
    assert not (tmp_path / "ran").exists()
