import json
from pathlib import Path
from shutil import copytree

import pandas as pd

from fashionclip.app.sweep import summarize

CASES = Path(__file__).parents[1] / "assets" / "cases"


def write_job(folder, overrides, results=None):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))


def results(monitor, val, test):
    return {"monitor": f"val/{monitor}", "val": {f"val/{monitor}": val}, "after": {f"test/{monitor}": test}}


def test_jobs_are_sorted_by_what_they_monitor_on_val_and_failures_come_last(tmp_path, capsys):
    write_job(tmp_path / "0", ["model.lr=0", "seed=1"], results("query_to_sku/recall@1", 0.2, 0.9))
    write_job(tmp_path / "1", ["model.lr=1", "seed=1"])
    (tmp_path / "1" / "error.txt").write_text("loss.margin=-2: expected a number >= -1.\nand more")
    known = {"retention": {"root": "ROOT", "before": {"zero_shot": 0.8}, "after": {"zero_shot": 0.7}}}
    write_job(tmp_path / "2", ["model.lr=2", "seed=1"], results("query_to_sku/recall@1", 0.6, 0.1) | known)
    write_job(tmp_path / "10", ["model.lr=3", "seed=1"])
    assert summarize(tmp_path) == ["1", "10"]
    table = pd.read_csv(tmp_path / "multirun.csv").set_index("job")
    assert table.index.tolist() == [2, 0, 1, 10], "the test split would order them the other way round"
    assert table.columns.tolist() == [
        *("model.lr", "seed", "monitor", "val", "test", "error"),
        *("val/query_to_sku/recall@1", "test/query_to_sku/recall@1", "retention/zero_shot"),
    ]
    assert table["retention/zero_shot"][2] == 0.7
    assert table["model.lr"].tolist() == [2, 0, 1, 3] and table["test/query_to_sku/recall@1"][2] == 0.1
    assert table["error"][1] == "loss.margin=-2: expected a number >= -1." and "killed" in table["error"][10]
    printed = capsys.readouterr().out
    assert "seed" not in printed, "which does not vary"
    assert "failed" in printed and "val/query_to_sku/recall@1" in printed and "0.600" in printed
    assert "job 1 failed: loss.margin=-2" in printed and "and more" not in printed


def test_of_a_loss_the_lowest_is_best(tmp_path):
    for job, val in enumerate([0.7, 0.2, 0.5]):
        write_job(tmp_path / str(job), [f"seed={job}"], results("loss", val, val))
    summarize(tmp_path)
    assert pd.read_csv(tmp_path / "multirun.csv")["job"].tolist() == [1, 2, 0]


def test_each_job_has_its_own_monitor(tmp_path, capsys):
    for job, (monitor, val) in enumerate([("judgement/auroc", 0.7), ("x/mrr", 0.6), ("judgement/auroc", 0.8)]):
        write_job(tmp_path / str(job), [f"loss={job}", "~logger.csv"], results(monitor, val, 0.5))
    summarize(tmp_path)
    assert pd.read_csv(tmp_path / "multirun.csv")["job"].tolist() == [2, 0, 1], "within each metric"
    assert "val/x/mrr" in capsys.readouterr().out


def test_values_with_brackets_are_shown_as_they_are(tmp_path, capsys):
    folder = copytree(CASES / "sweep_brackets", tmp_path / "sweep")
    write_job(folder / "2", ["model.backbone.freeze=[/old] :bell:"])
    summarize(folder)
    printed = capsys.readouterr().out
    assert "[visual]" in printed and "[visual.trunk]" in printed and "[/old] :bell:" in printed


def test_the_table_fits_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    keys = ("model.backbone.pretrained", "loss.parts.contrastive.temperature", "callbacks.early_stopping.patience")
    for job in range(2):
        overrides = [f"{key}={'a long value ' * job}{job}" for key in keys]
        write_job(tmp_path / str(job), [*overrides, "trainer.max_epochs=3"], results("text_to_image/recall@10", job, 0))
    summarize(tmp_path)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80 and "max_epochs" not in printed
