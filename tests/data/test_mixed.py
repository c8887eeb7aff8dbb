import pytest
import torch

from fashionclip.batch import Mixed
from fashionclip.data.content_distance import AttributeDistance
from fashionclip.data.mixed import MixedRelation
from fashionclip.data.relations import IdentityRelation, ImagesAlone, PairRelation, WithOwnTexts

ITEMS, TEXTS = "aabcdde", ["shoe", "shoe", "hat", "cap", "", "bag", "sock"]


@pytest.fixture
def parts():
    triplets = IdentityRelation(
        item="look", group="base", distance=AttributeDistance(["colour"]), second_view=True, per_group=3
    )
    return {"texts": PairRelation(), "triplets": triplets}


@pytest.fixture
def rows(make_rows):
    return make_rows(ITEMS, TEXTS, look=list(ITEMS), base=list("1111222"), colour=list("xxxyxxy"))


def test_each_part_relates_the_same_photos_and_texts_as_by_itself(rows, parts):
    chosen = torch.tensor([6, 0, 2, 1, 4, 5, 3])
    mixed = MixedRelation(parts=parts, sampler="triplets").plan(rows, chosen)
    assert isinstance(mixed.relation, Mixed)
    image, text = torch.randn(len(mixed.image_row), 3), torch.randn(len(mixed.text_id), 3)
    for name, part in parts.items():
        torch.manual_seed(0)
        alone = part.plan(rows, chosen)
        own = alone.relation.select(
            image[: len(alone.image_row)], text[torch.searchsorted(mixed.text_id, alone.text_id)]
        )
        together = mixed.relation.select(image, text)["parts"][name]
        assert alone.image_row.tolist() == mixed.image_row[: len(alone.image_row)].tolist()
        if name == "texts":
            for key, value in own.items():
                assert torch.equal(together[key], value), key
        else:
            assert torch.equal(together["item_id"], own["item_id"])
    assert len(mixed.image_row) == 10, "three photos have no fellow of their look, and come twice"


@pytest.mark.parametrize("second_view", [False, True])
def test_photos_that_are_the_same_leave_all_parts_speaking_of_the_same_photos(make_rows, parts, second_view):
    columns = {"look": list(ITEMS), "base": list("1111222"), "colour": list("xxxyxxy")}
    rows = make_rows(ITEMS, TEXTS, photo_hash=list("0102345"), **columns)
    parts["triplets"].second_view = second_view
    mixed = MixedRelation(parts=parts, sampler="triplets").plan(rows, torch.arange(7))
    texts, photos = mixed.relation.parts["texts"], mixed.relation.parts["triplets"]
    row = mixed.image_row.tolist()
    assert 2 not in row and len(photos.item_id) == len(row)
    assert photos.item_id.tolist() == rows.code["look"][mixed.image_row].tolist()
    pairs = zip(texts.image_index.tolist(), texts.text_index.tolist(), strict=True)
    assert [(row[i], rows.text[int(mixed.text_id[t])]) for i, t in pairs] == [(i, TEXTS[i]) for i in (0, 1, 3, 5, 6)]


def test_it_needs_what_its_parts_need(rows, parts):
    mixed = MixedRelation(parts=parts, sampler="triplets")
    assert mixed.columns == ("item_id", "text", "look", "base", "colour")
    assert mixed.uses_text and not mixed.uses_judgements
    assert isinstance(mixed.evaluated(), WithOwnTexts)
    assert not isinstance(mixed.evaluated(), ImagesAlone)
    assert sorted(mixed.sampler(rows, torch.arange(7), seed=0)) == list(range(7))


def test_an_unknown_sampler_is_refused(parts):
    with pytest.raises(ValueError, match=r"loss.relation.sampler: got 'none', expected one of \['texts', 'triplets'\]"):
        MixedRelation(parts=parts, sampler="none")
