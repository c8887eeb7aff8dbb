import json

import pandas as pd
from matplotlib.figure import Figure

from fashionclip.app.report import MEANINGS, draw_history, print_table, write_results


def lines_of(printed):
    """First cell and second of each line of the table, below its heading."""
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    return [(first.rstrip().removeprefix(" "), second.strip()) for first, second, *_ in rows]


def test_the_table_names_each_direction_once_and_ends_with_what_has_none(capsys):
    after = {"test/text_to_image/recall@1": 0.5, "test/clip_score": 30.0, "test/image_to_text/median_rank": 1.0}
    print_table({"before": {"test/clip_score": 10.0}, "after": after})
    printed = capsys.readouterr().out
    assert lines_of(printed) == [
        ("text to image", ""),
        ("  recall@1", "nan"),
        ("image to text", ""),
        ("  median_rank", "nan"),
        ("clip_score", "10.000"),
    ]
    assert "median_rank: of the first right answer" in printed and "mrr:" not in printed, "of what is shown"


def test_the_monitored_metric_comes_first_and_is_marked(capsys):
    directions = ("text_to_image", "query_to_sku", "image_to_image")
    after = {f"test/{way}/{name}": 0.5 for way in directions for name in ("recall@1", "mrr")}
    print_table({"after": after}, monitor="val/query_to_sku/mrr")
    printed = capsys.readouterr().out
    assert [first for first, _ in lines_of(printed)][:4] == ["query to sku", "  mrr *", "  recall@1", "text to image"]
    assert "* the best checkpoint was chosen by it, on val" in printed


def test_the_table_fits_80_columns_and_shows_names_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    part = "query_to_sku/category/coat [new] :bell:"
    after = {f"test/{part}/recall@1": 0.5, f"test/{part}/queries": 1234.0}
    after |= dict.fromkeys(("test/triplet/order_accuracy/text/0.25-0.5", "test/judgement/auroc/less detail"), 0.5)
    after |= {f"test/x/{metric}": 0.5 for metric in MEANINGS}
    print_table({"before": after, "after": after})
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "  coat [new] :bell: (1234 queries) " in printed
    assert all(f"{metric}: {meaning}\n" in printed for metric, meaning in MEANINGS.items()), "a line each"


def test_seen_skus_follow_unseen_ones_and_parts_of_a_direction_are_a_line_each(capsys):
    after = {"test/clip_score": 1.0}
    for direction, queries in (
        ("query_to_sku", 40),
        ("query_to_sku/category/dress", 10),
        ("query_to_sku/category/outwear", 30),
        ("query_to_sku/occlusion/2", 40),
        ("text_to_sku", 5),
        ("triplet/order_accuracy", 0),
        ("query_to_sku_seen", 50),
    ):
        after |= {f"test/{direction}/recall@1": 0.5, f"test/{direction}/mrr": 0.6}
        after |= {f"test/{direction}/queries": queries} if queries else {}
    print_table({"before": after, "after": after})
    rows = lines_of(capsys.readouterr().out)
    assert [first for first, _ in rows] == [
        "query to sku",
        "  recall@1",
        "  mrr",
        "  queries",
        "query to sku seen",
        "  recall@1",
        "  mrr",
        "  queries",
        "text to sku",
        "  recall@1",
        "  mrr",
        "  queries",
        "triplet/order accuracy",
        "  recall@1",
        "  mrr",
        "query to sku/category: recall@1",
        "  dress (10 queries)",
        "  outwear (30 queries)",
        "query to sku/occlusion: recall@1",
        "  2 (40 queries)",
        "clip_score",
    ]
    assert rows[5][1] == "0.500 (.37-.63)" and rows[16][1] == "0.500 (.24-.76)"


def test_intervals_are_as_wide_as_those_of_the_effective_queries_which_have_no_line(capsys):
    after = {"test/image_to_text/recall@1": 0.5, "test/image_to_text/recall@5": 0.5, "test/image_to_text/queries": 400}
    print_table({"after": after | {"test/image_to_text/effective_queries@1": 40.0}})
    rows = lines_of(capsys.readouterr().out)
    assert [first for first, _ in rows] == ["image to text", "  recall@1", "  recall@5", "  queries"]
    assert [last for _, last in rows[1:3]] == ["0.500 (.35-.65)", "0.500 (.45-.55)"]


def test_results_are_written_whole(tmp_path):
    write_results(tmp_path / "results.json", {"after": {"a": 1.0}})
    write_results(tmp_path / "results.json", {"after": {"a": 2.0}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"after": {"a": 2.0}}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_the_legend_of_the_history_lies_beside_the_curves(tmp_path, monkeypatch):
    columns = [f"val/x/recall@{k}" for k in (10, 20, 5)]
    table = {"step": [0, 1], "train/loss": [2.0, 1.0], **{column: [0.0, 1.0] for column in columns}}
    pd.DataFrame(table).to_csv(tmp_path / "metrics.csv", index=False)
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    draw_history(tmp_path / "metrics.csv", tmp_path / "history.png", monitor="val/x/recall@10")
    drawn[0].draw_without_rendering()
    axes = drawn[0].axes[1]
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["recall@5", "recall@10", "recall@20"]
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert legend.get_window_extent().x1 <= drawn[0].bbox.x1


def test_the_history_has_what_was_measured(tmp_path, monkeypatch):
    table = {"step": [0, 1], "train/loss": [2.0, None], "val/loss": [None, 1.0], "val/clip_score": [None, 20.0]}
    rates = {f"lr-AdamW/pg{group}": [0.1, 0.2] for group in (1, 2)}
    pd.DataFrame(table | rates | {"val/x/recall@1": [None, 0.5]}).to_csv(tmp_path / "metrics.csv", index=False)
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    draw_history(tmp_path / "metrics.csv", tmp_path / "history.png", monitor="val/x/recall@1")
    lines = {axes.get_title(): [line.get_label() for line in axes.lines] for axes in drawn[0].axes}
    assert [title.partition(":")[0] for title in lines] == ["loss", "validation, x", "CLIP score", "learning rate"]
    assert [len(of) for of in lines.values()] == [2, 1, 1, 1] and lines["loss"] == ["train", "val"]
