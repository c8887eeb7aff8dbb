import base64
import contextlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from fashionclip.app.checkpoint import NAMES, backbone_of, dataset_of, judge_of, load_checkpoint, named, relation_of
from fashionclip.app.export import export_run
from fashionclip.data.judgements import JudgementRelation
from fashionclip.data.registered import DISTANCES, RELATIONS
from fashionclip.data.relations import IdentityRelation, PairRelation
from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.models.folder import CONFIG
from fashionclip.models.load import load_backbone
from fashionclip.retrieval.encoder import load_encoder
from fashionclip.retrieval.export.export import FACTS
from fashionclip.retrieval.export.plain_open_clip import load_plain
from fashionclip.retrieval.export.samples import chosen_of, lowest_cosine
from fashionclip.retrieval.export.training_record import RECORD, read_record

REPO = Path(__file__).parents[2]
CONFIGS = REPO / "configs"
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
# Small models of three families, with the preprocessing that open_clip's tags of the real ones state.
FAMILIES = {
    "siglip": (
        ("ViT-B-16-SigLIP", "webli"),
        {
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
            "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True, "vocab_size": 6},
        },
    ),
    "mobileclip": (
        ("MobileCLIP-S1", "datacompdr"),
        {
            "embed_dim": 16,
            "vision_cfg": {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "image_size": 64},
            "text_cfg": TEXT,
        },
    ),
    "perception": (
        ("PE-Core-B-16", "meta"),
        {
            "embed_dim": 16,
            "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "image_size": 160},
            "text_cfg": TEXT,
        },
    ),
}


@pytest.fixture
def register(tmp_path, monkeypatch):
    def register(name, architecture, tagged):
        """Makes a model known to open_clip, with one tag, "tag", that states the preprocessing of another's."""
        (tmp_path / f"{name}.json").write_text(json.dumps(architecture))
        open_clip.add_model_config(tmp_path / f"{name}.json")
        stated = open_clip.get_pretrained_cfg(*tagged)
        assert stated, f"open_clip has no tag {tagged}"
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"tag": stated})
        return stated

    return register


@pytest.mark.parametrize("family", FAMILIES)
def test_training_evaluation_export_and_index_embed_alike(
    family, words, register, leave_run, demo_dataset, tmp_path, capsys
):
    tagged, architecture = FAMILIES[family]
    if family == "siglip":
        architecture = {**architecture, "text_cfg": {**architecture["text_cfg"], "hf_tokenizer_name": str(words)}}
    name = f"checkpoint-{family}"
    stated = register(name, architecture, tagged)
    torch.manual_seed(0)
    trained = load_backbone(name=name, pretrained="tag", load_weights=False).eval()
    for key in ("mean", "std", "interpolation", "resize_mode"):
        assert asdict(trained.preprocess)[key] == stated[key]
    leave_run(tmp_path / "run", trained, demo_dataset, name=name, tag="tag")
    words.rename(tmp_path / "gone")
    (tmp_path / f"{name}.json").unlink()

    evaluated = backbone_of(load_checkpoint(tmp_path / "run")).eval()
    assert evaluated.preprocess == trained.preprocess
    facts = export_run(tmp_path / "run", tmp_path / "export")
    assert facts["checked"]["training_run"]["photos"] == 8
    plain, indexed = load_plain(tmp_path / "export"), load_encoder(tmp_path / "export")

    files, texts, _ = chosen_of(demo_dataset, count=4)
    photos = [load_image(file, at_least=2 * trained.preprocess.size) for file in files]
    transform = type(indexed)(backbone=trained, digest="", facts={})
    wanted = {"image": transform.images(photos), "text": transform.texts(texts)}
    again = type(indexed)(backbone=evaluated, digest="", facts={})
    with torch.inference_mode():
        found = {
            "evaluate": (again.images(photos), again.texts(texts)),
            "export": (plain.images(plain.pixels(photos)).numpy(), plain.texts(plain.tokens(texts)).numpy()),
            "index": (indexed.images(photos), indexed.texts(texts)),
        }
    for image, text in found.values():
        assert lowest_cosine(image, wanted["image"]) >= 0.9999 and lowest_cosine(text, wanted["text"]) >= 0.9999


def test_every_tag_of_open_clip_states_what_is_taken_from_it():
    for name, tag in open_clip.list_pretrained():
        assert {"mean", "std", "interpolation", "resize_mode"} <= set(open_clip.get_pretrained_cfg(name, tag))


def test_an_export_that_embeds_otherwise_than_the_run_is_refused(run, tmp_path):
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    config = json.loads(checkpoint["backbone"][CONFIG])
    config["preprocess_cfg"] |= {"mean": [0.1, 0.2, 0.3], "std": [0.9, 0.9, 0.9]}
    checkpoint["backbone"][CONFIG] = json.dumps(config).encode()
    torch.save(checkpoint, file)
    with pytest.raises(InputError, match="the rebuilt checkpoint embeds otherwise than the training run did"):
        export_run(run, tmp_path / "export")
    assert not (tmp_path / "export").exists()


class Anything:
    """What a pickle may call."""

    def __reduce__(self):
        return (print, ("called",))


def pickled(file):
    file.write_bytes(pickle.dumps({"config": {}}))


def pickled_in_a_zip(file):
    torch.save({"config": {}, "state_dict": Anything()}, file)


def torn(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def holding(state):
    return lambda file: torch.save(torch.load(file, weights_only=True) | {"state_dict": state}, file)


@pytest.fixture
def run(register, leave_run, demo_dataset, tmp_path):
    """A run folder of a small model."""
    tagged, architecture = FAMILIES["mobileclip"]
    register("checkpoint-run", architecture, tagged)
    trained = load_backbone(name="checkpoint-run", pretrained="tag", load_weights=False)
    leave_run(tmp_path / "run", trained, demo_dataset, name="checkpoint-run", tag="tag")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_bytes(b""), r"is empty \(0 bytes\)"),
        (torn, "is torn, or no checkpoint at all"),
        (pickled, "is torn, or no checkpoint at all"),
        (pickled_in_a_zip, "cannot be read .* nothing else is loaded"),
        (lambda file: file.unlink(), "no .*best.ckpt"),
        (lambda file: torch.save({"model": torch.ones(1)}, file), "no checkpoint of fashionclip"),
        (lambda file: torch.save({"config": {}, "state_dict": {}}, file), r"its config lacks \['model.backbone'"),
        (holding(None), "its weights are no tensors with names"),
        (holding({"backbone.clip.logit_scale": "x"}), "its weights are no tensors with names"),
        (holding({1: torch.ones(1)}), "its weights are no tensors with names"),
    ],
)
def test_a_checkpoint_that_is_none(run, spoil, message, capsys):
    best = run / "checkpoints" / "best.ckpt"
    shutil.copy(best, best.with_name("last.ckpt"))
    spoil(best)
    with pytest.raises(InputError, match=message) as refusal:
        load_checkpoint(run)
    assert "weights_only" not in str(refusal.value), "no advice to switch the protection off"
    if not message.startswith(("no checkpoint", "its ")):
        assert "last.ckpt" in str(refusal.value)
    assert "called" not in capsys.readouterr().out


def test_an_export_is_no_run(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"is an export.*evaluate\.py"):
        load_checkpoint(tmp_path)


def test_names_that_torch_compile_gives_are_undone(run):
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = load_checkpoint(run)
    wanted = backbone_of(checkpoint).state_dict()
    state = checkpoint["state_dict"]
    compiled = {name.replace("clip.", "clip._orig_mod.", 1): tensor for name, tensor in state.items()}
    torch.save(checkpoint | {"state_dict": compiled}, file)
    found = backbone_of(load_checkpoint(file)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def harmful(marker):
    """Nodes of a config that would write the marker, were they followed; the last one Hydra itself would follow."""
    touch = {"_target_": "os.system", "_args_": [f"touch {marker}"]}
    path = {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(marker)]}]}
    code = {"_target_": "builtins.eval", "_args_": [f"open({str(marker)!r}, 'w')"]}
    coded = {"_target_": "base64.b64decode", "s": base64.b64encode(pickle.dumps(Touch(marker))).decode()}
    table = {"_target_": "pandas.read_pickle", "filepath_or_buffer": {"_target_": "io.BytesIO", "_args_": [coded]}}
    return {"system": touch, "touch": path, "eval": code, "pickle": table}


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_hydra_would_follow_the_worst_of_them(tmp_path):
    with contextlib.suppress(Exception):
        instantiate(harmful(tmp_path / "marker")["pickle"])
    assert (tmp_path / "marker").exists()


PLACES = {
    "whole": lambda node, bad: bad,
    "beside": lambda node, bad: {**node, "image_size": bad},
    "in a list": lambda node, bad: {**node, "freeze": ["visual", bad]},
    "nested": lambda node, bad: {**node, "mean": {"more": [{"again": bad}]}},
    "as arguments": lambda node, bad: {**node, "_args_": [bad]},
    "registered": lambda node, bad: {
        "name": "mixed",
        "parts": {"one": bad, "two": {"name": "pairs"}},
        "sampler": "two",
    },
    "a setting of what is registered": lambda node, bad: {"name": "attributes", "columns": [bad]},
    "by name": lambda node, bad: {"name": bad["_target_"], **bad},
}


@pytest.mark.parametrize("put", PLACES.values(), ids=PLACES)
def test_nothing_that_a_checkpoint_or_its_run_folder_names_is_called(run, tmp_path, put):
    """Neither by evaluation nor by export, wherever it stands in the config, nor in the config.yaml beside it."""
    marker, file = tmp_path / "marker", run / "checkpoints" / "best.ckpt"
    whole = torch.load(file, weights_only=True)
    for bad in harmful(marker).values():
        config = {key: put(node, bad) if isinstance(node, dict) else node for key, node in whole["config"].items()}
        config |= {"dataset": whole["config"]["dataset"], "model": whole["config"]["model"]}
        config["model"] = {"label": "x", "backbone": put(config["model"]["backbone"], bad)}
        config["loss"] = {key: put(node, bad) for key, node in whole["config"]["loss"].items()}
        with pytest.raises(InputError, match=r"checkpoint: its config has .* at loss\.relation"):
            relation_of({"config": named(config)})
        assert not marker.exists()
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    torch.save({**whole, "config": config}, file)
    backbone_of(load_checkpoint(run))
    with contextlib.suppress(InputError):
        export_run(run, tmp_path / "export")
    assert not marker.exists()


def test_nothing_that_an_export_names_is_called(run, tmp_path):
    marker, export = tmp_path / "marker", tmp_path / "export"
    export_run(run, export)
    facts, config = (json.loads((export / name).read_text()) for name in (FACTS, CONFIG))
    for bad in harmful(marker).values():
        (export / FACTS).write_text(json.dumps({**facts, "judge": bad, "tuning": [bad], "label": bad}))
        load_encoder(export)
        for broken in ({**config, "_target_": bad}, {**config, "model_cfg": {**config["model_cfg"], "embed_dim": bad}}):
            (export / CONFIG).write_text(json.dumps(broken))
            with contextlib.suppress(InputError):
                load_encoder(export)
        (export / CONFIG).write_text(json.dumps(config))
        assert not marker.exists()


def test_a_config_without_end_is_refused(run):
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["config"]["augmentation"]["more"] = checkpoint["config"]
    torch.save(checkpoint, file)
    with pytest.raises(InputError, match="its config has no end"):
        load_checkpoint(run)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "not the files of a model, or it was written before there were any"),
        (3, "not the files of a model"),
        ({CONFIG: "text"}, "not the files of a model"),
        (
            {CONFIG: b'{"model_cfg": {"vision_cfg": {"image_size": "x"}, "text_cfg": {}}}'},
            "image_size=x. Expected 1 to",
        ),
        ({CONFIG: b'{"model_cfg": {"vision_cfg": {}, "text_cfg": {}, "wide": 1}}'}, "can build no model of it"),
        ({CONFIG: b'{"model_cfg": {"vision_cfg": {}, "text_cfg": {"tokenizer_kwargs": 1}}}'}, "tokenizer_kwargs=1"),
    ],
)
def test_a_checkpoint_that_describes_no_model_is_one_message(run, files, message):
    with pytest.raises(InputError, match=message) as refused:
        backbone_of({**load_checkpoint(run), "backbone": files})
    assert "\n" not in str(refused.value)


def test_an_image_size_may_be_two_numbers(run):
    checkpoint = load_checkpoint(run)
    config = json.loads(checkpoint["backbone"][CONFIG])
    config["model_cfg"]["vision_cfg"]["image_size"] = [64, 64]
    assert backbone_of(checkpoint | {"backbone": {CONFIG: json.dumps(config).encode()}}).preprocess.size == 64


def test_a_relation_of_ones_own_is_refused_with_the_way_on():
    config = named({"loss": {"relation": {"_target_": "mine.Relation", "item": "text"}}})
    with pytest.raises(InputError, match=r"'mine\.Relation' at loss\.relation.*fashionclip export.*registered\.py"):
        relation_of({"config": config})


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "'no name' at loss.relation, which is none"),
        ({"item": "text"}, "'no name' at loss.relation, which is none"),
        (
            {"name": "identities", "item": "a", "group": "b", "second_view": True, "view": torch.ones(2)},
            "cannot be built",
        ),
        ({"name": "mixed", "parts": {"a": {"name": "eval"}}, "sampler": "a"}, "'eval' at loss.relation.parts.a"),
    ],
)
def test_a_relation_of_odd_values_is_one_message(node, message):
    with pytest.raises(InputError, match=message):
        relation_of({"config": {"loss": {"relation": node}}})


def test_what_a_checkpoint_describes_is_written_nowhere_else(run, tmp_path):
    checkpoint = load_checkpoint(run)
    for name in ("../outside.json", str(tmp_path / "outside.json"), "..", "", "a\0", "a" * 300):
        with pytest.raises(InputError, match="would lie elsewhere"):
            backbone_of({**checkpoint, "backbone": {name: b"{}"}})
    assert not (tmp_path / "outside.json").exists()


def test_a_checkpoint_that_describes_another_model_than_its_weights(run, tmp_path):
    checkpoint = load_checkpoint(run)
    files = checkpoint["backbone"]
    config = json.loads(files[CONFIG])
    config["model_cfg"]["text_cfg"] |= {"width": 4096, "layers": 64}
    with pytest.raises(InputError, match=r"for which .* bytes are too few"):
        backbone_of({**checkpoint, "backbone": {**files, CONFIG: json.dumps(config).encode()}})
    config["model_cfg"]["text_cfg"] = {
        **TEXT,
        "hf_tokenizer_name": "x",
        "tokenizer_kwargs": {"trust_remote_code": True},
    }
    with pytest.raises(InputError, match="trust_remote_code"):
        backbone_of({**checkpoint, "backbone": {**files, CONFIG: json.dumps(config).encode()}})
    state = checkpoint["state_dict"]
    state["backbone.clip.text_projection"] = state["backbone.clip.text_projection"][:3]
    with pytest.raises(InputError, match="its weights do not fit its own model"):
        backbone_of(checkpoint)


def test_a_model_of_a_hub_is_rebuilt_without_it(run, caplog):
    caplog.set_level("INFO")
    checkpoint = load_checkpoint(run)
    caplog.clear()
    wanted = backbone_of(checkpoint)
    assert caplog.text == "", "open_clip warns of weights that it was not to load"
    for name in ("hf-hub:nobody/nothing", "local-dir:no/such/folder"):
        checkpoint["config"]["model"]["backbone"] |= {"name": name, "pretrained": "no/such/file.pt"}
        assert backbone_of(checkpoint).preprocess == wanted.preprocess


def test_every_relation_of_ours_may_be_rebuilt():
    files = [*(CONFIGS / "loss").glob("*.yaml"), *(CONFIGS / "identity").glob("*.yaml")]
    shipped = {t for file in files for t in re.findall(r"_target_: (fashionclip\.data\.\S+)", file.read_text())}
    assert {NAMES.get(target) for target in shipped} == {*RELATIONS, *DISTANCES}


OLD = {
    "parts": {
        "contrastive": {"_target_": "fashionclip.data.relations.PairRelation"},
        "match_mismatch": {"_target_": "fashionclip.data.judgements.JudgementRelation", "per_label": 2, "drawn": 4},
        "triplet_semipos": {
            "_target_": "fashionclip.data.relations.TripletRelation",
            "item": "item_id",
            "group": "group_id",
            "distance": {"_target_": "fashionclip.data.content.AttributeDistance", "columns": ["style", "sleeve"]},
            "view": "domain",
            "hard": "category",
            "second_view": False,
            "per_anchor": 1,
            "per_group": 8,
            "per_item": 4,
        },
    },
    "sampler": "triplet_semipos",
    "_target_": "fashionclip.data.mixed.MixedRelation",
}


def test_a_checkpoint_of_before_the_move_is_read(run):
    """It names classes by import paths, some of which are no more."""
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    node = {"_target_": "fashionclip.models.backbone.load_backbone", **checkpoint["config"]["model"]["backbone"]}
    weights = {"_target_": "fashionclip.models.lite0.load_imagenet_weights", "_partial_": True}
    checkpoint["config"]["model"]["backbone"] = {**node, "image_weights": weights, "mean": [0.5] * 3}
    checkpoint["config"]["loss"]["relation"] = OLD
    torch.save(checkpoint, file)
    read = load_checkpoint(run)
    assert "_target_" not in str(read["config"]) and read["config"]["model"]["backbone"]["name"] == "checkpoint-run"
    relation = relation_of(read)
    assert relation.name == "mixed" and relation.uses_judgements and relation.uses_text
    assert [type(part) for part in relation.parts.values()] == [PairRelation, JudgementRelation, IdentityRelation]
    assert {"style", "sleeve", "item_id", "domain"} <= set(relation.columns)
    assert named(read["config"]) == read["config"], "what is read is as it is written now"
    backbone_of(read)


def test_a_dataset_that_has_been_replaced(run, demo_dataset):
    checkpoint = load_checkpoint(run)
    assert dataset_of(checkpoint).root == demo_dataset.root
    checkpoint["config"]["dataset_fingerprint"] = "of another seed"
    with pytest.raises(InputError, match=r"another dataset than this run was trained on.*dataset=demo dataset\.root="):
        dataset_of(checkpoint)


@pytest.mark.parametrize("root", ["data/\0x", "x" * 5000, "\ud800"])
def test_a_dataset_at_a_place_that_cannot_be_is_one_message(run, root):
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["config"]["dataset"]["root"] = root
    torch.save(checkpoint, file)
    with pytest.raises(
        InputError, match=r"best\.ckpt: its dataset\.root=.* can be no path\. It is not read\.$"
    ) as refused:
        load_checkpoint(run)
    assert len(str(refused.value)) < 400 and "\0" not in str(refused.value)


def test_what_was_chosen_for_judgements_is_three_numbers_or_refused():
    chosen = {"threshold": torch.tensor(0.2), "scale": torch.tensor(9.0), "bias": torch.tensor(-1.0)}
    for broken in ({"scale": torch.ones(2)}, {"bias": torch.tensor(True)}, {"more": torch.tensor(1.0)}):
        state = {f"judged.{name}": value for name, value in (chosen | broken).items()}
        with pytest.raises(
            InputError, match=r"holds judged\.threshold, .*threshold, scale and bias of judgements cannot"
        ):
            judge_of({"state_dict": state})
    with pytest.raises(InputError, match=r"holds judged\.threshold, of which"):
        judge_of({"state_dict": {"judged.threshold": torch.tensor(0.2)}})
    assert judge_of({"state_dict": {f"judged.{name}": value for name, value in chosen.items()}}) == chosen
    assert judge_of({"state_dict": {"backbone.x": torch.ones(1)}}) == {}


def run_script(*command, home):
    """What a script prints that must end well, offline and with this home of the hub's client."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=REPO, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_an_export_says_what_it_could_not_be_checked_by(run, tmp_path, capsys):
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["config"]["dataset_fingerprint"] = "of another seed"
    checkpoint["state_dict"]["backbone.clip.logit_scale"] += 1
    torch.save(checkpoint, file)
    facts = export_run(run, tmp_path / "export")
    said = capsys.readouterr().out
    assert "another dataset than the run was trained on" in said and facts["data"]["counts"] is None
    assert f"{RECORD}: belongs to other weights than those of {run}." in said and "training_run" not in facts["checked"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tag"), [("ViT-B-16-SigLIP", "webli"), ("MobileCLIP-S1", "datacompdr"), ("PE-Core-T-16-384", "meta")]
)
def test_scripts_agree_on_real_architectures(name, tag, words, demo_dataset, tmp_path):
    """With random weights. The tokenizer of SigLIP lies in the hub's cache for training, and nowhere after it."""
    cached = tmp_path / "hub" / "hub" / f"models--timm--{name}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(words, cached / "snapshots" / ("0" * 40))
    (cached / "snapshots" / ("0" * 40) / "config.json").write_text("{}")  # transformers asks for it first
    model = ["model=tiny", f"model.backbone.name={name}", f"model.backbone.pretrained={tag}"]
    model += ["+model.backbone.load_weights=false", "model.backbone.freeze=[visual]"]
    data = ["dataset=kaggle-products", f"dataset.root={demo_dataset.root}", "data.batch_size=8", "data.num_workers=0"]
    short = ["loss=contrastive", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "~logger.tensorboard"]
    run, again, export = tmp_path / "run", tmp_path / "again", tmp_path / "export"
    run_script("train.py", *model, *data, *short, f"hydra.run.dir={run}", home=tmp_path / "hub")
    nowhere = tmp_path / "nowhere"
    run_script("evaluate.py", f"ckpt={run}", "data.num_workers=0", f"hydra.run.dir={again}", home=nowhere)
    after = json.loads((run / "results.json").read_text())["after"]
    assert json.loads((again / "results.json").read_text())["metrics"] == pytest.approx(after, abs=1e-4)
    said = run_script("-m", "fashionclip", "export", run, "--to", export, home=nowhere)
    assert "that the training run has embedded" in said
    index = ["index", export, demo_dataset.root, "--to", tmp_path / "index", "--npz", tmp_path / "index.npz"]
    run_script("-m", "fashionclip", *index, home=nowhere)
    record = read_record(run / RECORD, decode_size=2 * load_encoder(export).backbone.preprocess.size)
    files = [file.relative_to(demo_dataset.root) for file in chosen_of(demo_dataset, count=8)[0]]
    with np.load(tmp_path / "index.npz") as found:
        place = {Path(name): row for row, name in enumerate(found["image_names"])}
        image = found["embeddings"][[place[file] for file in files]]
    assert lowest_cosine(image, record.embeddings["image"]) >= 0.9999
