import json

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from fashionclip.app.checkpoint import load_checkpoint
from fashionclip.app.retention import told_retention
from fashionclip.app.wise_ft import check_wise_ft, mixed
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


def test_a_dataset_that_is_none_is_refused():
    with pytest.raises(InputError, match="retention=5: expected the folder"):
        check_wise_ft(OmegaConf.create({"wise_ft": {"alphas": None}, "retention": 5}))


def test_it_is_said_what_was_known_and_what_could_not_be_measured():
    before, after = {"zero_shot": 0.5, MONITOR: float("nan")}, {"zero_shot": 0.25, MONITOR: float("nan")}
    assert told_retention("KNOWN", before, after) == "retention, val of KNOWN: zero_shot 0.500 -> 0.250"
    assert "has no categories" in told_retention("KNOWN", dict.fromkeys(before, float("nan")), after)


def test_adapters_have_no_weights_between():
    with pytest.raises(InputError, match=r"tuning\.lora_rank"):
        check_wise_ft(OmegaConf.create({"wise_ft": {"alphas": [0.5]}, "tuning": {"lora_rank": 4}}))


def test_the_share_that_is_best_on_val_is_kept_and_nothing_of_it_is_logged(run, tmp_path, demo_dataset, capsys):
    plain = tmp_path / "plain"
    training = ["trainer.max_epochs=2", "model.patch_dropout=0.5"]  # by chance, which measuring retention leaves alone
    run(*training, f"hydra.runtime.output_dir={plain}", f"hydra.run.dir={plain}")
    after = load_checkpoint(plain)["state_dict"]
    logged = len(pd.read_csv(plain / "csv" / "metrics.csv"))
    capsys.readouterr()

    chosen = run(*training, "wise_ft.alphas=[1,0,0.5]", f"retention={demo_dataset.root}")
    ends = (torch.load(one / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for one in (plain, tmp_path))
    assert all(torch.equal(*both) for both in zip(*(end.values() for end in ends), strict=True))
    curve = pd.read_csv(tmp_path / "wise_ft.csv")
    assert curve["alpha"].tolist() == [0, 0.5, 1]
    assert curve["retention"].tolist() == curve[MONITOR].tolist()  # of the same dataset here
    results = json.loads((tmp_path / "results.json").read_text())
    known = results["retention"]
    for stage, share in ("before", 0), ("after", curve["alpha"][curve["chosen"]].item()):
        (row,) = curve[curve["alpha"] == share].to_dict("records")
        assert known[stage] == {"zero_shot": row["zero_shot"], MONITOR: row["retention"]}
    assert 0 <= known["before"]["zero_shot"] <= 1 and known["root"] == str(demo_dataset.root)
    assert chosen == curve[MONITOR].max() == results["val"][MONITOR]
    assert curve[MONITOR].iloc[-1] == json.loads((plain / "results.json").read_text())["val"][MONITOR]
    assert curve["chosen"].tolist() == (curve.index == curve[MONITOR].idxmax()).tolist()
    printed = capsys.readouterr().out
    assert printed.count("before training   val/") == 1, "that of the dataset of training alone"
    assert printed.count("   chosen") == 1 and f"retention, val of {demo_dataset.root}: zero_shot" in printed
    assert len(pd.read_csv(tmp_path / "csv" / "metrics.csv")) == logged

    kept, share = load_checkpoint(tmp_path)["state_dict"], float(curve["alpha"][curve["chosen"]].iloc[0])
    name = "backbone.clip.visual.conv1.weight"
    assert torch.equal(kept[name], after[name]) == (share == 1)

    (tmp_path / "results.json").unlink()  # as of a run that was killed in its last test
    run(f"++resume={tmp_path}", f"hydra.runtime.output_dir={tmp_path}", of=tmp_path)
    assert pd.read_csv(tmp_path / "wise_ft.csv").equals(curve)  # not between before and what lay between already
