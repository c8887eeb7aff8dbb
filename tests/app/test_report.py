import json
from dataclasses import replace

import pandas as pd
import torch
from matplotlib.figure import Figure

from fashionclip.app.report import MEANINGS, draw_history, print_table, write_results
from fashionclip.evaluation.outcome import Outcome
from fashionclip.metrics.samples import Sample


def outcome(figures, *, intervals=None, parts=None):
    """With slices by their names, each of so many queries."""
    found = []
    for direction, queries in (parts or {}).items():
        figures = figures | {f"{direction}/recall@1": 0.5, f"{direction}/queries": float(queries)}
        found.append(Sample(direction, {}, torch.arange(queries), torch.arange(queries)))
    return Outcome(figures, intervals or {}, [], found, pd.DataFrame())


def lines_of(printed):
    """First cell and second of each line of the table, below its heading."""
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    return [(first.rstrip().removeprefix(" "), second.strip()) for first, second, *_ in rows]


def test_the_table_names_each_direction_once_and_ends_with_what_has_none(capsys):
    after = {"text_to_image/recall@1": 0.5, "clip_score": 30.0, "image_to_text/median_rank": 1.0}
    print_table({"before": outcome({"clip_score": 10.0}), "after": outcome(after)})
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
    after = {f"{way}/{name}": 0.5 for way in directions for name in ("recall@1", "mrr")}
    print_table({"after": outcome(after)}, monitor="val/query_to_sku/mrr")
    printed = capsys.readouterr().out
    assert [first for first, _ in lines_of(printed)][:4] == ["query to sku", "  mrr *", "  recall@1", "text to image"]
    assert "* the best checkpoint was chosen by it, on val" in printed


def test_the_table_fits_80_columns_and_shows_names_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    parts = {"query_to_sku/category/coat [new] :bell:": 1234}
    after = dict.fromkeys(("triplet/order_accuracy/text/0.25-0.5", "judgement/auroc/less detail"), 0.5)
    after |= {f"x/{metric}": 0.5 for metric in MEANINGS} | {"query_to_sku/recall@1": 0.5}
    found = outcome(after, parts=parts, intervals=dict.fromkeys(after, (0.25, 0.75)))
    print_table({"before": found, "after": found})
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "  coat [new] :bell: (1234 queries) " in printed
    assert all(f"{metric}: {meaning}\n" in printed for metric, meaning in MEANINGS.items()), "a line each"


def test_seen_skus_follow_unseen_ones_and_slices_are_a_line_each(capsys):
    after = {"clip_score": 1.0}
    for direction in ("query_to_sku", "text_to_sku", "triplet/order_accuracy", "query_to_sku_seen"):
        after |= {f"{direction}/recall@1": 0.5, f"{direction}/mrr": 0.6}
    after |= {"text_to_sku/colour/recall@1": 0.5, "text_to_sku/colour/queries": 4.0}
    parts = {f"query_to_sku/category/{name}": 10 + place for place, name in enumerate("abcdefghij")}
    parts |= {"query_to_sku/occlusion/2": 40, "query_to_sku/occlusion/3": 4, "text_to_sku/category/a": 40}
    parts |= {"query_to_sku/kind/T-shirts/Tops_": 6}
    print_table({"after": outcome(after, parts=parts)})
    printed = capsys.readouterr().out
    assert [first for first, _ in lines_of(printed)] == [
        *("query to sku", "  recall@1", "  mrr", "query to sku seen", "  recall@1", "  mrr"),
        *("text to sku", "  recall@1", "  mrr", "triplet/order accuracy", "  recall@1", "  mrr"),
        "query to sku/category: recall@1",
        *(f"  {name} ({10 + place} queries)" for place, name in enumerate("abcdefghij") if place >= 2),
        *("query to sku/occlusion: recall@1", "  2 (40 queries)"),
        *("query to sku/kind: recall@1", "  T-shirts/Tops_ (6 queries)"),
        *("text to sku: recall@1", "  colour (4 queries)"),  # a text's field
        "clip_score",
    ]
    assert "4 more slices are in results.json" in printed, "the smallest, and those of other directions"


def test_slices_of_a_field_of_texts_are_none_of_the_direction_before_it(capsys):
    names, own, of_field = "text_to_image/category/Shirts", object(), object()
    after = outcome({"text_to_image/recall@1": 0.5}, parts={names: 9, "text_to_image/category/colour/Red": 99})
    whole = Sample("text_to_image", {}, torch.arange(9), torch.arange(9), search=own)
    parts = [replace(part, search=own if part.direction == names else of_field) for part in after.parts]
    print_table({"after": replace(after, samples=[whole], parts=parts)})
    printed = capsys.readouterr().out
    assert "Shirts (9 queries)" in printed and "Red" not in printed


def test_each_figure_has_its_interval(capsys):
    after = {"x/recall@1": 0.5, "x/median_rank": 12.0, "clip_score": 31.25, "x/queries": 40.0, "x/mrr": 0.25}
    intervals = {"x/recall@1": (0.35, 1.0), "x/median_rank": (0.5, 18.0), "clip_score": (30.04, 32.0)}
    print_table({"after": outcome(after, intervals=intervals)})
    assert [last for _, last in lines_of(capsys.readouterr().out)] == [
        *("", "0.500 (.35-1.00)", "12 (1-18)", "40", "0.250", "31.2 (30.0-32.0)"),
    ]


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
