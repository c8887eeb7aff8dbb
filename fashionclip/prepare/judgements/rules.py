"""The rules that judgements must keep, or should, and the rows that break them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from fashionclip.manifest import LABELS, SPLITS
from fashionclip.prepare.judgements.special_characters import LOST, SPECIAL


@dataclass(frozen=True, kw_only=True)
class JudgementLimits:
    """Bounds whose breach is a warning.

    Attributes:
        min_side: Shorter side of a photo, in pixels.
        min_words, max_words: Words of a text, inclusive.
        context_length: Tokens that the model reads of a text, those of start and end among them; None: as many as its
            tokenizer says, or any number without a tokenizer.
        min_rows: Judgements in all.
        match_share: Least and largest share of matches, of all and of each split.
    """

    min_side: int = 224
    min_words: int = 5
    max_words: int = 100
    context_length: int | None = None
    min_rows: int = 100
    match_share: tuple[float, float] = (0.4, 0.6)


class Rule(NamedTuple):
    """One check of one column of facts.

    Attributes:
        name: Name of the check in the report and in `dropped.csv`.
        level: "error", which keeps the dataset from being prepared, or "warning".
        column: Column of facts that it judges.
        holds: Function from that column to whether each value is fine.
        says: What is wrong with a row, as a format string of its facts.
        remedy: What to do about it, or what is done.
    """

    name: str
    level: Literal["error", "warning"]
    column: str
    holds: Callable[[pd.Series], pd.Series]
    says: str
    remedy: str


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        check: Name of the rule.
        level: "error" or "warning".
        row: Index of the row; -1 of a line that is none, and where a whole split is at fault.
        where: Line, such as "train.csv:12", or split.
        says: What is wrong.
        remedy: What to do about it, or what is done.
    """

    check: str
    level: str
    row: int
    where: str
    says: str
    remedy: str


READING = {  # remedies of what is found by reading, by which there may be no rows
    "missing_column": "Name the columns image_path, text and label, or map yours with dataset.columns.",
    "malformed_line": "Quote cells that hold the separator, a line break or a quote, and double quotes within them.",
    "no_rows": "Write a line for each judgement below the header.",
}
OF_ALL_ROWS = {"missing_column", "no_rows", "one_label"}  # errors that no row can be left out for


def unread_fault(check: str, where: str, says: str) -> Fault:
    """What is wrong with a line that is no row, or with a header; `check` is one of `READING`."""
    return Fault(check, "error", -1, where, says, READING[check])


def row_rules(limits: JudgementLimits) -> tuple[Rule, ...]:
    """The rules of one judgement, over the columns of `row_facts`."""

    def empty(values: pd.Series) -> pd.Series:
        return values == ""

    # fmt: off
    return (
        Rule("empty_cell", "error", "empty", empty,
             "{empty} is empty",
             "Fill in the cell or remove the line."),
        Rule("invalid_label", "error", "label", lambda label: label.isin(["", *LABELS]),
             "label {label!r}, expected match or mismatch",
             "Write match or mismatch, in upper or lower case."),
        Rule("invalid_split", "error", "split", lambda split: split.isin(SPLITS) | bool((split == "").all()),
             "split {split!r}, expected train, val or test",
             "Write train, val or test, or dataset.columns.split=null to have the rows split."),
        Rule("outside_root", "error", "inside", lambda inside: inside.astype(bool),
             "{image_path!r} lies outside the root",
             "Move the photo below the root, set dataset.image_root, or dataset.allow_outside_root=true."),
        Rule("missing_image", "error", "found", lambda found: found.astype(bool),
             "no file {image_path!r}",
             "Mend the path or the photo, or set dataset.image_root to the folder that paths begin at."),
        Rule("unreadable_image", "error", "image_error", empty,
             "{image_error}",
             "Replace the photo."),
        Rule("contradiction", "error", "contradicts", empty,
             "same photo and text as {contradicts}, which has the other label",
             "Decide which of the two is right and remove the other."),
        Rule("photo_in_two_splits", "error", "photo_before", empty,
             "{image_path!r} in {split}, its photo is also at {photo_before}",
             "Keep all rows of a photo in one split."),
        Rule("product_in_two_splits", "error", "product_before", empty,
             "product {product!r} in {split}, it is also at {product_before}",
             "Keep all rows of a product in one split."),
        Rule("duplicate", "warning", "duplicate_of", empty,
             "same photo, text and label as {duplicate_of}",
             "Remove it; preparation leaves it out."),
        Rule("picture_in_two_splits", "warning", "picture_before", empty,
             "{image_path!r} in {split} looks the same as the photo at {picture_before}",
             "Look at both; if they show one product, keep them in one split."),
        Rule("text_in_two_splits", "warning", "text_before", empty,
             "{text!r} in {split} also matches a photo at {text_before}",
             "If it is one product, keep its rows in one split."),
        Rule("small_image", "warning", "side", lambda side: (side == 0) | (side >= limits.min_side),
             f"{{image_path!r}}: shorter side {{side}} pixels, under {limits.min_side}",
             "Use a larger photo; this one is enlarged."),
        Rule("short_text", "warning", "words", lambda words: (words == 0) | (words >= limits.min_words),
             f"{{words}} words, under {limits.min_words}: {{text!r}}",
             "Say colour, material, kind and what is special about it."),
        Rule("long_text", "warning", "words", lambda words: words <= limits.max_words,
             f"{{words}} words, over {limits.max_words}",
             "Shorten it to what the photo shows."),
        Rule("over_context", "warning", "tokens", lambda tokens: tokens <= (limits.context_length or math.inf),
             f"{{tokens}} tokens, over the model's {limits.context_length}; the rest is never read",
             "Shorten the text, or say first what matters."),
        *(Rule(special.name, "warning", special.name, empty, f"{{{special.name}}}", special.does)
          for special in SPECIAL),
        Rule("lost_character", "warning", "text", lambda text: ~text.str.contains(LOST),
             "{text!r} has a sign for letters that are lost",
             "Write the text again from where it came; it is read as it stands."),
    )
    # fmt: on


def split_rules(limits: JudgementLimits) -> tuple[Rule, ...]:
    """The rules of all judgements and of each split, over the columns of `split_facts`."""
    low, high = limits.match_share
    # fmt: off
    return (
        Rule("one_label", "error", "one_label", lambda one_label: ~one_label,
             "{matches} of {rows} match, expected both labels",
             "Add rows of the missing label: by one alone nothing can be learned, chosen or measured."),
        Rule("unbalanced", "warning", "match_share", lambda share: share.between(low, high),
             f"{{matches}} of {{rows}} match ({{match_share:.0%}}), expected {low:.0%} to {high:.0%}",
             "Add rows of the rarer label, or weigh the labels in the loss."),
        Rule("few_rows", "warning", "rows", lambda rows: (rows >= limits.min_rows) | (rows.index > 0),  # only of all
             f"{{rows}} judgements, under {limits.min_rows}",
             "Add more; 1,000 or more make a robust model."),
    )
    # fmt: on


def faults(facts: pd.DataFrame, rules: Iterable[Rule]) -> list[Fault]:
    """What breaks each rule, in the order of rules and rows."""
    found = []
    for rule in rules:
        broken = facts[~rule.holds(facts[rule.column]).astype(bool)]
        for row, fact in zip(broken.index, broken.to_dict("records"), strict=True):
            says = rule.says.format(**{str(name): value for name, value in fact.items()})
            found.append(Fault(rule.name, rule.level, row, fact["where"], says, rule.remedy))
    return found
