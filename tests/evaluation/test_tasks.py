"""Every task against loops in plain Python, and a model that gives everything one embedding."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.evaluation.column_search import ColumnSearch
from fashionclip.evaluation.embedded_split import EmbeddedSplit, drawn
from fashionclip.evaluation.filter_search import FilterSearch
from fashionclip.evaluation.photo_search import PhotoSearch
from fashionclip.evaluation.sampled_triplets import SampledTriplets
from fashionclip.evaluation.tasks import run_tasks
from fashionclip.evaluation.zero_shot import ZeroShot
from fashionclip.metrics.ranking import average_precision, ndcg, precision, reciprocal_rank

FUNCTIONS = {
    "precision@1": lambda ranks: precision(ranks, k=1),
    "precision@5": lambda ranks: precision(ranks, k=5),
    "mrr": reciprocal_rank,
    "map@10": lambda ranks: average_precision(ranks, k=10),
    "ndcg@10": lambda ranks: ndcg(ranks, k=10),
}
WORDS = ("Dresses", "dresses ", "Skirts", "Heels", "")


def split(size=40, *, seed=0, constant=False, dtype=torch.float32):
    """Photos with doubles, several of a product, columns with gaps, and values in two spellings."""
    rng = random.Random(seed)
    item = [rng.randrange(size // 2) for _ in range(size)]
    category = {one: rng.choice(WORDS) for one in item}
    manifest = pd.DataFrame(
        {
            "image_id": [f"photo{row}" for row in range(size)],
            "path": [f"photo{row}.jpg" for row in range(size)],
            "item_id": [f"item{one}" for one in item],
            "group_id": [f"item{one}" for one in item],
            "domain": ["catalog" if one % 3 else "query" for one in item],
            "text": [rng.choice(["A red dress", "a red  dress", "boots", ""]) for _ in item],
            "category": [category[one] for one in item],
            "colour": [rng.choice(["red", "blue", ""]) for _ in item],
            "price": [rng.choice([9.5, 20.0, float("nan")]) for _ in item],
            "photo_hash": [f"hash{rng.randrange(size)}" for _ in item],
        }
    )
    image = normalize(torch.randn(size, 6, generator=torch.Generator().manual_seed(seed)), dim=1)
    image[: size // 4] = image[size // 4 : 2 * (size // 4)]  # ties
    image = normalize(image.to(dtype).float(), dim=1)

    def encode(texts):
        draws = [torch.Generator().manual_seed(sum(text.encode())) for text in texts]
        return normalize(torch.stack([torch.randn(6, generator=draw) for draw in draws]), dim=1)

    same = normalize(torch.ones(1, 6), dim=1)
    if constant:
        image, encode = same.expand(size, -1).clone(), lambda texts: same.expand(len(texts), -1)
    return EmbeddedSplit(manifest, torch.arange(size) + 100, image, encode)


def key(text):
    return " ".join(text.lower().split())


def slow_figures(queries, gallery, right, gains=None, left_out=None):
    """Means over answered queries by loops: ties behind all wrong ones, and behind right ones of higher grade."""
    found = {name: [] for name in FUNCTIONS}
    for q, query in enumerate(queries):
        grades = {g: (gains or {}).get((q, g), 1.0) for g in right[q]}
        if not grades:
            continue
        scores = {g: float(query @ one) for g, one in enumerate(gallery) if (q, g) not in (left_out or ())}
        wrong = [score for g, score in scores.items() if g not in grades]
        order = sorted(grades, key=lambda g: (-round(scores[g], 6), grades[g]))
        rank = {g: 1 + n + sum(score >= scores[g] - 1e-6 for score in wrong) for n, g in enumerate(order)}
        found["precision@1"].append(sum(r <= 1 for r in rank.values()))
        found["precision@5"].append(sum(r <= 5 for r in rank.values()) / 5)
        found["mrr"].append(1 / min(rank.values()))
        hits = sorted(rank.values())
        found["map@10"].append(sum((n + 1) / r for n, r in enumerate(hits) if r <= 10) / len(hits))
        ideal = sum(g / np.log2(2 + n) for n, g in enumerate(sorted(grades.values(), reverse=True)[:10]))
        found["ndcg@10"].append(sum(grades[g] / np.log2(1 + r) for g, r in rank.items() if r <= 10) / ideal)
    return {name: np.mean(values) for name, values in found.items()}, len(found["mrr"])


def check(found, name, expected, queries):
    assert found.figures[f"{name}/queries"] == queries
    for metric, value in expected.items():
        assert found.figures[f"{name}/{metric}"].item() == pytest.approx(value, abs=1e-5), metric


def run(task, given, name="task"):
    found, left_out = run_tasks({name: (task, FUNCTIONS)}, given)
    assert not left_out
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_values_of_a_column_search_the_catalogue(seed, dtype):
    given = split(seed=seed, dtype=dtype)
    shop = given.manifest[given.manifest["domain"] == "catalog"].index.tolist()
    rows = given.manifest.loc[shop]
    found = run(
        ColumnSearch("category", documents={"image": 0.9, "text": 0.1}, templates=["{}", "a photo of {}"]), given
    )
    values = list(dict.fromkeys(key(value) for value in rows["category"] if value))
    first = {value: next(v for v in rows["category"] if key(v) == value).strip() for value in values}
    queries = [
        normalize((given.encode([first[v]])[0] + given.encode([f"a photo of {first[v]}"])[0])[None], dim=1)[0]
        for v in values
    ]
    documents = []
    for row in shop:
        text = given.manifest["text"][row]
        said = given.encode([text])[0] if text else torch.zeros(6)
        documents.append(normalize((0.9 * given.image[row] + 0.1 * said)[None], dim=1)[0])
    right = [[place for place, row in enumerate(shop) if key(rows["category"][row]) == value] for value in values]
    check(found, "task", *slow_figures(queries, documents, right))
    search = found.samples[0].search
    assert [search.texts[one] for one in search.asked] == [first[value] for value in values]
    assert search.shown.tolist() == [100 + row for row in shop]


@pytest.mark.parametrize("seed", range(3))
def test_photos_search_for_their_like_by_grades_without_their_doubles(seed):
    given = split(seed=seed)
    found = run(PhotoSearch(["category"], graded_by=["colour", "text"], max_queries=25), given)
    asked = drawn(40, 25).tolist()
    table = given.manifest
    left_out = {
        (q, g) for q, a in enumerate(asked) for g in range(40) if table["photo_hash"][a] == table["photo_hash"][g]
    }
    spelled = [value.strip() for value in table["category"]]
    right = [
        [g for g in range(40) if spelled[a] == spelled[g] != "" and (q, g) not in left_out] for q, a in enumerate(asked)
    ]
    gains = {
        (q, g): 1.0 + sum(table[c][a].strip() == table[c][g].strip() != "" for c in ("colour", "text"))
        for q, a in enumerate(asked)
        for g in right[q]
    }
    check(found, "task", *slow_figures(given.image[asked], given.image, right, gains, left_out))
    assert found.samples[0].search.asked.tolist() == [100 + a for a in asked]


def test_filters_say_what_is_asked_for():
    given = split()
    queries = {"cheap": "price < 10", "red ones": "colour = 'red' and category <> 'Heels'", "none": "colour = 'green'"}
    found = run(FilterSearch(queries), given)
    shop = given.manifest.query("domain == 'catalog'")
    passed = [shop["price"] < 10, (shop["colour"] == "red") & (shop["category"] != "Heels") & (shop["category"] != "")]
    right = [np.flatnonzero(mask).tolist() for mask in passed]
    expected = slow_figures(given.encode(list(queries)[:2]), given.image[shop.index.tolist()], right)
    check(found, "task", *expected)
    assert found.figures["task/by_chance"].item() == pytest.approx(sum(map(len, right)) / len(shop) / 2)


def test_a_filter_that_does_not_fit_the_dataset_leaves_out_its_query_alone():
    fits = {"cheap": "price < 10", "red ones": "colour = 'red'"}
    others = {"of a brand": "brand = 'y'", "bright": "colour > 3", "like ten": "price like '1%'"}
    given, tasks = split(), {"mixed": FilterSearch({**others, **fits}), "fits": FilterSearch(fits)}
    found, left_out = run_tasks({name: (task, FUNCTIONS) for name, task in tasks.items()}, given)
    assert list(left_out) == ["mixed: 'of a brand'", "mixed: 'bright'", "mixed: 'like ten'"]
    for why, said in zip(left_out.values(), ("no field 'brand'", "colour is text", "price is a number"), strict=True):
        assert said in why
    figures = {name: value for name, value in found.figures.items() if name.startswith("fits/")}
    assert figures and figures == {
        name.replace("mixed", "fits"): found.figures[name.replace("fits", "mixed")] for name in figures
    }


@pytest.mark.parametrize("task", [ColumnSearch, FilterSearch])
def test_a_product_without_a_document_is_not_in_the_gallery_and_said(task):
    """Else it would be a zero vector, which stands before all that have a cosine below 0."""
    given = split()
    settings = (
        {"query": "category"}
        if task is ColumnSearch
        else {"queries": {"red": "colour = 'red'", "any": "category <> ''"}}
    )
    found, left_out = run_tasks({"task": (task(**settings, documents={"text": 1, "colour": 2}), FUNCTIONS)}, given)
    shop = given.manifest.query("domain == 'catalog'")
    lacking = shop.query("text == '' and colour == ''")
    assert 0 < len(lacking) < len(shop)
    assert left_out == {f"task: {len(lacking)} of {len(shop)} photos": "they have nothing in text or colour"}
    search = found.samples[0].search
    assert search.shown.tolist() == [100 + row for row in shop.index if row not in lacking.index]
    assert search.gallery.norm(dim=1).allclose(torch.ones(len(search.gallery)))
    given.manifest[["text", "colour"]] = ""
    assert run_tasks({"task": (task(**settings, documents={"text": 1}), FUNCTIONS)}, given)[1] == {
        "task": "products have nothing in text"
    }


def test_labels_are_those_of_the_nearest_prompts():
    given = split(dtype=torch.float32)
    found = run(ZeroShot("category", templates=["{}", "worn {}"]), given)
    spelled = [value.strip() for value in given.manifest["category"]]
    labels = sorted(set(spelled) - {""})
    prompts = [normalize((given.encode([v])[0] + given.encode([f"worn {v}"])[0])[None], dim=1)[0] for v in labels]
    hits = {
        row: labels[max(range(len(labels)), key=lambda n: float(given.image[row] @ prompts[n]))] == value
        for row, value in enumerate(spelled)
        if value
    }
    assert found.figures["task/accuracy"].item() == pytest.approx(np.mean(list(hits.values())))
    by_label = [np.mean([hits[row] for row in hits if spelled[row] == label]) for label in labels]
    assert found.figures["task/balanced_accuracy"].item() == pytest.approx(np.mean(by_label))
    assert found.figures["task/labels"] == len(labels) and found.figures["task/queries"] == len(hits)


def test_triplets_are_drawn_as_they_should_be_and_the_same_each_time():
    given = split(200)
    task = SampledTriplets("category", attributes=["colour", "nothing"], count=200)
    found, again = run(task, given), run(task, given)
    assert {n: v.item() for n, v in found.figures.items()} == pytest.approx(
        {n: v.item() for n, v in again.figures.items()}, nan_ok=True
    )
    assert 0 < found.figures["task/triplets"] <= 200 and 0 <= found.figures["task/order_accuracy"] <= 1
    assert {"task/order_accuracy/by distance/0.75-1", "task/distance_positive"} <= set(found.figures)


def test_a_photo_under_two_names_is_no_negative_of_itself_in_a_triplet():
    shown = {"p": [1.0, 0, 0, 0], "near p": [0.8, 0.6, 0, 0], "q": [0.5, 0, 0.75**0.5, 0], "r": [0.0, 0, 0, 1]}
    rows = [("a", "X", "p"), ("a", "X", "near p"), ("b", "X", "p"), ("c", "X", "q"), ("d", "Y", "p"), ("e", "Y", "r")]
    manifest = pd.DataFrame(rows, columns=["item_id", "category", "photo_hash"]).assign(text="", domain="catalog")
    manifest["group_id"] = manifest["path"] = manifest["image_id"] = [f"{row}" for row in range(len(rows))]
    image = torch.tensor([shown[photo] for *_, photo in rows])
    given = EmbeddedSplit(manifest=manifest, row=torch.arange(len(rows)), image=image, encode=torch.empty)
    figures = run(SampledTriplets("category", count=100), given).figures
    assert figures["task/triplets"] > 50
    assert figures["task/accuracy"] == figures["task/order_accuracy"] == 1, "else a double is nearer than the positive"


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (ColumnSearch("season"), "no column season"),
        (ColumnSearch("category", documents={"image": 1, "title": 1}), "no column title"),
        (PhotoSearch(["category", "brand"]), "no column brand"),
        (ZeroShot("domain2"), "no column domain2"),
        (FilterSearch({"x": "brand = 'y'"}), "no filter fits the dataset's columns; filter: no field 'brand'"),
        (FilterSearch({"x": "colour = 'mauve'"}), "no product passes"),
        (SampledTriplets("domain2"), "no column domain2"),
    ],
)
def test_a_task_that_lacks_its_columns_is_left_out_and_says_why(task, why):
    found, left_out = run_tasks({"task": (task, FUNCTIONS), "other": (ColumnSearch("colour"), FUNCTIONS)}, split())
    assert why in left_out["task"] and set(left_out) == {"task"} and "other/mrr" in found.figures


def test_nothing_to_learn_from_is_left_out():
    empty = split()
    empty.manifest[["category", "colour"]] = ""
    for task in (ColumnSearch("colour"), ZeroShot("category"), SampledTriplets("category")):
        assert run_tasks({"task": (task, FUNCTIONS)}, empty)[1]


def test_a_constant_model_scores_chance_or_worse_in_every_task():
    given = split(200, constant=True)
    tasks = {
        "column": ColumnSearch("category", documents={"image": 0.9, "text": 0.1}),
        "photo": PhotoSearch(["category"], graded_by=["colour"]),
        "filter": FilterSearch({"red": "colour = 'red'"}),
        "zero": ZeroShot("category"),
        "triplet": SampledTriplets("category", count=200),
    }
    for name, task in tasks.items():
        figures = run(task, given, name).figures
        for metric in (
            "precision@1",
            "precision@5",
            "map@10",
            "ndcg@10",
            "accuracy",
            "balanced_accuracy",
            "order_accuracy",
        ):
            if (value := figures.get(f"{name}/{metric}")) is not None:
                assert value <= 0.34, (name, metric)


def test_texts_are_encoded_once():
    given, asked = split(), []
    encode = given.encode
    given.encode = lambda texts: asked.extend(texts) or encode(texts)
    run(ColumnSearch("category"), given)
    run_tasks({"again": (ColumnSearch("category", documents={"category": 1}), FUNCTIONS)}, given)
    assert len(asked) == len(set(asked)) > 0


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        *((ColumnSearch, {"query": query}, "expected columns") for query in (5, "", "+", "colour+")),
        *((PhotoSearch, {"alike": alike}, "alike=.*expected columns") for alike in ("category", [], [5], None)),
        (PhotoSearch, {"alike": ["category"], "graded_by": "colour"}, "graded_by=colour: expected columns"),
        *(
            (task, {**more, "templates": templates}, "templates=.*expected a list of prompts")
            for task, more in ((ColumnSearch, {"query": "category"}), (ZeroShot, {"label": "category"}))
            for templates in ([], ["a photo"], "a photo of {}", None)
        ),
        *(
            (task, {**more, "documents": {"image": weight}}, "documents: 'image' has the weight")
            for task, more in ((ColumnSearch, {"query": "category"}), (FilterSearch, {"queries": {"a": "price > 1"}}))
            for weight in (0, -1, "heavy", None)
        ),
        (ColumnSearch, {"query": "category", "max_queries": 0}, "max_queries=0: expected 1 or more"),
        (PhotoSearch, {"alike": ["category"], "max_queries": -1}, "max_queries=-1: expected 1 or more"),
        (FilterSearch, {"queries": {}}, "queries: expected one or more"),
        (FilterSearch, {"queries": {501: "price > 1"}}, "queries: 501: .*quote them"),
        (FilterSearch, {"queries": {"cheap": None}}, "queries: 'cheap': None: .*quote them"),
        *(
            (
                FilterSearch,
                {"queries": {"a": "price > 1", "b": where}},
                "queries: 'b': filter: .*Expected something like",
            )
            for where in ("price <", "", "category", "lower(category) = 'x'", "price = 1; drop table photos")
        ),
    ],
)
def test_a_setting_that_measures_nothing_is_refused_by_its_name(task, given, message):
    with pytest.raises(ValueError, match=message):
        task(**given)


def test_photos_that_have_nothing_in_common_are_left_out_and_said():
    photos = split()
    photos.manifest["category"] = photos.manifest["path"]
    found, left_out = run_tasks({"alike": (PhotoSearch(["category"]), FUNCTIONS)}, photos)
    assert not found.figures and left_out == {"alike": "no two photos have one category"}
