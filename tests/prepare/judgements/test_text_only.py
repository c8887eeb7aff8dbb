import random

import pandas as pd
import pytest

from fashionclip.prepare.judgements.text_only import text_only_auroc, text_only_lines, text_only_scores

WORDS = ("red", "blue", "shirt", "shoe", "cotton", "silk")


def judgements(size=600, *, told=0.0, seed=0):
    """Texts of random words; a mismatch says "leather" as often as `told`, whatever its photo."""
    rng = random.Random(seed)
    rows = []
    for number in range(size):
        label = ("match", "mismatch")[number % 2]
        words = rng.sample(WORDS, 3)
        if label == "mismatch" and rng.random() < told:
            words[rng.randrange(3)] = "leather"
        kind = ("material", "colour")[number // 2 % 2]
        split = ("train", "train", "val", "test")[number // 4 % 4]
        rows.append({"text": " ".join(words), "label": label, "kind": kind, "split": split})
    return pd.DataFrame(rows)


def auroc_of(judged):
    return text_only_auroc(judged.assign(text_only=text_only_scores(judged)))


def test_a_word_that_gives_the_label_away_is_found():
    found = auroc_of(judgements(told=0.9))
    assert set(found) == {"test", "val"} and set(found["test"]) == {"all", "material", "colour"}
    assert min(found["test"].values()) > 0.9
    assert auroc_of(judgements(2000))["test"]["all"] == pytest.approx(0.5, abs=0.08)


def test_a_pair_of_words_is_found_where_no_word_tells():
    rows = [("red silk" if n % 2 else "red wool", "match") for n in range(20)]
    rows += [("silk red" if n % 2 else "wool red", "mismatch") for n in range(20)]
    judged = pd.DataFrame(rows, columns=["text", "label"]).assign(kind="given")
    judged["split"] = ["train", "test"] * 20
    judged.loc[judged["split"] == "test", "text"] = judged["text"].str.upper()
    both = pd.concat([judged, judged.assign(split="train")])
    assert auroc_of(both)["test"]["all"] == 1.0


def test_texts_that_are_as_often_right_as_wrong_tell_exactly_nothing():
    one = judgements(told=0.9)
    other = one.assign(label=one["label"].map({"match": "mismatch", "mismatch": "match"}))
    both = pd.concat([one, other], ignore_index=True)
    assert set(text_only_scores(both)) == {0.0}
    assert set(auroc_of(both)["test"].values()) == {0.5}


def test_a_match_of_no_kind_is_compared_with_all_and_a_missing_label_is_left_out():
    judged = judgements(told=0.9).query("split != 'val' or label == 'match'")
    judged = judged.assign(kind=judged["kind"].where(judged["label"] == "mismatch", "match"))
    found = auroc_of(judged)
    assert found["val"] == {} and found["test"]["material"] > 0.9
    (line,) = text_only_lines(found)
    assert line.startswith("  test, AUROC of a model that sees only the texts")
    assert f"all {found['test']['all']:.3f}, colour" in line
    assert set(text_only_scores(judged.query("label == 'match'"))) == {0.0}
