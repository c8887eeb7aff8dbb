import io
import json
import shutil

import pandas as pd
import pytest
import torch

from fashionclip.app.again import expand_resume
from fashionclip.app.resume import check_architecture
from fashionclip.errors import InputError

MONITOR = "val/text_to_image/mrr"  # of conftest's `run`


def test_a_run_goes_on_with_more_epochs_in_its_own_folder_wherever_it_lies_and_with_nothing_else_changed(
    run, tmp_path, capsys
):
    run()
    first, config = pd.read_csv(tmp_path / "csv" / "metrics.csv"), (tmp_path / "config.yaml").read_text()
    folder = tmp_path / "moved"
    folder.mkdir()
    for name in ("checkpoints", "csv", "config.yaml", "made_with.json", "results.json"):
        shutil.move(tmp_path / name, folder / name)
    last = folder / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()

    def resumed(*overrides):
        return run(f"++resume={folder}", f"hydra.runtime.output_dir={folder}", *overrides, of=folder)

    def changed(**values):
        torch.save(torch.load(io.BytesIO(whole), weights_only=True) | values, last)

    lr = r"model\.lr is 1, was [\d.e-]+, optimizer\.lr is 1, was [\d.e-]+. .* --again"
    longer, other = "trainer.max_epochs=2", {"dataset_fingerprint": "x"}
    for damage, overrides, message in (
        (None, [], rf"resume={folder}: is finished; .*results\.json.*trainer\.max_epochs \(was 1\)"),
        (None, ["model.lr=1"], lr),
        (None, ["trainer.devices=2", longer], r"trainer\.devices is 2, was 1\. "),
        (None, ["+trainer.overfit_batches=1", longer], r"trainer\.overfit_batches"),
        (lambda: changed(config=other), [longer], "config lacks"),
        (lambda: changed(callbacks={}), [longer], r"last\.ckpt is of an older version.*--again"),
        (lambda: last.write_bytes(whole[:5000]), [longer], r"^resume=.*last\.ckpt: is torn.*--again"),
        (last.unlink, [longer], r"resume=.*: no .*last\.ckpt, so there is nothing to go on from.*--again"),
    ):
        if damage is not None:
            damage()
        with pytest.raises(InputError, match=message):
            resumed(*overrides)
    last.write_bytes(whole)
    capsys.readouterr()

    with (folder / "csv" / "metrics.csv").open("a") as stream:
        stream.write("torn")
    returned = resumed(longer, "data.num_workers=1")
    said, steps = capsys.readouterr().out, int(first["step"].max())
    assert f"{folder}: goes on after step {steps}, in epoch 2\n  trainer.max_epochs is 2, was 1: a schedule" in said
    assert "epoch 2/2   loss" in said and "epoch 1/2" not in said
    rows = pd.read_csv(folder / "csv" / "metrics.csv")
    assert len(rows[rows["step"] < steps]) == len(first[first["step"] < steps])
    assert rows["train/loss"].count() == 2 * steps and rows.dropna(subset="train/loss")["step"].is_unique
    assert (folder / "config.yaml").read_text() == config.replace("max_epochs: 1", "max_epochs: 2")
    results = json.loads((folder / "results.json").read_text())
    assert results["val"][MONITOR] == returned == pytest.approx(rows[MONITOR].dropna()[1:].max())


def test_resume_is_the_run_s_config_and_folder(tmp_path, monkeypatch):
    run = tmp_path / "it's a run"
    run.mkdir()
    with pytest.raises(SystemExit, match=r"resume=.*no config\.yaml there"):
        expand_resume([f"resume={run}"])
    (run / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    words = expand_resume(["resume=it's a run", "trainer.max_epochs=3"])
    assert words[:4] == ["--config-path", str(run), "--config-name", "config"] and words[-1] == "trainer.max_epochs=3"
    quoted = str(run).replace("'", "\\'")
    assert {f"hydra.run.dir='{quoted}'", f"++resume='{quoted}'"} < set(words)
    assert expand_resume(["resume=null"]) == ["resume=null"]


def test_a_run_whose_model_was_another_one_of_the_same_name_does_not_go_on():
    then = {"embed_dim": 512, "vision_cfg": {"timm_proj": "mlp"}, "text_cfg": {"width": 64}}
    check_architecture("runs/one", {"architecture": then}, then | {"init_logit_bias": -10})
    with pytest.raises(InputError, match=r"resume=runs/one: .* another vision_cfg\. Go on with that version, or train"):
        check_architecture("runs/one", {"architecture": then}, then | {"vision_cfg": {"timm_proj": "linear"}})
