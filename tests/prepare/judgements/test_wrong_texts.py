import random

import pandas as pd

from fashionclip.prepare.judgements.wrong_texts import Mismatches


def test_the_likest_text_that_is_wrong_is_exchanged():
    texts = {
        "a": "Acme Men Active Black Shoes",
        "b": "Bolt Women Pumps White Shoes",
        "c": "Acme Men Active Charcoal Shoes",
        "d": "Acme Men Active White Shoes",
        "e": "Acme Men Active White Shirt",
    }
    manifest = pd.DataFrame({"image_id": list(texts), "text": list(texts.values()), "split": "train"})
    manifest["category"] = ["Shoes"] * 4 + ["Shirts"]
    manifest = manifest.assign(item_id=manifest["image_id"], group_id=manifest["image_id"])
    find = Mismatches(manifest)

    def partner(**changes):
        settings = {"free": lambda row: True, "met": (), **changes}
        found = find.partner(0, "colour", rng=random.Random(0), **settings)
        return "" if found is None else manifest["image_id"][found.row]

    assert partner() == "d", "charcoal could be called black"
    assert partner(met={3}) == "b" and partner(met={1, 3}) == "d"
    assert partner(free=lambda row: row > 3) == "e", "of another sort where there is no other"
    assert partner(free=lambda row: row == 2) == ""


def spoken(text, aspect):
    return set(aspect.families(term.name for term in aspect.find(text)))


def check_against_a_list_of_fellows(manifest):
    """By the definition: all that is said of any row of the same group or item, or with the same text."""
    find = Mismatches(manifest)
    rows = manifest.assign(plain=find.plain).to_dict("records")
    for place, row in enumerate(rows):
        alike = ("group_id", "item_id", "plain")
        fellows = [row, *(other for other in rows if any(row[key] and row[key] == other[key] for key in alike))]
        assert find.own_texts[place] == {other["plain"] for other in fellows}
        for facts in find._aspects:
            columns = [column for column in facts.aspect.columns if column in manifest]
            said = [spoken(text, facts.aspect) for text in (f["text"] for f in fellows)]
            said += [spoken(" / ".join(f[column] for column in columns), facts.aspect) for f in fellows]
            assert facts.true[place] == set().union(*said)
            bearers = [other for other, one in enumerate(rows) if one["plain"] == row["plain"]]
            assert facts.of_bearers[row["plain"]] == set().union(*(facts.true[other] for other in bearers))


def test_what_is_true_of_a_product_is_that_of_all_its_fellows(demo_dataset, catalogue):
    check_against_a_list_of_fellows(demo_dataset.manifest.reset_index(drop=True))
    for seed in range(4):
        rng = random.Random(seed)
        manifest = catalogue(60, seed=seed, attributes=seed % 2 == 0)
        for column, count in (("group_id", 20), ("item_id", 15)):
            manifest[column] = [rng.choice(("", f"{column}{rng.randrange(count)}")) for _ in manifest.index]
        manifest["text"] = [rng.choice(("", text)) for text in manifest["text"]]
        check_against_a_list_of_fellows(manifest)


def test_few_texts_on_many_products_take_no_more_room_than_the_texts():
    texts = [
        f"{colour} {article}"
        for colour in ("Red", "Blue")
        for article in ("Shirt", "T-shirt", "Jeans", "Skirt", "Dress", "Sandals", "Handbag", "Watch")
    ]
    manifest = pd.DataFrame({"text": texts * 500, "split": "train", "item_id": [f"i{n}" for n in range(8000)]})
    find = Mismatches(
        manifest.assign(group_id=manifest["item_id"])
    )  # a minute where each has a list of its 500 fellows
    assert len({id(find.own_texts[row]) for row in manifest.index}) == len(texts)
    assert max(len(find.own_texts[row]) for row in manifest.index) == 1
