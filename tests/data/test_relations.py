import pytest
import torch

from fashionclip.data.relations import PairRelation, check_columns
from fashionclip.errors import InputError


class Styles(PairRelation):
    name = "styles"
    columns = ("item_id", "style")


@pytest.mark.parametrize(
    ("relation", "texts", "lacks"), [(PairRelation(), ["", ""], "text"), (Styles(), ["shoe", "hat"], "style")]
)
def test_a_missing_or_empty_column_is_named_with_a_remedy(make_rows, relation, texts, lacks):
    message = rf"no column '{lacks}' with values, needed by relation={relation.name}; has \['path'.*re-run prepare\.py"
    with pytest.raises(InputError, match=message):
        check_columns(relation, make_rows("ab", texts))


def test_columns_that_are_there_pass(make_rows):
    check_columns(PairRelation(), make_rows("ab", ["shoe", ""]))


def test_pairs_name_each_photo_and_text_once(make_rows):
    rows = make_rows("abcaad", ["shoe", "hat", "shoe", "shoe", "cap", "hat"])
    chosen = torch.tensor([5, 0, 2, 0, 3, 5])
    related = PairRelation().relate(rows, chosen)
    assert sorted(related.image_row.tolist()) == [0, 2, 3, 5]
    assert sorted(rows.text[i] for i in related.text_id.tolist()) == ["hat", "shoe"]
    pairs = related.relation
    assert related.image_row[pairs.image_index].tolist() == chosen.tolist()
    texts = [rows.text[i] for i in related.text_id[pairs.text_index].tolist()]
    assert texts == ["hat", "shoe", "shoe", "shoe", "shoe", "hat"]
    assert pairs.item_id.tolist() == rows.item_id[chosen].tolist()
    assert pairs.text_id.tolist() == rows.text_id[chosen].tolist()
