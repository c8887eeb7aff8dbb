"""The rules that judgements must keep, or should, and the rows that break them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from fashionclip.manifest import LABELS, SPLITS


@dataclass(frozen=True, kw_only=True)
class JudgementLimits:
    """Bounds whose breach is a warning.

    Attributes:
        min_side: Shorter side of a photo, in pixels.
        min_words, max_words: Words of a text, inclusive.
        context_length: Tokens that the model reads of a text, those of start and end among them; None: as many as its
            tokenizer says.
        min_rows: Judgements in all.
        match_share: Least and largest share of matches, of all and of each split.
    """

    min_side: int = 224
    min_words: int = 5
    max_words: int = 100
    context_length: int | None = None
    min_rows: int = 100
    match_share: tuple[float, float] = (0.4, 0.6)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One check of one column of facts.

    Attributes:
        name: As the table and `dropped.csv` say it.
        level: An error keeps the dataset from being prepared, a warning does not.
        column: Which fact it judges.
        holds: Values of that column to whether they are fine.
        says: What is wrong with a row, a format string of its facts.
        remedy: What to do.
    """

    name: str
    level: Literal["error", "warning"]
    column: str
    holds: Callable[[pd.Series], pd.Series]
    says: str
    remedy: str


READING = (  # found by reading, by which there may be no rows
    ("missing_column", "Name the columns image_path, text and label, or map yours with dataset.columns."),
    ("malformed_line", "Quote cells that hold the separator, a line break or a quote, and double quotes within them."),
    ("no_rows", "Write a line for each judgement below the header."),
)
OF_ALL_ROWS = ("missing_column", "no_rows", "one_label")  # errors that no row can be left out for


def row_rules(limits: JudgementLimits) -> tuple[Rule, ...]:
    """Those of one judgement, over the columns of `row_facts`."""

    def empty(values: pd.Series) -> pd.Series:
        return values == ""

    return (
        Rule(
            name="empty_cell",
            level="error",
            column="empty",
            holds=empty,
            says="{empty} is empty",
            remedy="Fill in the cell or remove the line.",
        ),
        Rule(
            name="invalid_label",
            level="error",
            column="label",
            holds=lambda label: label.isin(["", *LABELS]),
            says="label {label!r}, expected match or mismatch",
            remedy="Write match or mismatch, in upper or lower case.",
        ),
        Rule(
            name="invalid_split",
            level="error",
            column="split",
            holds=lambda split: split.isin(SPLITS) | bool((split == "").all()),
            says="split {split!r}, expected train, val or test",
            remedy="Write train, val or test, or dataset.columns.split=null to have the rows split.",
        ),
        Rule(
            name="outside_root",
            level="error",
            column="inside",
            holds=lambda inside: inside.astype(bool),
            says="{image_path!r} lies outside the root",
            remedy="Move the photo below the root, set dataset.image_root, or dataset.allow_outside_root=true.",
        ),
        Rule(
            name="missing_image",
            level="error",
            column="found",
            holds=lambda found: found.astype(bool),
            says="no file {image_path!r}",
            remedy="Mend the path or the photo, or set dataset.image_root to the folder that paths begin at.",
        ),
        Rule(
            name="unreadable_image",
            level="error",
            column="image_error",
            holds=empty,
            says="{image_error}",
            remedy="Replace the photo.",
        ),
        Rule(
            name="contradiction",
            level="error",
            column="contradicts",
            holds=empty,
            says="same photo and text as {contradicts}, which has the other label",
            remedy="Decide which of the two is right and remove the other.",
        ),
        Rule(
            name="photo_in_two_splits",
            level="error",
            column="photo_before",
            holds=empty,
            says="{image_path!r} in {split}, its photo is also at {photo_before}",
            remedy="Keep all rows of a photo in one split.",
        ),
        Rule(
            name="product_in_two_splits",
            level="error",
            column="product_before",
            holds=empty,
            says="product {product!r} in {split}, it is also at {product_before}",
            remedy="Keep all rows of a product in one split.",
        ),
        Rule(
            name="duplicate",
            level="warning",
            column="duplicate_of",
            holds=empty,
            says="same photo, text and label as {duplicate_of}",
            remedy="Remove it; preparation leaves it out.",
        ),
        Rule(
            name="picture_in_two_splits",
            level="warning",
            column="picture_before",
            holds=empty,
            says="{image_path!r} in {split} looks the same as the photo at {picture_before}",
            remedy="Look at both; if they show one product, keep them in one split.",
        ),
        Rule(
            name="text_in_two_splits",
            level="warning",
            column="text_before",
            holds=empty,
            says="{text!r} in {split} also matches a photo at {text_before}",
            remedy="If it is one product, keep its rows in one split.",
        ),
        Rule(
            name="small_image",
            level="warning",
            column="side",
            holds=lambda side: (side == 0) | (side >= limits.min_side),
            says=f"{{image_path!r}}: shorter side {{side}} pixels, under {limits.min_side}",
            remedy="Use a larger photo; this one is enlarged.",
        ),
        Rule(
            name="short_text",
            level="warning",
            column="words",
            holds=lambda words: (words == 0) | (words >= limits.min_words),
            says=f"{{words}} words, under {limits.min_words}: {{text!r}}",
            remedy="Say colour, material, kind and what is special about it.",
        ),
        Rule(
            name="long_text",
            level="warning",
            column="words",
            holds=lambda words: words <= limits.max_words,
            says=f"{{words}} words, over {limits.max_words}",
            remedy="Shorten it to what the photo shows.",
        ),
        Rule(
            name="over_context",
            level="warning",
            column="tokens",
            holds=lambda tokens: tokens <= limits.context_length,
            says=f"{{tokens}} tokens, over the model's {limits.context_length}; the rest is never read",
            remedy="Shorten the text, or say first what matters.",
        ),
    )


def split_rules(limits: JudgementLimits) -> tuple[Rule, ...]:
    """Those of all judgements and of each split, over the columns of `split_facts`."""
    low, high = limits.match_share
    return (
        Rule(
            name="one_label",
            level="error",
            column="one_label",
            holds=lambda one_label: ~one_label,
            says="{where}: {matches} of {rows} match, expected both labels",
            remedy="Add rows of the missing label: by one alone nothing can be learned, chosen or measured.",
        ),
        Rule(
            name="unbalanced",
            level="warning",
            column="match_share",
            holds=lambda share: share.between(low, high),
            says=f"{{where}}: {{matches}} of {{rows}} match ({{match_share:.0%}}), expected {low:.0%} to {high:.0%}",
            remedy="Add rows of the rarer label, or weigh the labels in the loss.",
        ),
        Rule(
            name="few_rows",
            level="warning",
            column="rows",
            holds=lambda rows: (rows >= limits.min_rows) | (rows.index > 0),  # only of all
            says=f"{{rows}} judgements, under {limits.min_rows}",
            remedy="Add more; 1,000 or more make a robust model.",
        ),
    )


def breaches(facts: pd.DataFrame, rules: Sequence[Rule]) -> pd.DataFrame:
    """Every breach of a rule: `row` (the index in `facts`) and `check` (the rule's name)."""
    broken = [(row, rule.name) for rule in rules for row in facts.index[~rule.holds(facts[rule.column]).astype(bool)]]
    return pd.DataFrame(broken, columns=["row", "check"])
