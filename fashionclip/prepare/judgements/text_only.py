"""How well judgements can be guessed from their texts, without a look at the photos.

Where a word is more often right than wrong, a model may learn that instead of looking, and what it then scores says
nothing of what it sees: any figure is to be read beside that of a model that sees only the texts.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

SEEN_OFTEN = 3  # times that a word or pair of words stands in the texts of train, at least, to be learned from
WEIGHT_DECAY = 1.0  # of the regression, whose loss is summed over judgements
MOST_STEPS = 50

Auroc = dict[str, dict[str, float]]  # split -> "all" or a kind -> value in [0, 1]


def text_only_scores(judgements: pd.DataFrame) -> list[float]:
    """Log odds of a match for each judgement, by a logistic regression on the words and pairs of words of its text.

    It is fitted on the judgements of train, where both labels weigh the same; where texts tell nothing, all are 0.

    Args:
        judgements: `text`, `label` and `split` of each.

    Source: Gururangan et al. 2018, "Annotation Artifacts in Natural Language Inference Data", section 2 (a classifier
    that does not see the premise); the classifier is ours.
    """
    said = [_said(text) for text in judgements["text"]]
    train = (judgements["split"] == "train").to_numpy()
    codes, names = pd.factorize(pd.Series([part for parts in said for part in parts], dtype=object))
    place = np.repeat(np.arange(len(said)), [len(parts) for parts in said])  # the judgement of each part
    often = np.bincount(codes[train[place]], minlength=len(names)) >= SEEN_OFTEN
    known = often[codes]
    part, row = torch.from_numpy(codes[known].copy()), torch.from_numpy(place[known].copy())
    chosen = torch.from_numpy(train.copy())
    match = torch.from_numpy((judgements["label"] == "match").to_numpy("bool").copy())

    def odds(weight: Tensor) -> Tensor:
        return torch.zeros(len(said), dtype=weight.dtype).index_add(0, row, weight[part])

    weight = torch.zeros(len(names), dtype=torch.double, requires_grad=True)
    label = match[chosen].double()
    share = label.mean()
    if 0 < share < 1:
        weighs = torch.where(label > 0, 0.5 / share, 0.5 / (1 - share))
        fit = torch.optim.LBFGS([weight], max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            fit.zero_grad()
            each = torch.nn.functional.binary_cross_entropy_with_logits(odds(weight)[chosen], label, reduction="none")
            total = (weighs * each).sum() + WEIGHT_DECAY / 2 * weight.square().sum()
            total.backward()
            return total

        fit.step(loss)
    return odds(weight.detach()).float().tolist()


def text_only_auroc(judgements: pd.DataFrame) -> Auroc:
    """AUROC of the texts' scores in each split but train: of all judgements, and of each kind.

    Args:
        judgements: `label`, `kind`, `split` and `text_only` of each.

    Returns:
        By split and kind, rounded to 3 places; a kind without both labels is left out.
    """
    found: Auroc = {}
    for split, part in judgements[judgements["split"] != "train"].groupby("split"):
        match = part["label"] == "match"
        kinds = sorted(part["kind"][~match].unique())
        against = {kind: part[(part["kind"] == kind) | (match & (part["kind"] == "match"))] for kind in kinds}
        values = {
            kind: _auroc(among["text_only"], among["label"] == "match")
            for kind, among in {"all": part, **against}.items()
        }
        found[str(split)] = {kind: round(value, 3) for kind, value in values.items() if value == value}
    return found


def measured(judgements: pd.DataFrame, **record: str) -> dict[str, Any]:
    """What `Conversion.finish` takes of judgements: the table, with `text_only`, the record and lines of the report.

    Args:
        judgements: Columns of `judgements.parquet` but `text_only`.
        record: What else to record.
    """
    judgements = judgements.assign(text_only=text_only_scores(judgements))
    auroc = text_only_auroc(judgements)
    kinds = judgements["kind"].replace("given", "mismatch").where(judgements["label"] == "mismatch", "match")
    counts = {
        str(split): part.value_counts().to_dict() for split, part in kinds.groupby(judgements["split"], sort=False)
    }
    listed = [f"  {split}: {', '.join(f'{n} {kind}' for kind, n in of.items())}" for split, of in counts.items()]
    says = f"{len(judgements)} judgements of {judgements['image_id'].nunique()} photos"
    return {
        "record": {**record, "judgements": counts, "text_only_auroc": auroc},
        "tables": {"judgements": judgements},
        "says": [says, *listed, *text_only_lines(auroc)],
    }


def text_only_lines(auroc: Auroc) -> list[str]:
    """A line of the report for each split that has both labels."""
    listed = {
        split: ", ".join(f"{kind} {value:.3f}" for kind, value in values.items()) for split, values in auroc.items()
    }
    says = "AUROC of a model that sees only the texts (0.5: they tell nothing)"
    return [f"  {split}, {says}: {values}" for split, values in listed.items() if values]


def _said(text: str) -> set[str]:
    """Words, and pairs of words next to each other, those at the beginning and end among them."""
    words = re.findall(r"\w+", text.casefold())
    return {*words, *map(" ".join, zip(["<", *words], [*words, ">"], strict=True))}


def _auroc(score: pd.Series, match: pd.Series) -> float:
    """Share of pairs of a match and a mismatch in which the match scores higher; a tie counts half."""
    matches, mismatches = int(match.sum()), int((~match).sum())
    if not matches or not mismatches:
        return float("nan")
    above = score.rank()[match].sum() - matches * (matches + 1) / 2
    return float(above / (matches * mismatches))
