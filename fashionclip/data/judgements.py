"""Judgements of the photos of a batch: those of the dataset, and mismatches drawn from the batch itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Sampler

from fashionclip.batch import Judgements
from fashionclip.data.manifest_tensors import JudgementTensors, ManifestTensors
from fashionclip.data.relations import BatchPlan, BatchPlanner
from fashionclip.data.samplers import SomeSampler
from fashionclip.manifest import PreparedDataset, read_judgements, text_key

TRIES = 20  # to find each row a text of another group; more are needed only where one group is most of the split


class JudgementRelation:
    """Whether texts describe photos: judgements of the chosen rows, and some more mismatches.

    Args:
        per_label: Largest number of matches of a photo in a batch, and of mismatches, drawn anew each time; None: all.
        drawn: Number of mismatches for each match, with texts of other matches of the batch, of another group and item;
            drawn anew each time.
    """

    name: str = "judgements"
    columns: tuple[str, ...] = ("item_id", "group_id", "text")
    fields: tuple[str, ...] = ()
    uses_text: bool = True
    uses_judgements: bool = True

    def __init__(self, *, per_label: int | None, drawn: int) -> None:
        self.per_label = per_label
        self.drawn = drawn

    def alike(self, rows: ManifestTensors) -> list[Tensor]:
        return [rows.item_id, rows.text_key[rows.text_id]]

    def sampler(self, rows: ManifestTensors, chosen: Tensor, *, seed: int) -> Sampler[int]:
        return SomeSampler(torch.arange(len(chosen)), seed=seed)

    def evaluated(self) -> BatchPlanner:
        return JudgedWithOwnTexts()

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        table, image_row = _table(rows), torch.unique(chosen)
        judged = table.of(image_row)
        if self.per_label is not None:
            group = 2 * table.image_row[judged] + table.label[judged]
            judged = judged[_some_of_each(group, self.per_label, draws=draws)]
        image, text, label = table.image_row[judged], table.text_id[judged], table.label[judged]
        if self.drawn:
            own, other = self._draw(rows, image[label], text[label], draws=draws)
            image = torch.cat([image, image[label][own]])
            text = torch.cat([text, text[label][other]])
            label = torch.cat([label, torch.zeros(len(own), dtype=torch.bool)])
            judged = torch.cat([judged, torch.full((len(own),), -1)])
        return _planned(image_row, image, text, label, judged)

    def _draw(
        self, rows: ManifestTensors, image: Tensor, text: Tensor, *, draws: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Positions (D,) among the (M,) matches of what shall be judged, and of the match whose text it gets."""
        own = rows.text_key[rows.text_id[image]]
        differ = torch.ones(len(text), len(text), dtype=torch.bool)  # (M, M)
        for code in (rows.text_key[text], own, rows.item_id[image], rows.code["group_id"][image], rows.photo_id[image]):
            differ &= code[:, None] != code[None]
        table, said = _table(rows), int(rows.text_key.max()) + 1
        judged = table.of(image.unique())
        judged = judged[table.label[judged]]
        matched = table.image_row[judged] * said + rows.text_key[table.text_id[judged]]
        differ &= ~torch.isin(image[:, None] * said + rows.text_key[text], matched)  # also by a match of another batch
        able = differ.any(1).nonzero()[:, 0].repeat_interleave(self.drawn)
        none = torch.empty(0, dtype=torch.long)
        return able, torch.multinomial(differ[able].float(), 1, generator=draws)[:, 0] if len(able) else none


class JudgedWithOwnTexts:
    """The dataset's judgements of each photo, and its own text, by which retrieval is measured."""

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        table, image_row = _table(rows), torch.unique(chosen)
        judged = table.of(image_row)
        image, text, label = table.image_row[judged], table.text_id[judged], table.label[judged]
        further = rows.field_text_id[:, image_row]
        own = torch.cat([rows.text_id[image_row], further[further >= 0]])
        return _planned(image_row, image, text, label, judged, own=own)


def judgements_of(dataset: PreparedDataset, *, seed: int) -> pd.DataFrame:
    """The judgements of a dataset; where it has none, its own texts and as many of other groups of the same split.

    Args:
        dataset: Prepared dataset, as read from disk.
        seed: Seed of the choice.

    Returns:
        `image_row, text, label, kind`.
    """
    fixed = read_judgements(dataset)
    if fixed is not None:
        return fixed
    manifest = dataset.manifest
    rng = np.random.default_rng(seed)
    texts = manifest["text"].map(text_key)
    photos = manifest["photo_hash"] if "photo_hash" in manifest else manifest["path"]
    columns = (manifest["group_id"], manifest["item_id"], texts, photos)
    codes = np.stack([pd.factorize(column)[0] for column in columns])  # (4, R)
    worded = (manifest["text"] != "").to_numpy()
    other = np.full(len(manifest), -1)
    for split in manifest["split"].unique():
        rows = np.flatnonzero((manifest["split"] == split).to_numpy() & worded)
        open_rows = rows
        for _ in range(TRIES if len(rows) else 0):
            drawn = rng.choice(rows, size=len(open_rows))
            differ = (codes[:, open_rows] != codes[:, drawn]).all(axis=0)
            other[open_rows[differ]] = drawn[differ]
            open_rows = open_rows[~differ]
    judged = np.flatnonzero(other >= 0)  # as many of either label
    text = manifest["text"].to_numpy()
    parts = (("match", "match", text[judged]), ("mismatch", "shuffled", text[other[judged]]))
    return pd.concat(
        [
            pd.DataFrame({"image_row": judged, "text": said, "label": label, "kind": kind})
            for label, kind, said in parts
        ],
        ignore_index=True,
    )


def _table(rows: ManifestTensors) -> JudgementTensors:
    assert rows.judgements is not None, "Rows was built without judgements"
    return rows.judgements


def _some_of_each(group: Tensor, most: int, *, draws: torch.Generator | None) -> Tensor:
    """Ascending positions of at most `most` of each group, from the (N,) groups, at random."""
    order = torch.randperm(len(group), generator=draws)
    order = order[group[order].argsort(stable=True)]
    ordered = group[order]
    rank = torch.arange(len(group)) - torch.searchsorted(ordered, ordered)
    return order[rank < most].sort().values


def _planned(
    image_row: Tensor, image: Tensor, text: Tensor, label: Tensor, judged: Tensor, *, own: Tensor | None = None
) -> BatchPlan:
    text_id = torch.unique(text if own is None else torch.cat([text, own]))
    relation = Judgements(
        image_index=torch.searchsorted(image_row, image),
        text_index=torch.searchsorted(text_id, text),
        label=label,
        judgement_id=judged,
    )
    return BatchPlan(image_row=image_row, text_id=text_id, relation=relation)
