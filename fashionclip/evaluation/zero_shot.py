"""Zero-shot classification of a labelled column by prompts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from fashionclip.evaluation.embedded_split import EmbeddedSplit, TaskLeftOut, check_columns, check_templates
from fashionclip.metrics.ranking import recall
from fashionclip.metrics.samples import Found, Functions, Sample, Search


class ZeroShot:
    """Each photo is given the label whose prompts lie nearest to it.

    Args:
        label: Column of the labels.
        templates: Prompts with a place for the label, whose embeddings are averaged.
    """

    def __init__(self, label: str, *, templates: Sequence[str] = ("a photo of {}",)) -> None:
        self.label, self.templates = label, templates
        check_columns("label", [label])
        check_templates(templates)

    def __call__(self, split: EmbeddedSplit, functions: Functions, name: str) -> Found:
        """A sample of each labelled photo, `accuracy` and `accuracy@5`, and the mean over labels, `balanced_accuracy`.

        Raises:
            TaskLeftOut: The column is missing, or holds fewer than two labels.
        """
        codes, labels = pd.factorize(pd.Series(split.field(self.label), dtype=object).replace("", None), sort=True)
        if len(labels) < 2:
            raise TaskLeftOut(f"{self.label} holds {len(labels)} labels, and two are needed")
        device = split.image.device
        place = torch.from_numpy((codes >= 0).nonzero()[0]).to(device)
        label = torch.from_numpy(codes.astype("int64")).to(device)[place]
        pairs = torch.stack([torch.arange(len(place), device=device), label], dim=1)
        search = Search(
            query=split.image[place],
            gallery=split.prompts(list(labels), self.templates),
            relevant=pairs,
            asked=split.row[place],
            shown=torch.arange(len(labels), device=device),
            by_text=False,
            among_texts=True,
            texts=list(labels),
        )
        ranks = search.ranks()
        hit = recall(ranks, k=1)
        sample = Sample(
            direction=name,
            values={"accuracy": hit, "accuracy@5": recall(ranks, k=5)},
            group=split.group[place],
            place=torch.arange(len(place), device=device),
            search=search,
        )
        count = label.bincount(minlength=len(labels))
        of_label = torch.zeros(len(labels), device=device).index_add_(0, label, hit) / count
        by_label = Sample("", {f"{name}/balanced_accuracy": of_label}, group=search.shown, place=search.shown)
        return Found([sample, by_label], {f"{name}/labels": torch.tensor(float(len(labels)))})
