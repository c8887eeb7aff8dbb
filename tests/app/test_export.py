import json

import huggingface_hub
import open_clip
import pytest
import torch

from fashionclip.app.checkpoint import named
from fashionclip.app.cli import main
from fashionclip.models.load import load_backbone
from fashionclip.retrieval.encoder import load_encoder

ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PART = "test/text_to_image/colour/red"
MEASURED = {"test/text_to_image/queries": 100.0, f"{PART}/recall@1": 0.5, f"{PART}/queries": 9.0}


@pytest.fixture
def run(tmp_path, demo_dataset):
    """A run folder as a training leaves it, as far as an export looks."""
    (tmp_path / "small.json").write_text(json.dumps(ARCHITECTURE))
    open_clip.add_model_config(tmp_path / "small.json")
    torch.manual_seed(0)
    backbone = load_backbone(name="small", freeze=["visual"])
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    judged = {"judged.threshold": 0.25, "judged.scale": 20.0, "judged.bias": -6.0}
    weights = str(tmp_path / "secret" / "base.pt")
    config = {
        "model": {
            "label": "small",
            "backbone": {
                "_target_": "fashionclip.models.load.load_backbone",
                "name": "small",
                "pretrained": weights,
                "freeze": ["visual"],
            },
        },
        "dataset": {"name": "demo", "root": str(demo_dataset.root)},
        "loss": {
            "function": {"_target_": "fashionclip.losses.contrastive.ContrastiveLoss", "form": "softmax"},
            "relation": {"_target_": "fashionclip.data.relations.PairRelation"},
        },
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-5, "weight_decay": 0.1},
        "trainer": {"max_epochs": 3, "devices": 1, "precision": "32-true"},
        "augmentation": {"crop_scale": None, "flip": 0.5},
        "data": {"batch_size": 16},
        "seed": 0,
    }
    checkpoint = {
        "config": named(config),
        "backbone": backbone.files(),
        "state_dict": state | {name: torch.tensor(value) for name, value in judged.items()},
        "epoch": 1,
        "global_step": 12,
    }
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "base.pt").touch()
    for name in ("best", "last"):
        torch.save(checkpoint, folder / "checkpoints" / f"{name}.ckpt")
    stages = {
        "before": {**MEASURED, "test/text_to_image/recall@1": 0.25, "test/text_to_image/mrr": float("nan")},
        "after": {**MEASURED, "test/text_to_image/recall@1": 0.5, "test/text_to_image/mrr": 0.6},
    }
    stages["intervals"] = {"after": {"test/text_to_image/recall@1": [0.366, 0.634]}}
    (folder / "results.json").write_text(json.dumps(stages))
    return folder


def export(*arguments):
    main(["export", *map(str, arguments)])


def refused(*arguments):
    with pytest.raises(SystemExit) as end:
        export(*arguments)
    return str(end.value.code)


def test_a_run_is_exported_with_what_is_known_of_it(run, tmp_path, demo_dataset, capsys):
    folder = tmp_path / "export"
    export(run, "--to", folder)
    output = capsys.readouterr().out
    assert "of the test split of demo:" in output and f"export: {folder}" in output and "open_clip: lowest" in output
    facts = load_encoder(folder).facts
    assert facts["judge"] == {"threshold": 0.25, "scale": 20.0, "bias": -6.0}
    assert facts["base"] == {"name": "small", "pretrained": "base.pt", "image_weights": None}
    assert facts["data"]["counts"] == demo_dataset.info["counts"]
    recall = facts["metrics"]["text_to_image/recall@1"]
    assert recall["before"] == 0.25 and recall["queries"] == 100
    assert recall["interval"] == [0.366, 0.634]
    assert facts["metrics"]["text_to_image/mrr"] == {"before": None, "after": 0.6, "queries": 100}
    assert list(facts["metrics"]) == ["text_to_image/recall@1", "text_to_image/mrr"]
    assert (facts["tuning"]["epoch"], facts["tuning"]["frozen"]) == (2, ["visual"])
    assert facts["tuning"]["loss"] == "ContrastiveLoss(form=softmax)"
    for file in ("README.md", "fashionclip.json", "open_clip_config.json"):
        assert str(tmp_path) not in (folder / file).read_text(), "an export may be published"


def test_a_model_card_says_that_val_has_chosen_what_is_measured_on_it(run, tmp_path):
    export(run, "--to", tmp_path / "test")
    assert "On the test split, before and after training" in (tmp_path / "test" / "README.md").read_text()
    results = (run / "results.json").read_text()
    (run / "results.json").write_text(results.replace("test/", "val/"))
    export(run, "--to", tmp_path / "val")
    card = (tmp_path / "val" / "README.md").read_text()
    assert "On the val split, on which the checkpoint was chosen as well, as there is no test split, before" in card
    assert "| text_to_image/recall@1 | 0.250 | 0.500 |" in card


def test_results_are_told_of_the_checkpoint_they_were_measured_on(run, tmp_path):
    for name, known in (("best", True), ("last", False)):
        export(run / "checkpoints" / f"{name}.ckpt", "--to", tmp_path / name)
        assert bool(json.loads((tmp_path / name / "fashionclip.json").read_text())["metrics"]) is known


def test_a_dataset_that_has_moved(run, tmp_path, demo_dataset, capsys):
    for name in ("best", "last"):
        file = run / "checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(file, weights_only=True)
        checkpoint["config"]["dataset"]["root"] = "no/such/folder"
        torch.save(checkpoint, file)
    export(run, "--to", tmp_path / "drawn")
    output = capsys.readouterr().out
    assert "no/such/folder: no prepared dataset there" in output and "drawn garments. --data names a dataset" in output
    export(run, "--to", tmp_path / "found", "--data", demo_dataset.root)
    assert "of the test split of demo:" in capsys.readouterr().out
    assert "no prepared dataset there" in refused(run, "--to", tmp_path / "none", "--data", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_is_no_run_is_refused(run, tmp_path):
    target = tmp_path / "export"
    assert "Expected a run folder or a .ckpt file" in refused(tmp_path / "none", "--to", target)
    assert "best.ckpt. Expected a run folder" in refused(tmp_path, "--to", target)
    (run / "checkpoints" / "best.ckpt").write_bytes(b"broken")
    assert "is torn, or no checkpoint" in refused(run, "--to", target)
    assert not target.exists()


def test_nothing_but_an_export_is_replaced(run):
    assert "is a file" in refused(run, "--to", run / "results.json")
    assert "is no export" in refused(run, "--to", run)
    assert (run / "results.json").is_file() and (run / "checkpoints" / "best.ckpt").is_file()


class FakeHub:
    uploads: list = []  # noqa: RUF012

    def create_repo(self, name, *, private, exist_ok):
        assert private and exist_ok
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{name}")

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.uploads.append((repo_id, sorted(file.name for file in folder_path.iterdir())))


def test_upload(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    export(run, "--to", tmp_path / "export", "--hub", "shop/model")
    files = ["README.md", "fashionclip.json", "open_clip_config.json", "open_clip_model.safetensors"]
    assert FakeHub.uploads == [("shop/model", files)]
    assert "uploaded: https://huggingface.co/shop/model" in capsys.readouterr().out


def test_a_hub_that_refuses_leaves_the_export(run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("401 Unauthorized\nRequest ID")

    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    monkeypatch.setattr(FakeHub, "create_repo", refuse)
    message = refused(run, "--to", tmp_path / "export", "--hub", "shop/model")
    assert "401 Unauthorized" in message and "hf upload shop/model" in message
    assert (tmp_path / "export" / "README.md").is_file()
