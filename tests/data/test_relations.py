from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fashionclip.data.content_distance import AttributeDistance
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import IdentityRelation, PairRelation, check_columns
from fashionclip.errors import InputError
from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.losses.mining import drawn, masks_of

CONFIGS = Path(__file__).parents[2] / "configs"


class Styles(PairRelation):
    name = "styles"
    columns = ("item_id", "style")


@pytest.mark.parametrize(
    ("relation", "texts", "lacks"), [(PairRelation(), ["", ""], "text"), (Styles(), ["shoe", "hat"], "style")]
)
def test_a_missing_or_empty_column_is_named_with_a_remedy(make_dataset, relation, texts, lacks):
    message = (
        rf"no column '{lacks}' with values, needed by relation={relation.name}; "
        r"has \['path', 'split', 'item_id'(, 'text')?\]\..*re-run prepare\.py"
    )
    with pytest.raises(InputError, match=message):
        check_columns(relation, make_dataset("ab", texts))


def test_columns_that_are_there_pass(make_dataset):
    check_columns(PairRelation(), make_dataset("ab", ["shoe", ""]))


def test_pairs_name_each_photo_and_text_once(make_rows):
    rows = make_rows("abcaad", ["shoe", "hat", "shoe", "shoe", "cap", "hat"])
    chosen = torch.tensor([5, 0, 2, 0, 3, 5])
    related = PairRelation().plan(rows, chosen)
    assert sorted(related.image_row.tolist()) == [0, 2, 3, 5]
    assert sorted(rows.text[i] for i in related.text_id.tolist()) == ["hat", "shoe"]
    pairs = related.relation
    assert related.image_row[pairs.image_index].tolist() == chosen.tolist()
    texts = [rows.text[i] for i in related.text_id[pairs.text_index].tolist()]
    assert texts == ["hat", "shoe", "shoe", "shoe", "shoe", "hat"]
    assert pairs.item_id.tolist() == rows.item_id[chosen].tolist()
    assert pairs.text_id.tolist() == rows.text_key[rows.text_id[chosen]].tolist()


def test_photos_without_a_text_are_neither_trained_on_nor_paired(make_rows, capsys):
    rows = make_rows("abcdef", ["", "hat", "", "cap", "shoe", ""], ["train"] * 5 + ["val"])
    chosen = rows.of_split("train")
    sampler = PairRelation().sampler(rows, chosen, seed=0)
    assert "2 of 5 train photos have no text and are left out of relation=pairs" in capsys.readouterr().out
    orders = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == [1, 3, 4] and len(sampler) == 3
    assert len(set(map(tuple, orders))) > 1, "another order each time"
    related = PairRelation().plan(rows, torch.tensor([2, 1, 0, 3]))
    assert related.image_row.tolist() == [0, 1, 2, 3], "evaluation still looks for them"
    assert related.image_row[related.relation.image_index].tolist() == [1, 3]
    assert [rows.text[i] for i in related.text_id.tolist()] == ["hat", "cap"]
    assert len(PairRelation().plan(rows, torch.tensor([2, 0])).relation) == 0
    with pytest.raises(InputError, match=r"'text' is empty in all 2 rows of train, needed by relation=pairs"):
        PairRelation().sampler(rows, torch.tensor([0, 2]), seed=0)


@pytest.mark.parametrize("multi_positive", [True, False])
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_a_photo_under_two_names_is_never_its_own_negative(make_rows, form, multi_positive):
    rows = make_rows("abcd", ["red shoe", "hat", "crimson shoe", "cap"], photo_hash=["1f", "2a", "1f", "3c"])
    chosen = torch.tensor([2, 1, 0, 3])
    related = PairRelation().plan(rows, chosen)
    assert related.image_row.tolist() == [0, 1, 2, 3], "evaluation still looks for them"
    pairs = related.relation
    assert set(related.image_row[pairs.image_index].tolist()) == {1, 2, 3}, "the one that comes first"
    photo = torch.eye(8)[rows.photo_id[related.image_row]].requires_grad_()
    text = torch.eye(8)[4 + torch.arange(len(related.text_id))].requires_grad_()
    loss = ContrastiveLoss(form=form, multi_positive=multi_positive)
    loss(**pairs.select(photo, text), logit_scale=torch.tensor(0.0)).backward()
    absent = [i for i, text_id in enumerate(related.text_id.tolist()) if rows.text[text_id] == "red shoe"]
    assert photo.grad[0].abs().sum() == 0 and all(text.grad[i].abs().sum() == 0 for i in absent)
    assert photo.grad[1:].abs().sum(1).min() > 0


def test_a_name_that_a_photo_has_elsewhere_is_no_negative_of_it(make_rows):
    """Row 2 shows the photo of row 0 and has, in another spelling, the name of row 4."""
    names = ["blue shirt", "Blue  SHIRT!", "Navy Top", "red dress", "navy-top"]
    rows = make_rows("abcde", names, photo_hash=["1f", "2a", "1f", "3c", "4d"])
    for chosen, kept in (([0, 1, 2, 3, 4], [0, 1, 3]), ([2, 4, 3], [2, 3, 4]), ([1, 4, 3], [1, 3, 4])):
        plan = PairRelation().plan(rows, torch.tensor(chosen))
        assert sorted(plan.image_row[plan.relation.image_index].tolist()) == kept
    same = make_rows("abc", ["hat", "HAT", "hat!"], photo_hash=["1f", "1f", "2a"])
    assert len(PairRelation().plan(same, torch.arange(3)).relation) == 2, "which its own row says as well"


def triplets_of(identities, *, per_anchor=1):
    """Anchor, positive, semi-positive and negative of each triplet that is drawn."""
    masks = masks_of(identities.item_id, identities.group_id, identities.view_id, identities.hard_id)
    return torch.stack(drawn(*masks, per_anchor=per_anchor, seed=identities.seed)).T.tolist()


def test_no_triplet_has_two_photos_that_are_the_same(make_rows):
    """Rows 0 and 5 show one photo under two names of two groups; rows 2 and 3 one of one group."""
    hashes = ["1f", "2a", "3c", "3c", "4d", "1f", "6e", "7b"]
    rows = make_rows(
        "abcdefgh", [""] * 8, look=list("aabcddee"), base=list("11112222"), colour=list("xyxyxyxy"), photo_hash=hashes
    )
    relation = IdentityRelation(item="look", group="base", distance=AttributeDistance(["colour"]), second_view=False)
    related = relation.plan(rows, torch.arange(8))
    shown = [hashes[row] for row in related.image_row.tolist()]
    assert len(set(shown)) == len(shown) == 6
    assert related.image_row.tolist() == [0, 1, 2, 4, 6, 7] and triplets_of(related.relation)


def test_names_that_differ_in_case_alone_are_one_item_of_triplets(make_rows):
    texts = ["Red Shoe", "red shoe", "hat", "cap", "HAT"]
    rows = make_rows("abcde", texts, text=texts, base=list("11122"), colour=list("xyxyx"))
    relation = IdentityRelation(item="text", group="base", distance=AttributeDistance(["colour"]), second_view=False)
    relation = relation.plan(rows, torch.arange(5)).relation
    assert relation.item_id[0] == relation.item_id[1] and relation.item_id[2] == relation.item_id[4]


def test_evaluation_takes_every_text_also_of_photos_that_are_the_same(make_rows):
    rows = make_rows("abcd", ["shoe", "hat", "zebra", ""], photo_hash=["x", "y", "x", "z"])
    related = PairRelation().evaluated().plan(rows, torch.tensor([2, 0, 1, 3, 0]))
    assert related.image_row.tolist() == [0, 1, 2, 3]
    assert sorted(rows.text[i] for i in related.text_id.tolist()) == ["hat", "shoe", "zebra"]


@pytest.fixture
def triplets(make_rows):
    rows = make_rows("aabcdde", [""] * 7, look=list("aabcdde"), base=list("1111222"), colour=list("xxxyxxy"))
    distance = AttributeDistance(["colour"])
    return rows, IdentityRelation(item="look", group="base", distance=distance, second_view=True)


def test_triplets_keep_what_the_identities_say(triplets):
    rows, relation = triplets
    related = relation.plan(rows, torch.arange(7).flip(0))
    t, row = related.relation, related.image_row
    look, base, colour = ([c[i] for i in row.tolist()] for c in ("aabcdde", "1111222", "xxxyxxy"))
    found = triplets_of(t, per_anchor=5)
    for a, p, q, n in found:
        assert look[a] == look[p] and a != p
        assert base[a] == base[q] and look[a] != look[q]
        assert base[a] != base[n]
        assert t.content_distance[a, q] == (colour[a] != colour[q])
    assert sorted(row.tolist()) == [0, 1, 2, 2, 3, 3, 4, 5, 6, 6], "what has no fellow is its own positive"
    assert len(found) == 5 * 10
    assert t.content_distance[0, 1] == 0 and t.content_distance[0, 4] == 1


def test_without_a_second_view_each_photo_is_loaded_once_and_what_has_no_fellow_is_no_anchor(triplets):
    rows, relation = triplets
    relation.second_view = False
    related = relation.plan(rows, torch.arange(7))
    assert related.image_row.tolist() == list(range(7))
    found = triplets_of(related.relation, per_anchor=5)
    assert {a for a, *_ in found} == {0, 1, 4, 5}
    assert {2, 3, 6} >= {q for _, _, q, _ in found}


def test_positives_are_of_another_view_and_negatives_of_the_same_kind(make_rows):
    rows = make_rows(
        "aaabbccc",
        [""] * 8,
        look=list("aaabbccc"),
        base=list("11112222"),
        colour=list("xxxyyyyy"),
        domain=list("ussususu"),
        category=list("ttstssst"),
    )
    relation = IdentityRelation(
        item="look",
        group="base",
        distance=AttributeDistance(["colour"]),
        view="domain",
        hard="category",
        second_view=False,
    )
    assert relation.columns == ("look", "base", "colour", "domain", "category")
    t = relation.plan(rows, torch.arange(8)).relation
    for a, p, _, n in triplets_of(t, per_anchor=9):
        assert "aaabbccc"[a] == "aaabbccc"[p] and "ussususu"[a] != "ussususu"[p]
        assert "ttstssst"[a] == "ttstssst"[n] and "11112222"[a] != "11112222"[n]
    assert t.view_id.tolist() == rows.code["domain"].tolist()


def test_the_shipped_relation_of_deepfashion2(make_dataset):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        relation = instantiate(compose("train", ["dataset=df2", "loss=semipos", "loss.hard=category"]).loss.relation)
    kinds = {"t": ("short sleeve top", "top", "short sleeve"), "l": ("long sleeve top", "top", "long sleeve")}
    kinds["s"] = ("skirt", "skirt", "")
    photos = [  # pair, style, category
        (pair, style, kind, domain)
        for pair, style, kind in ("11t", "12t", "11l", "11s", "21t", "22l", "31s", "32s", "33s")
        for domain in ("query", "catalog", "query")
    ]
    photos.append(("4", "1", "t", "query"))  # no shop shows it
    sku = [f"train/{pair}_{style}_{kind}" for pair, style, kind, _ in photos]
    category, garment, sleeve = zip(*(kinds[kind] for _, _, kind, _ in photos), strict=True)
    dataset = make_dataset(
        sku,
        [""] * len(photos),
        item_id=sku,
        group_id=[f"train/{pair}" for pair, *_ in photos],
        domain=[domain for *_, domain in photos],
        category=category,
        garment=garment,
        sleeve=sleeve,
        style=[style for _, style, *_ in photos],
    )
    check_columns(relation, dataset)
    rows = ManifestTensors(dataset, coded=relation.columns)
    t = relation.plan(rows, torch.arange(len(photos))).relation
    found = triplets_of(t)
    assert [a for a, *_ in found] == list(range(27)), "all but the one without a positive"
    for a, p, q, n in found:
        distance = float(t.content_distance[a, q])
        assert sku[a] == sku[p] and photos[a][3] != photos[p][3]
        assert photos[a][0] == photos[q][0] and sku[a] != sku[q]
        assert photos[a][0] != photos[n][0] and category[a] == category[n]
        differ = [photos[a][1] != photos[q][1], garment[a] != garment[q], sleeve[a] != sleeve[q]]
        assert distance == pytest.approx(sum(differ) / 3) and distance > 0
    assert len({round(float(t.content_distance[a, q]), 3) for a, _, q, _ in found}) > 1, "graded"


def test_triplets_are_drawn_anew_and_repeat_by_seed(triplets):
    rows, relation = triplets

    def draw():
        return [n for *_, n in triplets_of(relation.plan(rows, torch.arange(7)).relation)]

    torch.manual_seed(0)
    first, second = draw(), draw()
    torch.manual_seed(0)
    assert draw() == first != second


@pytest.mark.parametrize("chosen", [[0, 1], [4, 5], [0], [0, 1, 2]])
def test_without_semi_positives_or_negatives_there_are_no_triplets(triplets, chosen):
    rows, relation = triplets
    assert triplets_of(relation.plan(rows, torch.tensor(chosen)).relation) == []
