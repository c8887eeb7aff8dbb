import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fashionclip.app.checkpoint import load_checkpoint
from fashionclip.app.wise_ft import check_wise_ft, choose_weights, mixed
from fashionclip.errors import InputError

MONITOR = "val/text_to_image/mrr"  # of conftest's `run`


def test_each_weight_lies_at_the_share_and_what_is_no_such_number_is_of_after():
    before = {"w": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
    after = {"w": torch.tensor([2.0, 0.0]), "count": torch.tensor(9), "added": torch.tensor([5.0])}
    found = mixed(before, after, alpha=0.25)
    assert found["w"].tolist() == [0.5, 3.0] and int(found["count"]) == 9 and found["added"].tolist() == [5.0]
    for alpha, end in ((0.0, before), (1.0, after)):
        assert torch.equal(mixed(before, after, alpha=alpha)["w"], end["w"])
    half = mixed({"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0], dtype=torch.bfloat16)}, alpha=0.5)["w"]
    assert half.dtype == torch.bfloat16 and half.tolist() == [0.5]


@pytest.mark.parametrize("alphas", ["[]", "0.5", "[0, 1.5]", "[-0.1]", "[true]", "['0']", "[null]", "{a: 1}", "[.nan]"])
def test_shares_that_are_none_are_refused(alphas):
    with pytest.raises(InputError, match=r"wise_ft\.alphas=.*: expected numbers from 0"):
        check_wise_ft(OmegaConf.create(f"wise_ft: {{alphas: {alphas}}}"))


def test_what_it_knew_is_measured_with_shares_and_by_what_can_be_measured():
    for known, alphas, monitor, message in (
        ("somewhere", None, MONITOR, "needs wise_ft.alphas"),
        (5, [0.5], MONITOR, "retention=5: expected the folder"),
        ("somewhere", [0.5], "val/judgement/auroc", "no judgements are measured, but loss.monitor=val/judgement/auroc"),
    ):
        cfg = {"wise_ft": {"alphas": alphas, "retention": known}, "loss": {"monitor": monitor}}
        with pytest.raises(InputError, match=message):
            check_wise_ft(OmegaConf.create(cfg))


def test_it_is_said_that_what_was_known_lacks_the_metric(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fashionclip.app.wise_ft.metrics_of", lambda data, functions: "known")
    module, data, known = nn.Linear(1, 1), object(), SimpleNamespace(rows=SimpleNamespace(root="KNOWN"))
    module.metrics, module.judged = SimpleNamespace(functions={}), None
    torch.save({"state_dict": module.state_dict()}, tmp_path / "best.ckpt")
    trainer = SimpleNamespace(
        loggers=[],
        is_global_zero=True,
        strategy=SimpleNamespace(barrier=lambda: None),
        validate=lambda module, of, verbose: [{MONITOR: 0.5} if of is data else {}],
    )
    settings = {"before": {}, "checkpoint": tmp_path / "best.ckpt", "alphas": [1, 0], "monitor": MONITOR}
    curve, _ = choose_weights(trainer, module, data, **settings, retention=known)
    assert curve["retention"].isna().all()
    assert capsys.readouterr().out.count(f"{MONITOR} is not measured on val of KNOWN") == 1


def test_adapters_have_no_weights_between():
    with pytest.raises(InputError, match=r"tuning\.lora_rank"):
        check_wise_ft(OmegaConf.create({"wise_ft": {"alphas": [0.5]}, "tuning": {"lora_rank": 4}}))


def test_the_share_that_is_best_on_val_is_kept_and_nothing_of_it_is_logged(run, tmp_path, demo_dataset, capsys):
    plain = tmp_path / "plain"
    run("trainer.max_epochs=2", f"hydra.runtime.output_dir={plain}", f"hydra.run.dir={plain}")
    after = load_checkpoint(plain)["state_dict"]
    logged = len(pd.read_csv(plain / "csv" / "metrics.csv"))
    capsys.readouterr()

    chosen = run("trainer.max_epochs=2", "wise_ft.alphas=[1,0,0.5]", f"wise_ft.retention={demo_dataset.root}")
    curve = pd.read_csv(tmp_path / "wise_ft.csv")
    assert curve["alpha"].tolist() == [0, 0.5, 1]
    assert curve["retention"].tolist() == curve[MONITOR].tolist()  # of the same dataset here
    results = json.loads((tmp_path / "results.json").read_text())
    assert chosen == curve[MONITOR].max() == results["val"][MONITOR]
    assert curve[MONITOR].iloc[-1] == json.loads((plain / "results.json").read_text())["val"][MONITOR]
    assert curve["chosen"].tolist() == (curve.index == curve[MONITOR].idxmax()).tolist()
    assert capsys.readouterr().out.count("   chosen") == 1
    assert len(pd.read_csv(tmp_path / "csv" / "metrics.csv")) == logged

    kept, share = load_checkpoint(tmp_path)["state_dict"], float(curve["alpha"][curve["chosen"]].iloc[0])
    name = "backbone.clip.visual.conv1.weight"
    assert torch.equal(kept[name], after[name]) == (share == 1)

    (tmp_path / "results.json").unlink()  # as of a run that was killed in its last test
    run(f"++resume={tmp_path}", f"hydra.runtime.output_dir={tmp_path}", of=tmp_path)
    assert pd.read_csv(tmp_path / "wise_ft.csv").equals(curve)  # not between before and what lay between already
