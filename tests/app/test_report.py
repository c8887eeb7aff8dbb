import json

import pytest

from fashionclip.app.report import print_table, write_results
from fashionclip.app.sweep import summarize


def test_the_table_names_each_direction_once_and_ends_with_what_has_none(capsys):
    after = {"test/text_to_image/recall@1": 0.5, "test/clip_score": 30.0, "test/image_to_text/median_rank": 1.0}
    print_table({"before": {"test/clip_score": 10.0}, "after": after})
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line and "metric" not in line]
    assert [line.split("│")[2].strip() for line in lines] == ["recall@1", "median_rank", "clip_score"]
    assert lines[0].split() == ["│", "text", "to", "image", "│", "recall@1", "│", "nan", "│", "0.500", "│"]
    assert lines[1].split()[-2] == "1" and lines[2].split()[-4:-1] == ["10.000", "│", "30.000"]


def test_results_are_written_whole(tmp_path):
    write_results(tmp_path / "results.json", {"after": {"a": 1.0}})
    write_results(tmp_path / "results.json", {"after": {"a": 2.0}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"after": {"a": 2.0}}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_image"])
def test_a_sweep_is_summed_up_best_first_with_failures(tmp_path, capsys, direction):
    for job, recall in enumerate([0.2, None, 0.6]):
        (tmp_path / str(job) / ".hydra").mkdir(parents=True)
        (tmp_path / str(job) / ".hydra" / "overrides.yaml").write_text(f"- model.lr={job}\n")
        if recall is not None:
            after = {f"test/{direction}/{name}": recall for name in ("recall@1", "recall@10", "mrr")}
            write_results(tmp_path / str(job) / "results.json", {"after": after})
    summarize(tmp_path)
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["job", "2", "0", "1"]
    assert lines[0].endswith(f"{direction}/recall@10,{direction}/recall@1,{direction}/mrr")
    assert "failed" in capsys.readouterr().out
