import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from fashionclip.app.cli import main
from fashionclip.app.comparison import compare
from fashionclip.app.metrics import MEASURED, metrics_of, tasks_of
from fashionclip.app.user_errors import one_message
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.errors import InputError
from fashionclip.manifest import MANIFEST_COLUMNS, ROLES, PreparedDataset
from fashionclip.metrics.ranking import reciprocal_rank
from fashionclip.models.load import load_backbone

REPO = Path(__file__).parents[2]


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys, quick_results):
    """Runs evaluate.py in this process; returns its metrics and what it said."""
    monkeypatch.chdir(REPO)

    def evaluate(*arguments, to=None):
        folder = tmp_path / (to or f"evaluated-{len(list(tmp_path.iterdir()))}")
        given = ["data.num_workers=0", "trainer.enable_progress_bar=false", "report=false", f"hydra.run.dir={folder}"]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments), *given])
        runpy.run_path("evaluate.py", run_name="__main__")
        return json.loads((folder / "results.json").read_text())["metrics"], capsys.readouterr().out

    return evaluate


@pytest.fixture
def run(leave_run, demo_dataset, tmp_path):
    torch.manual_seed(0)
    leave_run(tmp_path / "run", load_backbone(name="fashionclip-tiny"), demo_dataset, name="fashionclip-tiny")
    return tmp_path / "run"


def change_fingerprint(run):
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["config"]["dataset_fingerprint"] = "of another seed"
    torch.save(checkpoint, file)


def test_a_checkpoint_and_a_model_are_refused(evaluate, run):
    with pytest.raises(SystemExit, match="a checkpoint brings its own model"):
        evaluate(f"ckpt={run}", "model=tiny")


def test_an_evaluation_of_nothing_is_refused(evaluate, run):
    with pytest.raises(SystemExit, match=r"trainer\.limit_test_batches=0: nothing is left to measure"):
        evaluate(f"ckpt={run}", "+trainer.limit_test_batches=0")


def test_a_dataset_that_was_replaced_is_refused_unless_named(evaluate, run, demo_dataset):
    wanted, said = evaluate(f"ckpt={run}")
    assert "another dataset" not in said
    change_fingerprint(run)
    with pytest.raises(SystemExit, match="another dataset than this run was trained on"):
        evaluate(f"ckpt={run}")
    found, said = evaluate(f"ckpt={run}", "dataset=kaggle-products", f"dataset.root={demo_dataset.root}")
    assert found == pytest.approx(wanted) and f"another dataset than {run} was trained on" in said


def test_a_model_without_weights_is_drawn_by_the_seed(evaluate, demo_dataset):
    model = ["model=tiny", "dataset=kaggle-products", f"dataset.root={demo_dataset.root}"]
    one, again, other = (evaluate(*model, f"seed={seed}")[0] for seed in (0, 0, 1))
    assert one == again != other


def test_a_checkpoint_of_judgements_without_a_threshold_is_refused(evaluate, run):
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["config"]["loss"]["relation"] = {"name": "judgements", "per_label": 2, "drawn": 4}
    torch.save(checkpoint, file)
    with pytest.raises(SystemExit, match="its loss is of judgements, and it holds no threshold"):
        evaluate(f"ckpt={run}")


def test_all_tasks_are_measured_beside_the_directions(evaluate, run):
    found, said = evaluate(f"ckpt={run}", "evaluation=all", "split=train")
    tasks = {name.split("/")[1] for name in found}
    assert {"category_to_product", "zero_shot_category", "drawn_triplet", "photo_to_similar", "everyday"} <= tasks
    assert {"kagl_text_to_image", "kagl_season_to_product", "text_to_image", "image_to_image"} <= tasks
    assert ": left out (" not in said and "by_chance" in said and "trained on it" in said


def test_what_the_dataset_lacks_is_left_out_and_said(evaluate, run):
    found, said = evaluate(f"ckpt={run}", "evaluation=[zero-shot,marqo-imaterialist]")
    assert "test/zero_shot_category/accuracy" in found and "test/imaterialist_category_to_image/mrr@10" in found
    assert "imaterialist_neckline_to_image: left out (the dataset has no column neckline)" in said


@pytest.mark.parametrize("name", [file.stem for file in sorted((REPO / "configs" / "evaluation").glob("*.yaml"))])
def test_every_shipped_evaluation_is_built(name):
    with initialize_config_dir(str(REPO / "configs"), version_base="1.3"):
        cfg = compose("evaluate", [f"evaluation={name}"])
    assert len(tasks_of(cfg.evaluation)) >= 1


def test_two_runs_are_compared_by_their_queries(evaluate, run, tmp_path, leave_run, demo_dataset, monkeypatch, capsys):
    torch.manual_seed(1)
    leave_run(tmp_path / "other", load_backbone(name="fashionclip-tiny"), demo_dataset, name="fashionclip-tiny")
    first, _ = evaluate(f"ckpt={run}", "split=train", to="first")
    second, _ = evaluate(f"ckpt={tmp_path / 'other'}", "split=train", to="second")
    evaluate(f"ckpt={run}", to="of_test")

    def compare(*runs):
        words = [f"compare=[{','.join(map(str, runs))}]", f"hydra.run.dir={tmp_path / 'compared'}"]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
        runpy.run_path("evaluate.py", run_name="__main__")
        return pd.read_csv(tmp_path / "compared" / "comparison.csv"), capsys.readouterr().out

    (tmp_path / "other_task").mkdir()
    (tmp_path / "other_task" / "results.json").write_text((tmp_path / "first" / "results.json").read_text())
    asked = pd.read_parquet(tmp_path / "first" / "queries.parquet")
    asked.assign(direction="other " + asked["direction"]).to_parquet(tmp_path / "other_task" / "queries.parquet")
    table, said = compare(tmp_path / "first", tmp_path / "second")
    whole = table[table["slice"].isna()].set_index(["direction", "metric"])
    for column, figures in ("first", first), ("second", second):
        assert whole[column]["text_to_image", "mrr"] == pytest.approx(figures["train/text_to_image/mrr"])
        assert whole[column]["photos", "clip_score"] == pytest.approx(figures["train/clip_score"], rel=1e-5)
    assert "text to image (" in said and "are told from chance by their first metric" in said
    assert max(map(len, said.splitlines()[2:-1])) <= 80
    for runs, message in (
        (["first"], "expected two folders"),
        (["other_task", "first"], "have no metric of the same queries"),
        (["first", "run"], "has no queries.parquet and results.json"),
        (["first", "of_test"], "has measured_on train, .* has test, so their queries are not the same"),
    ):
        with pytest.raises(SystemExit, match=message):
            compare(*(tmp_path / one for one in runs))


def test_two_tasks_of_one_name_are_refused():
    with initialize_config_dir(str(REPO / "configs"), version_base="1.3"):
        cfg = compose("evaluate", ["evaluation=everyday"])
    with open_dict(cfg):
        cfg.evaluation.mine = cfg.evaluation.everyday
    with pytest.raises(InputError, match=r"evaluation\.mine\.tasks\.everyday: another set has a task of this name"):
        tasks_of(cfg.evaluation)


def test_an_export_is_measured_as_its_run_and_dashboards_get_what_tasks_found(evaluate, run, demo_dataset, tmp_path):
    wanted, _ = evaluate(f"ckpt={run}", "evaluation=zero-shot")
    main(["export", str(run), "--to", str(tmp_path / "export")])
    given = [f"ckpt={tmp_path / 'export'}", "dataset=kaggle-products", f"dataset.root={demo_dataset.root}"]
    found, _ = evaluate(*given, "evaluation=zero-shot", "logger=default", to="logged")
    assert found == pytest.approx(wanted, abs=1e-5)
    logged = pd.read_csv(tmp_path / "logged" / "csv" / "metrics.csv")
    assert logged["test/zero_shot_category/accuracy"].dropna().item() == found["test/zero_shot_category/accuracy"]
    assert logged["test/text_to_image/recall@1"].dropna().item() == found["test/text_to_image/recall@1"]
    with pytest.raises(SystemExit, match="dataset: not given"):
        evaluate(given[0])


@pytest.mark.parametrize("runs", [5, [5], "run", {"a": "first", "b": "second"}, [5, 6], [None, "run"]])
def test_what_is_no_pair_of_runs_is_refused(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"expected two folders of runs|has no queries\.parquet"):
        compare(runs, tmp_path)


def test_a_set_that_is_none_is_a_line_with_its_key():
    column = "{_target_: fashionclip.evaluation.column_search.ColumnSearch, query: category}"
    for given, message in (
        ("5", r"evaluation\.mine: expected a set named as its file"),
        ("{metrics: {}}", r"evaluation\.mine: expected a set named as its file"),
        ("{tasks: }", r"evaluation\.mine: expected a set named as its file"),
        ("{tasks: [category]}", r"evaluation\.mine: expected a set named as its file"),
        ("{tasks: {a: {query: category}}}", r"evaluation\.mine\.tasks\.a: has no _target_"),
        ("{tasks: {a: category}}", r"evaluation\.mine\.tasks\.a: has no _target_"),
        ("{tasks: {a/b: " + column + "}}", r"evaluation\.mine\.tasks\.a/b: expected a name without"),
        ("{tasks: {a: {_target_: builtins.dict}}}", r"evaluation\.mine\.tasks\.a: builtins\.dict makes no task"),
    ):
        cfg = OmegaConf.create(f"evaluation: {{mine: {given}}}")
        with pytest.raises(SystemExit, match=f"^error: {message}"), one_message():
            tasks_of(cfg.evaluation)


def test_a_mistaken_task_is_one_line_before_the_pass(evaluate, demo_dataset):
    given = ["model=tiny", "dataset=kaggle-products", f"dataset.root={demo_dataset.root}"]
    for override, message in (
        ("a._target_=fashionclip.nope.Nope", r"a\._target_=fashionclip\.nope\.Nope: cannot be imported"),
    ):
        with pytest.raises(SystemExit, match=rf"^error: evaluation\.mine\.tasks\.{message}"):
            evaluate(*given, f"+evaluation.mine.tasks.{override}")


def test_a_task_cannot_have_the_name_of_what_is_measured_anyway(tmp_path, monkeypatch):
    manifest = pd.DataFrame("", index=range(8), columns=list(MANIFEST_COLUMNS))
    manifest[["item_id", "path"]] = [[f"{row // 2}", f"{row}.png"] for row in range(8)]
    manifest["domain"], manifest["text"] = ["query", "catalog"] * 4, manifest["item_id"]
    dataset = PreparedDataset(root=tmp_path, manifest=manifest, info={})
    triplet = pd.DataFrame([dict.fromkeys(ROLES, 4) | {"semipos_distance": 0.5, "overlay": "text", "edit": "edited"}])
    monkeypatch.setattr("fashionclip.app.metrics.read_triplets", lambda dataset: triplet)
    rows = ManifestTensors(dataset)
    relation = SimpleNamespace(alike=lambda rows: [rows.item_id], uses_text=True)
    seen = torch.arange(4)
    data = SimpleNamespace(dataset=dataset, rows=rows, relation=relation, seen=seen, val_queries=None, seed=0)
    metrics = metrics_of(data, functions={"mrr": reciprocal_rank})
    metrics.update(torch.eye(8), torch.arange(8), torch.eye(8)[::2], torch.arange(4))
    first = {name.partition("/")[0] for name in metrics.compute() if "/" in name}
    assert first | {"judgement"} == MEASURED

    task = {"_target_": "fashionclip.evaluation.zero_shot.ZeroShot", "label": "category"}
    for name in MEASURED:
        cfg = OmegaConf.create({"mine": {"tasks": {name: task}}})
        with pytest.raises(InputError, match=rf"^evaluation\.mine\.tasks\.{name}: figures of this name are measured"):
            tasks_of(cfg)
