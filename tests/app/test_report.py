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


def test_seen_skus_follow_unseen_ones_and_parts_of_a_direction_are_a_line_each(capsys):
    after = {"test/clip_score": 1.0}
    for direction, queries in (
        ("query_to_sku", 40),
        ("query_to_sku/category/dress", 10),
        ("query_to_sku/category/long sleeve outwear", 30),
        ("query_to_sku/occlusion/2", 40),
        ("text_to_sku", 5),
        ("triplet/order_accuracy", 0),
        ("query_to_sku_seen", 50),
    ):
        after |= {f"test/{direction}/recall@1": 0.5, f"test/{direction}/mrr": 0.6}
        after |= {f"test/{direction}/queries": queries} if queries else {}
    print_table({"before": after, "after": after})
    rows = [line.split("│")[1:4] for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [(block.strip(), line.strip()) for block, line, _ in rows] == [
        ("query to sku", "recall@1"),
        ("", "mrr"),
        ("", "queries"),
        ("query to sku seen", "recall@1"),
        ("", "mrr"),
        ("", "queries"),
        ("text to sku", "recall@1"),
        ("", "mrr"),
        ("", "queries"),
        ("triplet/order accuracy", "recall@1"),
        ("", "mrr"),
        ("query to sku/category", "recall@1, dress (10 queries)"),
        ("", "recall@1, long sleeve outwear (30 queries)"),
        ("query to sku/occlusion", "recall@1, 2 (40 queries)"),
        ("", "clip_score"),
    ]
    assert rows[3][2].strip() == "0.500 (0.37 to 0.63)" and rows[11][2].strip() == "0.500 (0.24 to 0.76)"


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
