import math

import numpy as np
import pandas as pd
import pytest

from fashionclip.evaluation.compare import compared


def queries(hits, *, group=None, category=None, ranks=None, direction="text_to_image"):
    table = {
        "direction": direction,
        "query": [f"query {n}" for n in range(len(hits))],
        "group": np.arange(len(hits)) if group is None else group,
        "recall@1": np.asarray(hits, dtype="float32"),
    }
    if category is not None:
        table["category"] = category
    if ranks is not None:
        table["median_rank"] = np.asarray(ranks, dtype="float32")
    return pd.DataFrame(table)


def line(table, name="", metric="recall@1"):
    (found,) = table[(table["slice"] == name) & (table["metric"] == metric)].to_dict("records")
    return found


def test_a_better_model_is_told_from_a_worse_one_query_by_query():
    random = np.random.default_rng(0)
    first = random.random(400) < 0.5
    second = first | (random.random(400) < 0.1)
    found = line(compared(queries(first), queries(second)[::-1]))  # in any order
    assert found["first"] == pytest.approx(first.mean()) and found["second"] == pytest.approx(second.mean())
    assert 0 < found["low"] < found["difference"] < found["high"] and found["sure"] and found["p"] < 0.01
    back = line(compared(queries(second), queries(first)))
    assert back["difference"] == pytest.approx(-found["difference"]) and back["high"] < 0 and back["sure"]


def test_the_same_model_is_not_better_than_itself():
    first = queries([1, 0, 1, 1] * 10, ranks=[1, 5, 1, 1] * 10)
    table = compared(first, first)
    assert line(table)["p"] == 1 and not line(table)["sure"]
    assert (line(table)["low"], line(table)["high"]) == (0, 0)
    assert math.isnan(line(table, metric="median_rank")["p"]) and line(table, metric="median_rank")["difference"] == 0


@pytest.mark.parametrize("per_group", [1, 5])
def test_models_that_are_equally_good_are_told_apart_as_seldom_as_the_test_says(per_group, monkeypatch):
    monkeypatch.setattr("fashionclip.evaluation.compare.FLIPS", 400)
    monkeypatch.setattr("fashionclip.evaluation.compare.DRAWS", 300)
    random = np.random.default_rng(0)
    wrong, held, naive, times = 0, 0, 0, 120
    group = np.arange(40).repeat(per_group)
    for _ in range(times):
        hits = [(random.random(40) < 0.5)[group] ^ (random.random(40 * per_group) < 0.1) for _ in range(2)]
        found = line(compared(*(queries(one, group=group) for one in hits)))
        wrong += found["p"] <= 0.05
        held += found["low"] <= 0 <= found["high"]
        if per_group > 1:
            naive += line(compared(*(queries(one) for one in hits)))["p"] <= 0.05
    assert wrong / times <= 0.085 and 0.915 <= held / times <= 0.995
    assert per_group == 1 or naive / times > 0.15, "as if queries of a product were independent"


def test_slices_are_compared_with_the_patience_that_many_tests_ask_for():
    random = np.random.default_rng(0)
    category = np.repeat([*"abcdefghijklmnopqrst", "tiny"], [40] * 20 + [9])
    first = random.random(809) < 0.5
    second = np.where(category == "c", True, random.random(809) < 0.5)
    table = compared(queries(first, category=category), queries(second, category=category))
    assert "category/tiny" not in set(table["slice"])
    assert table[table["sure"] & (table["slice"] != "")]["slice"].tolist() == ["category/c"]
    assert line(table, "category/c")["queries"] == 40


def test_only_what_both_have_is_compared():
    first, second = queries([1, 0, 1]), queries([1, 1, 1, 0])
    assert line(compared(first, second))["queries"] == 3
    assert len(compared(first, second.assign(direction="image_to_text"))) == 0
