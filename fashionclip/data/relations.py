"""From chosen rows to the images and texts a batch must hold, and the relation among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Sampler

from fashionclip import distributed
from fashionclip.batch import Identities, Pairs, RelationTensors
from fashionclip.data.content_distance import ContentDistance
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.samplers import GroupSampler, SomeSampler
from fashionclip.data.text_fields import check_fields, columns_in
from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset


@dataclass(frozen=True)
class BatchPlan:
    """What a batch shall hold: distinct manifest rows (I,), distinct text ids (T,) and the relation among them."""

    image_row: Tensor
    text_id: Tensor
    relation: RelationTensors | None


class BatchPlanner(Protocol):
    """What turns the rows of a batch into what the batch shall hold."""

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        """Builds it for the (N,) chosen row numbers, which may repeat; chance is `draws`, or torch's own if None."""
        ...


class Relation(BatchPlanner, Protocol):
    """A relation that a loss can be trained on.

    Attributes:
        name: Name of the relation in messages.
        columns: Manifest columns that the relation needs.
        fields: Further texts of each row that take part, as in `text_fields.py`.
        uses_text: Whether texts take part; if not, the text tower is neither trained nor evaluated.
        uses_judgements: Whether rows must come with judgements.
    """

    name: str
    columns: tuple[str, ...]
    fields: tuple[str, ...]
    uses_text: bool
    uses_judgements: bool

    def alike(self, rows: ManifestTensors) -> list[Tensor]:
        """Codes (N,) of all rows; two photos that agree in one of them are right answers to each other."""
        ...

    def sampler(self, rows: ManifestTensors, chosen: Tensor, *, seed: int) -> Sampler[int]:
        """In what order training takes the (N,) chosen rows; yields positions in `chosen`."""
        ...

    def evaluated(self) -> BatchPlanner:
        """What an evaluation batch of it holds."""
        ...


class PairRelation:
    """Each row's photo with its own text; photos without one are not trained on.

    Of rows whose photos are the same byte for byte, a batch pairs one: they would be each other's wrong answers.

    Of a product with further texts a batch draws one, by their weights, so that over time the loss is the weighted sum
    of those of each field; all that it has are right for its photo.

    Source: Zhu et al. 2024, "Generalized Contrastive Learning for Multi-Modal Retrieval and Ranking", for
    the weighted fields.

    Args:
        text_fields: Weights of further texts of a product beside its own, which has 1, by column or columns, as
            in `text_fields.py`.

    Raises:
        ValueError: A weight is no number above 0, or a field lacks a column.
    """

    name: str = "pairs"
    columns: tuple[str, ...] = ("item_id", "text")
    uses_text: bool = True
    uses_judgements: bool = False

    def __init__(self, *, text_fields: Mapping[str, float] | None = None) -> None:
        fields = text_fields or {}
        check_fields(fields)
        self.fields = tuple(fields)
        self.weights = torch.tensor([1.0, *fields.values()])  # (1 + F,)
        further = [column for field in fields for column in columns_in(field)]
        self.columns = tuple(dict.fromkeys((*self.columns, *further)))

    def alike(self, rows: ManifestTensors) -> list[Tensor]:
        return [rows.item_id, rows.text_key[rows.text_id]]

    def sampler(self, rows: ManifestTensors, chosen: Tensor, *, seed: int) -> Sampler[int]:
        worded = rows.worded[chosen]
        count = int((~worded).sum())
        if count == len(chosen):
            raise InputError(
                f"{rows.root}/manifest.parquet: column 'text' is empty in all {count} rows of train, needed by "
                "relation=pairs. Use a loss that needs no 'text', or re-run prepare.py on a source with it."
            )
        if count and distributed.rank() == 0 and chosen.equal(rows.of_split("train")):
            print(f"{rows.root}: {count} of {len(chosen)} train photos have no text and are left out of relation=pairs")
        return SomeSampler(worded.nonzero()[:, 0], seed=seed)

    def evaluated(self) -> BatchPlanner:
        return WithOwnTexts()

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        image_row = torch.unique(chosen)
        chosen = without_twins(rows, chosen[rows.worded[chosen]])
        image_index = torch.searchsorted(image_row, chosen)
        said = rows.texts_of(chosen, fields=self.fields)  # (1 + F, N)
        drawn = said[0]
        if self.fields and len(chosen):
            weights = (self.weights[:, None] * (said >= 0)).T  # (N, 1 + F)
            drawn = said.T.gather(1, torch.multinomial(weights, 1, generator=draws))[:, 0]
        fair = ~_said_of_another(
            rows, chosen, rows.text_key[drawn], right=torch.where(said >= 0, rows.text_key[said], -1)
        )
        chosen, image_index, said, drawn = chosen[fair], image_index[fair], said[:, fair], drawn[fair]
        text_id, text_index = torch.unique(drawn, return_inverse=True)
        pairs = Pairs(
            image_index=image_index,
            text_index=text_index,
            item_id=rows.item_id[chosen],
            text_id=rows.text_key[drawn],
            right_text_id=torch.where(said >= 0, rows.text_key[said], -1).T if self.fields else None,
        )
        return BatchPlan(image_row=image_row, text_id=text_id, relation=pairs)


class WithOwnTexts:
    """Photos with their texts, all of them, for evaluation."""

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        text_id = torch.unique(rows.texts_of(chosen, fields=rows.fields))
        return BatchPlan(image_row=torch.unique(chosen), text_id=text_id[text_id >= 0], relation=None)


class ImagesAlone:
    """Photos by themselves, for evaluation without texts."""

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        return BatchPlan(image_row=torch.unique(chosen), text_id=torch.empty(0, dtype=torch.long), relation=None)


class IdentityRelation:
    """Who the chosen rows show, and how far the contents of those of one group are apart.

    Of rows whose photos are the same byte for byte, the first chosen one takes part.

    Args:
        item: Column of the manifest; rows equal in it have the same content.
        group: Column of the manifest; rows equal in it are one group.
        distance: Distance of contents within a group; None where no loss asks for it.
        view: Column in which a positive differs from its anchor, as a shop's photo from a user's. None: any other row.
        hard: Column in which negatives agree with their anchor, where one of the batch does. None: any negative.
        second_view: Whether a row without a fellow of its content is loaded twice, as its own positive: augmentation
            makes two pictures of it.
        per_group: Number of rows that a batch takes from one group, where it has as many.
        per_item: Largest number of them from one item; None: all.
    """

    name: str = "identities"
    fields: tuple[str, ...] = ()
    uses_text: bool = False
    uses_judgements: bool = False

    def __init__(
        self,
        *,
        item: str,
        group: str,
        second_view: bool,
        distance: ContentDistance | None = None,
        view: str | None = None,
        hard: str | None = None,
        per_group: int = 4,
        per_item: int | None = None,
    ) -> None:
        self.item, self.group, self.view, self.hard = item, group, view, hard
        self.distance = distance
        self.second_view = second_view
        self.per_group, self.per_item = per_group, per_item
        self.columns = (
            item,
            group,
            *(distance.columns if distance else ()),
            *(column for column in (view, hard) if column),
        )

    def alike(self, rows: ManifestTensors) -> list[Tensor]:
        return [rows.code[self.item]]

    def sampler(self, rows: ManifestTensors, chosen: Tensor, *, seed: int) -> Sampler[int]:
        group, item = rows.code[self.group][chosen], rows.code[self.item][chosen]
        view = rows.code[self.view][chosen] if self.view else None
        return GroupSampler(
            group=group, item=item, view=view, per_group=self.per_group, per_item=self.per_item, seed=seed
        )

    def evaluated(self) -> BatchPlanner:
        return ImagesAlone()

    def plan(self, rows: ManifestTensors, chosen: Tensor, *, draws: torch.Generator | None = None) -> BatchPlan:
        image_row = torch.unique(without_twins(rows, chosen))
        if self.second_view:
            lonely = _equal(rows.code[self.item][image_row]).sum(1) == 1
            image_row = torch.cat([image_row, image_row[lonely]])
        item_id, group_id = rows.code[self.item][image_row], rows.code[self.group][image_row]
        same = _equal(item_id)
        content_distance = (~same).float()  # (I, I)
        if self.distance is not None:
            one, other = (_equal(group_id) & ~same).nonzero(as_tuple=True)
            content_distance[one, other] = self.distance(rows, image_row[one], image_row[other])
        identities = Identities(
            item_id=item_id,
            group_id=group_id,
            view_id=rows.code[self.view][image_row] if self.view else torch.arange(len(image_row)),
            hard_id=rows.code[self.hard][image_row] if self.hard else torch.zeros_like(item_id),
            content_distance=content_distance,
            seed=int(torch.randint(2**62, (1,), generator=draws)),
        )
        return BatchPlan(image_row=image_row, text_id=torch.empty(0, dtype=torch.long), relation=identities)


def without_twins(rows: ManifestTensors, chosen: Tensor) -> Tensor:
    """The chosen rows (N,), but for those whose photo an other of them, that comes earlier, shows byte for byte."""
    codes, photo = torch.unique(rows.photo_id[chosen], return_inverse=True)  # (P,), (N,)
    first = torch.full_like(codes, len(chosen)).scatter_reduce(0, photo, torch.arange(len(chosen)), "amin")
    return chosen[chosen[first[photo]] == chosen]


def _said_of_another(rows: ManifestTensors, chosen: Tensor, drawn: Tensor, *, right: Tensor) -> Tensor:
    """Which of N chosen rows, no two of one photo, have a drawn text that is right for the photo of another of them, as
    only a further row of that photo says: (N,) flags. They would be that photo's negatives.

    Args:
        rows: All rows.
        chosen: Chosen rows (N,).
        drawn: Keys (N,) of their texts in the batch.
        right: Keys (F, N) of all texts that they have themselves.
    """
    others = rows.doubled[torch.isin(rows.photo_id[rows.doubled], rows.photo_id[chosen])]
    if not len(others):
        return torch.zeros_like(drawn, dtype=torch.bool)
    photos, order = rows.photo_id[chosen].sort()
    own = right[:, order][:, torch.searchsorted(photos, rows.photo_id[others])]  # of the chosen row with this photo
    said = rows.text_key[rows.text_id[others]]
    return torch.isin(drawn, said[(said != own).all(0)])


def _equal(code: Tensor) -> Tensor:
    return code[:, None] == code[None]


def check_columns(relation: Relation, dataset: PreparedDataset) -> None:
    """Refuses a dataset that lacks what the relation needs, before any model is built.

    Raises:
        InputError: Naming the missing or empty column.
    """
    manifest = dataset.manifest
    filled = [column for column in manifest.columns if (manifest[column].notna() & (manifest[column] != "")).any()]
    for column in relation.columns:
        if column not in filled:
            raise InputError(
                f"{dataset.root}/manifest.parquet: no column {column!r} with values, needed by "
                f"relation={relation.name}; has {filled}. Use a loss that needs no {column!r}, name another "
                "column where identity or loss.text_fields names it, or re-run prepare.py on a source with it."
            )
