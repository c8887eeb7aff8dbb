import random
from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from fashionclip.metrics.matching import clip_score, matching_hits, spread
from fashionclip.metrics.ranking import rank_relevant, recall, reciprocal_rank, strict_ceiling
from fashionclip.metrics.retrieval_metrics import Embedded, RetrievalMetrics
from fashionclip.metrics.samples import Found, figures_of, measured
from fashionclip.metrics.sku_metrics import SkuScores


def matching_accuracy(image, text, keys):
    hit, told = matching_hits(image, text, keys)
    return hit[told].float().mean()


FUNCTIONS = {"recall@1": partial(recall, k=1), "recall@5": partial(recall, k=5), "mrr": reciprocal_rank}
ITEM_ID = torch.tensor([0, 1, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8])
TEXT_ID = torch.tensor([0, 1, 2, 3, 4, 4, 4, 0, 5, 6, 6, 7])  # of two products: 0, 4 and 6
ROWS = range(len(ITEM_ID))


def embeddings():
    torch.manual_seed(0)
    return normalize(torch.randn(len(ITEM_ID), 6), dim=1), normalize(torch.randn(8, 6), dim=1)


def fill(metrics, image, text, batches):
    for batch in batches:
        rows = torch.tensor(batch)
        text_id = TEXT_ID[rows].unique()
        metrics.update(image[rows], rows, text[text_id], text_id)
    return metrics


def build(**settings):
    return RetrievalMetrics(item_id=ITEM_ID, text_id=TEXT_ID, functions=FUNCTIONS, **settings)


def assert_equal(values, expected):
    torch.testing.assert_close(values, expected, rtol=0, atol=0, equal_nan=True)


def slow_relevant():
    """Right (query, gallery) pairs of each direction."""
    same_item = [(p, q) for p in ROWS for q in ROWS if ITEM_ID[p] == ITEM_ID[q]]
    text_to_image = {(int(TEXT_ID[p]), q) for p, q in same_item}
    alike = {(p, q) for p in ROWS for q in ROWS if p != q and (ITEM_ID[p] == ITEM_ID[q] or TEXT_ID[p] == TEXT_ID[q])}
    return {
        "text_to_image": text_to_image,
        "image_to_text": {(photo, text) for text, photo in text_to_image},
        "image_to_image": alike,
    }


def test_values_equal_the_pure_functions_called_directly():
    image, text = embeddings()
    values = fill(build(), image, text, [[7, 0, 4], [2, 11, 3, 10], [9, 1, 5], [8, 6]]).compute()
    sides = {"text_to_image": (text, image), "image_to_text": (image, text), "image_to_image": (image, image)}
    expected = {}
    for direction, relevant in slow_relevant().items():
        itself = torch.arange(len(image))[:, None].repeat(1, 2)
        exclude = itself if direction == "image_to_image" else None
        ranks = rank_relevant(*sides[direction], torch.tensor(sorted(relevant)), exclude=exclude)
        group = ITEM_ID[[TEXT_ID.tolist().index(t) for t in range(8)]] if direction == "text_to_image" else ITEM_ID
        expected |= figures_of([measured(ranks, FUNCTIONS, direction=direction, group=group)])
        assert expected[f"{direction}/queries"] == len({query for query, _ in relevant})
    expected["spread"] = spread(image).mean()
    expected["clip_score"] = clip_score(image, text[TEXT_ID]).mean()
    expected["matching_accuracy"] = matching_accuracy(image, text[TEXT_ID], [ITEM_ID, TEXT_ID])
    products = {(int(ITEM_ID[row]), int(TEXT_ID[row])) for row in ROWS}
    expected["text_to_image/strict_ceiling@1"] = torch.tensor(8 / len(products))  # 8 texts
    expected["text_to_image/strict_ceiling@10"] = torch.tensor(1.0)
    assert_equal(values, expected)


@pytest.mark.parametrize("batches", [[list(ROWS)], [[0, 1, 2, 3, 3], [0, 4, 5, 6, 7], [7, 8, 9, 10, 11], [11, 0]]])
def test_batches_and_repeated_samples_change_nothing(batches):
    image, text = embeddings()
    expected = fill(build(), image, text, [[row] for row in ROWS]).compute()
    assert_equal(fill(build(), image, text, batches).compute(), expected)


def test_a_validation_ranks_some_queries_of_each_direction_the_same_each_time():
    rows, some, generator = 120, 15, torch.Generator().manual_seed(0)
    item, text, is_query = (torch.randint(n, (rows,), generator=generator) for n in (40, 30, 2))
    image, worded = (normalize(torch.randn(n, 8, generator=generator), dim=1) for n in (rows, 30))

    def measure(seed=0, validating=True, val_queries=some, order=0):
        sku = SkuScores(item_id=item, text_id=text, is_query=is_query == 1, functions=FUNCTIONS)
        metrics = RetrievalMetrics(
            item_id=item, text_id=text, functions=FUNCTIONS, fields={"name": (text, text)}, also=[sku],
            val_queries=val_queries, seed=seed,
        )  # fmt: skip
        metrics.validating = validating
        shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(order))
        for batch in shuffled.split(50):
            own = text[batch].unique()
            metrics.update(image[batch], batch, worded[own], own)
        return metrics.compute()

    once, whole = measure(), measure(validating=False)
    counts = {name: value for name, value in once.items() if name.endswith("/queries")}
    assert all(value == some for value in counts.values())
    assert len(counts) == 7  # three directions, a field, three of SKUs
    assert all(whole[name] > some for name in counts)
    assert_equal(measure(order=1), once)  # as two processes would bring them, or another epoch
    assert_equal(measure(val_queries=None), whole)
    assert_equal(measure(val_queries=rows), whole)
    other = measure(seed=1)
    for name in counts:
        mrr = name.replace("queries", "mrr")
        assert once[mrr] != other[mrr], name

    right = torch.tensor(sorted(slow_relevant()["text_to_image"]))
    asked = Embedded(*(torch.empty(0) for _ in range(4)), most=3).asked(right, torch.arange(8))
    queries = set(asked[:, 0].tolist())
    assert len(queries) == 3
    assert asked.tolist() == [pair for pair in right.tolist() if pair[0] in queries]  # with all of their right answers


def test_a_text_of_two_products_has_the_photos_of_both_as_right_answers():
    metrics = RetrievalMetrics(
        item_id=torch.tensor([0, 0, 0, 1, 1, 1, 2]), text_id=torch.tensor([0, 0, 0, 0, 0, 0, 1]), functions=FUNCTIONS
    )
    photo = torch.eye(8)[[1, 2, 3, 0, 4, 5, 6]]  # the shared name points to a photo of the second product
    metrics.update(photo, torch.arange(7), torch.eye(8)[[0, 6]], torch.arange(2))
    values = metrics.compute()
    assert values["text_to_image/recall@1"] == 1
    assert values["text_to_image/strict_ceiling@1"] == pytest.approx(2 / 3)  # of three products
    assert values["image_to_image/queries"] == 6  # the seventh photo has no fellow


@pytest.mark.parametrize("seed", range(8))
def test_spellings_and_photos_that_are_the_same_equal_loops_over_everything(seed):
    """Products of several photos, texts in several spellings, photos of several products, photos without a text."""
    rng, rows = random.Random(seed), 30
    torch.manual_seed(seed)
    item, photo = [rng.randrange(14) for _ in range(rows)], [rng.randrange(22) for _ in range(rows)]
    text = [rng.choice([-1, *range(16)]) for _ in range(rows)]
    key = [t if t < 0 else t // 2 for t in text]
    embedded, worded = normalize(torch.randn(22, 4), dim=1), normalize(torch.randn(16, 4), dim=1)
    metrics = RetrievalMetrics(
        item_id=torch.tensor(item), text_id=torch.tensor(text), text_key=torch.tensor(key),
        photo_id=torch.tensor(photo), group_id=torch.tensor(item) // 2, functions=FUNCTIONS,
    )  # fmt: skip
    seen = sorted(set(text) - {-1})
    for part in torch.randperm(rows).split(7):
        some = torch.tensor(sorted({text[row] for row in part.tolist()} - {-1}), dtype=torch.long)
        metrics.update(embedded[torch.tensor(photo)[part]], part, worded[some], some)
    values = metrics.compute()

    right = set()  # of texts and photos
    for t in seen:
        items = {item[row] for row in range(rows) if key[row] == t // 2}
        shown = {photo[row] for row in range(rows) if item[row] in items}
        right |= {(seen.index(t), row) for row in range(rows) if item[row] in items or photo[row] in shown}
    alike = {
        (p, q) for p in range(rows) for q in range(rows) if item[p] == item[q] or (key[p] == key[q] and key[p] >= 0)
    }
    looks = {(photo[p], photo[q]) for p, q in alike}  # a photo that is the same is as right
    alike = {(p, q) for p in range(rows) for q in range(rows) if (photo[p], photo[q]) in looks}
    same = {(p, q) for p in range(rows) for q in range(rows) if photo[p] == photo[q]}
    image, texts = embedded[photo], worded[seen]
    group_of_text = torch.tensor([item[text.index(t)] // 2 for t in seen])
    for direction, (query, gallery), pairs, absent, group in (
        ("text_to_image", (texts, image), right, set(), group_of_text),
        ("image_to_text", (image, texts), {(row, t) for t, row in right}, set(), torch.tensor(item) // 2),
        ("image_to_image", (image, image), alike, same, torch.tensor(item) // 2),
    ):
        exclude = torch.tensor(sorted(absent)) if absent else None
        ranks = rank_relevant(query, gallery, torch.tensor(sorted(pairs)), exclude=exclude)
        expected = figures_of([measured(ranks, FUNCTIONS, direction=direction, group=group)])
        assert_equal({name: values[name] for name in expected}, expected)
        assert expected[f"{direction}/queries"] == len({q for q, _ in pairs - absent})

    keys = [torch.tensor([code[row] for row in range(rows) if text[row] >= 0]) for code in (item, key, photo)]
    own = torch.stack([worded[t] for t in text if t >= 0])
    assert_equal(values["matching_accuracy"], matching_accuracy(image[torch.tensor(text) >= 0], own, keys))
    joined = list(item)
    for _ in range(rows):  # until nothing changes
        joined = [
            min(joined[q] for q in range(rows) if item[p] == item[q] or photo[p] == photo[q]) for p in range(rows)
        ]
    products = sorted({(item[row], key[row], joined[row]) for row in range(rows) if text[row] >= 0})
    _, product_text, look = torch.tensor(products).T
    assert_equal(values["text_to_image/strict_ceiling@1"], strict_ceiling(product_text, look, k=1))


def test_a_photo_under_two_names_is_right_for_both_and_no_answer_to_itself():
    """Photos 0 and 1 are one file under two names; photo 2 is of another product with the first's name in capitals."""
    metrics = RetrievalMetrics(
        item_id=torch.arange(4), text_id=torch.arange(4), text_key=torch.tensor([0, 1, 0, 3]),
        photo_id=torch.tensor([0, 0, 1, 2]), functions=FUNCTIONS,
    )  # fmt: skip
    photo = torch.eye(4)[[0, 0, 1, 2]]
    metrics.update(photo, torch.arange(4), torch.eye(4)[[0, 0, 0, 2]], torch.arange(4))
    values = metrics.compute()
    assert values["text_to_image/recall@1"] == 1
    assert values["image_to_text/recall@1"] == 3 / 4, "the third photo is nowhere near its text"
    assert values["text_to_image/strict_ceiling@1"] == 3 / 4, "of two products of one name, one; the twins both"
    assert values["image_to_image/queries"] == 3, "photos 0 and 2 share a name, and 1 is the same as 0"


def test_bfloat16_embeddings_are_ranked_in_float32():
    image, text = (side.bfloat16() for side in embeddings())
    expected = fill(build(), image.float(), text.float(), [list(ROWS)]).compute()
    assert_equal(fill(build(), image, text, [list(ROWS)]).compute(), expected)


def test_without_texts_photos_are_ranked_among_photos():
    image, text = embeddings()
    expected = fill(build(), image, text, [list(ROWS)]).compute()
    metrics = build(texts=False)
    metrics.update(image, torch.tensor(ROWS), text[:0], torch.empty(0, dtype=torch.long))
    among_photos = {name: v for name, v in expected.items() if name.startswith(("image_to_image/", "spread"))}
    assert_equal(metrics.compute(), among_photos)


def test_alike_photos_and_further_measures():
    apart = torch.arange(len(ITEM_ID))
    metrics = build(alike=[apart], also=[lambda seen: Found([], {"seen": seen.image_row})])
    values = fill(metrics, *embeddings(), [[3, 1, 3]]).compute()
    assert values["image_to_image/queries"] == 0 and values["seen"].tolist() == [1, 3]


def test_examples_are_the_nearest_photos():
    metrics = build()
    image, text = embeddings()
    fill(metrics, image, text, [list(ROWS)]).compute()
    for text_id, rows in zip(metrics.nearest.text_id.tolist(), metrics.nearest.image_row.tolist(), strict=True):
        by_score = sorted(range(len(image)), key=lambda row: -float(text[text_id] @ image[row]))
        assert rows == by_score[:5]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric RetrievalMetrics was called before")
def test_nothing_seen_is_an_error_and_reset_forgets():
    metrics = build()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no embeddings since the last reset\. Call update\(\)"):
            metrics.compute()
        fill(metrics, *embeddings(), [[0, 1]]).compute()
        metrics.reset()


def test_texts_that_are_of_no_photo_seen_take_no_part():
    image, text = embeddings()
    expected = fill(build(), image, text, [list(ROWS)]).compute()
    metrics, texts = build(), torch.arange(len(text))
    others = normalize(torch.randn(3, text.shape[1]), dim=1)
    metrics.update(image, torch.tensor(ROWS), torch.cat([text, others]), torch.cat([texts, torch.arange(3) + 900]))
    assert_equal(metrics.compute(), expected)


def test_a_photo_without_a_text_is_found_by_its_products_and_asks_for_none_itself():
    """Photos 0 and 1 show one product, of which the second has no text; nor have photos 2 and 3, of two others."""
    photo = torch.eye(5)[[0, 1, 2, 3, 4]]
    metrics = RetrievalMetrics(
        item_id=torch.tensor([0, 0, 1, 2, 3]), text_id=torch.tensor([0, -1, -1, -1, 1]), functions=FUNCTIONS,
        alike=[torch.tensor([0, 0, 1, 2, 3])],
    )  # fmt: skip
    texts, codes = torch.stack([photo[1], photo[4], photo[2]]), torch.tensor([0, 1, 7])  # 7: an empty one
    metrics.update(photo, torch.arange(5), texts, codes)
    values = metrics.compute()
    assert values["text_to_image/queries"] == 2 and values["text_to_image/recall@1"] == 1
    assert values["image_to_text/queries"] == 3, "both photos of the first product, and the fifth"
    assert values["clip_score"] == 50, "of photos 0 and 4, where the first text lies at the other photo"
    assert values["image_to_image/queries"] == 2
    assert metrics.nearest.text_id.tolist() == [0, 1]


def test_where_no_photo_has_a_text_photos_are_ranked_among_photos():
    image, text = embeddings()
    metrics = RetrievalMetrics(
        item_id=ITEM_ID, text_id=torch.full_like(TEXT_ID, -1), functions=FUNCTIONS, alike=[ITEM_ID, TEXT_ID]
    )
    values = fill(metrics, image, text, [list(ROWS)]).compute()
    assert values["image_to_image/queries"] > 0 and not any("text" in name for name in values)
    assert len(metrics.nearest.text_id) == 0


def test_texts_of_a_field_find_every_photo_that_has_them():
    """Ids 0 to 7 are names, 8 to 10 those of a field, of which 9 is another spelling of 10; -1: none."""
    image, names = embeddings()
    text = torch.cat([names, normalize(torch.randn(3, 6), dim=1)])
    field = torch.tensor([8, 8, 9, 9, 10, -1, 8, 10, -1, 9, 8, 4])  # 4: also a name
    key = torch.where(field == 9, 10, field)
    metrics, plain = build(fields={"category": (field, key)}), fill(build(), image, names, [list(ROWS)])
    for batch in ([7, 0, 4, 11], [2, 11, 3, 10], [9, 1, 5], [8, 6]):
        rows = torch.tensor(batch)
        text_id = torch.cat([TEXT_ID[rows], field[rows]]).unique()
        text_id = text_id[text_id >= 0]
        metrics.update(image[rows], rows, text[text_id], text_id)
    values = metrics.compute()
    queries = [4, 8, 9, 10]
    best = []
    for query in queries:
        right = [p for p in ROWS if key[p] == (10 if query == 9 else query)]
        scores = (image @ text[query]).tolist()
        best.append(1 + sum(score > max(scores[p] for p in right) for score in scores))
    assert values["text_to_image/category/queries"] == 4
    assert values["text_to_image/category/recall@1"] == pytest.approx(sum(rank <= 1 for rank in best) / 4)
    assert values["text_to_image/category/mrr"] == pytest.approx(sum(1 / rank for rank in best) / 4)
    expected = plain.compute()
    assert_equal({name: values[name] for name in expected}, expected)  # names are measured as without the field
    assert metrics.embedded.text_id.tolist() == plain.embedded.text_id.tolist()
