"""Collects the embeddings of an evaluation pass, over all processes, and ranks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchmetrics import Metric

from fashionclip.metrics.gathered import first_of_each, gather_uneven, joined
from fashionclip.metrics.matching import clip_score, matching_hits, spread
from fashionclip.metrics.ranking import relevant_pairs, strict_ceiling, with_fellows
from fashionclip.metrics.samples import Found, Functions, Sample, Search, figures_of, measured

CEILING_AT = (1, 10)
EXAMPLES, NEAREST = 6, 5


@dataclass(frozen=True)
class Embedded:
    """The embeddings of an evaluation pass, of unit norm.

    Attributes:
        image_row: (I,) rows of the manifest, ascending.
        image: (I, D) embeddings of their photos.
        text_id: (T,) ids of texts, ascending; none where only photos are embedded.
        text: (T, D) embeddings of the texts.
        most: Number of queries of a direction that are ranked at most; None: all.
        seed: Seed by which they are chosen.
    """

    image_row: Tensor
    image: Tensor
    text_id: Tensor
    text: Tensor
    most: int | None = None
    seed: int = 0

    def of(self, chosen: Tensor, *, text_of_row: Tensor) -> Embedded:
        """The photos that are `chosen`, (I,) bool, with the texts that `text_of_row`, (R,) or (F, R),
        gives them."""
        row = self.image_row[chosen]
        own = torch.isin(self.text_id, text_of_row.to(row.device)[..., row])
        return replace(self, image_row=row, image=self.image[chosen], text_id=self.text_id[own], text=self.text[own])

    def asked(self, right: Tensor, key: Tensor) -> Tensor:
        """The right answers of those queries that are ranked: of the same ones whenever the same are embedded.

        Args:
            right: (P, 2) indices of query and gallery.
            key: (Q,) manifest row, or id of a text, of each query.
        """
        query = right[:, 0].unique()
        if self.most is None or len(query) <= self.most:
            return right
        draw = torch.randperm(int(key.max()) + 1, generator=torch.Generator().manual_seed(self.seed)).to(key.device)
        chosen = query[draw[key[query]].argsort()[: self.most]]
        return right[torch.isin(right[:, 0], chosen)]


Measure = Callable[[Embedded], Found]


@dataclass(frozen=True)
class Nearest:
    """Some (E,) ids of texts, evenly spread, and the (E, 5) manifest rows of the photos nearest to them."""

    text_id: Tensor
    image_row: Tensor


class RetrievalMetrics(Metric):
    """Ranking metrics in each direction, over all photos and distinct texts since the last reset.

    - Right for a text are the photos of every product that has the text in any spelling, and their doubles: photos that
      are the same byte for byte.
    - Right for a photo are the texts for which it is right.
    - Right for a photo among photos are those that agree with it in one of the `alike` codes, their doubles, and what
      is right for a double of the photo. The photo itself and its doubles are left out.

    A row that comes twice, as a distributed sampler pads, counts once.

    Args:
        item_id: (R,) code of the product in each row of the manifest.
        text_id: (R,) id of the text of each row; -1 without one, when the photo is found by the texts of its product.
        functions: Functions of `Ranks` with one value a query, by name, such as "recall@10".
        text_key: (R,) code that the spellings of a text share, -1 without a text; None: each text has its own.
        photo_id: (R,) code that doubles of a photo share; None: each row has its own.
        group_id: (R,) code of rows that are not independent of each other; None: `item_id`.
        alike: Codes (R,), by which photos are right for each other; None: `item_id` and `text_key`.
        texts: Whether texts are embedded too; if not, photos are only ranked among photos.
        fields: Ids and codes (R,), such as `text_id` and `text_key`, of further texts of each row, such as its
            category, by their name; -1 without one.
        also: Further measures of the photos and texts.
        apart: Rows of the manifest that are measured apart, by `of_apart` alone, such as those that training has seen.
        of_apart: Measures of the rows apart.
        val_queries: Number of queries of a direction that a validation ranks at most, against all photos or texts;
            None: all.
        seed: Seed by which they are chosen.

    Attributes:
        validating: Whether the pass is a validation.
        nearest: Examples of the last `compute`, to look at.
        everything: Photos and texts of the last `compute`, with those apart and texts of no row.
        embedded: Photos and texts of the last `compute`, without those apart.
        samples: Measures of each query of the last `compute`.
    """

    full_state_update = False
    image: list[Tensor]
    image_row: list[Tensor]
    text: list[Tensor]
    text_seen: list[Tensor]
    nearest: Nearest
    everything: Embedded
    embedded: Embedded
    samples: list[Sample]

    def __init__(
        self,
        *,
        item_id: Tensor,
        text_id: Tensor,
        functions: Functions,
        text_key: Tensor | None = None,
        photo_id: Tensor | None = None,
        group_id: Tensor | None = None,
        alike: Sequence[Tensor] | None = None,
        texts: bool = True,
        fields: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        also: Sequence[Measure] = (),
        apart: Tensor | None = None,
        of_apart: Sequence[Measure] = (),
        val_queries: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dist_sync_fn=gather_uneven)
        self.item_id, self.text_id = item_id, text_id
        self.functions = dict(functions)
        self.text_key = text_id if text_key is None else text_key
        self.photo_id = torch.arange(len(item_id)) if photo_id is None else photo_id
        self.group_id = item_id if group_id is None else group_id
        self.alike = (item_id, self.text_key) if alike is None else tuple(alike)
        self.fields = dict(fields or {})
        self.texts_of_row = torch.stack([text_id, *(ids for ids, _ in self.fields.values())])  # (1 + F, R)
        self.texts, self.also, self.of_apart = texts, tuple(also), tuple(of_apart)
        self.apart = torch.empty(0, dtype=torch.long) if apart is None else apart
        self.val_queries, self.seed, self.validating = val_queries, seed, False
        for state in ("image", "image_row", "text", "text_seen"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, image: Tensor, image_row: Tensor, text: Tensor, text_id: Tensor) -> None:
        """Adds (I, D) embeddings of (I,) manifest rows and (T, D) of (T,) texts; texts of no row are not ranked."""
        self.image.append(image.detach().float())
        self.image_row.append(image_row)
        self.text.append(text.detach().float())
        self.text_seen.append(text_id)

    def compute(self) -> dict[str, Tensor]:
        """`<direction>/<function>`, `spread`; with texts also `strict_ceiling@k`, `clip_score`, `matching_accuracy`.

        The direction of further texts is `text_to_image/<field>`: right are all photos that have the text in it.

        Raises:
            ValueError: There is no photo since the last reset.
        """
        row, of_row = first_of_each(joined(self.image_row, dtype=torch.long))  # (I,) each
        if not len(row):
            raise ValueError("metrics: no embeddings since the last reset. Call update() before compute().")
        seen, of_seen = first_of_each(joined(self.text_seen, dtype=torch.long))  # (T,) each
        image, text = (joined(state, dtype=torch.float32) for state in (self.image, self.text))
        most = self.val_queries if self.validating else None
        self.everything = both = Embedded(row, image[of_row], seen, text[of_seen], most=most, seed=self.seed)
        apart = torch.isin(row, self.apart.to(row.device))  # (I,)
        self.embedded = both.of(~apart, text_of_row=self.text_id)
        row, image = self.embedded.image_row, self.embedded.image  # (I,), (I, D)
        seen, text = self.embedded.text_id, self.embedded.text  # (T,), (T, D)
        alike = [key.to(row.device)[row] for key in self.alike]
        photo_id, group = self.photo_id.to(row.device)[row], self.group_id.to(row.device)[row]  # (I,) each
        self.nearest = Nearest(seen[:0].cpu(), row[:0, None].cpu())
        found = [self._with_texts(self.embedded)] if self.texts and len(seen) else []
        same = relevant_pairs([photo_id], [photo_id])  # each photo and itself among them
        right = with_fellows(relevant_pairs(alike, alike), photo_id)  # for a photo, and for its doubles
        right = with_fellows(right.flip(1), photo_id).flip(1)
        right = self.embedded.asked(right[photo_id[right[:, 0]] != photo_id[right[:, 1]]], row)
        search = Search(image, image, right, row, row, by_text=False, exclude=same)
        among = measured(search.ranks(), self.functions, direction="image_to_image", group=group, search=search)
        every = torch.arange(len(row), device=row.device)
        found.append(Found([among, Sample("", {"spread": spread(image)}, group, every)], {}))
        found.append(Found(self._by_field(both.of(~apart, text_of_row=self.texts_of_row)), {}))
        found += [measure(self.embedded) for measure in self.also]
        found += [measure(both.of(apart, text_of_row=self.text_id)) for measure in self.of_apart]
        self.samples = [sample for part in found for sample in part.samples]
        figures = figures_of(self.samples)
        for part in found:
            figures |= part.figures
        return figures

    def _by_field(self, seen: Embedded) -> list[Sample]:
        samples = []
        row = seen.image_row
        photo_id = self.photo_id.to(row.device)[row]  # (I,)
        for name, codes in self.fields.items():
            text_id, key = (code.to(row.device)[row] for code in codes)  # (I,) each
            asked = torch.isin(seen.text_id, text_id)  # (T,)
            if not asked.any():
                continue
            right = with_fellows(relevant_pairs([seen.text_id[asked]], [text_id]), key)
            right = seen.asked(with_fellows(right, photo_id), seen.text_id[asked])
            search = Search(seen.text[asked], seen.image, right, seen.text_id[asked], row, by_text=True)
            each = torch.arange(int(asked.sum()), device=row.device)
            of_field = f"text_to_image/{name}"
            samples.append(measured(search.ranks(), self.functions, direction=of_field, group=each, search=search))
        return samples

    def _with_texts(self, embedded: Embedded) -> Found:
        row, image, seen, text = embedded.image_row, embedded.image, embedded.text_id, embedded.text
        codes = (self.item_id, self.text_id, self.text_key, self.photo_id, self.group_id)
        item_id, text_id, text_key, photo_id, group = (code.to(row.device)[row] for code in codes)  # (I,) each
        own_text = torch.searchsorted(seen, text_id)  # (I,) place of each photo's text among `seen`
        worded = text_id >= 0  # (I,)
        some = torch.linspace(0, len(seen) - 1, min(EXAMPLES, len(seen)), device=row.device).long()
        closest = (text[some] @ image.T).topk(min(NEAREST, len(row))).indices
        self.nearest = Nearest(text_id=seen[some].cpu(), image_row=row[closest].cpu())
        own = relevant_pairs([seen], [text_id])  # (P, 2), of texts and photos
        right = with_fellows(with_fellows(with_fellows(own, text_key), item_id), photo_id)
        group_of_text = group[own[first_of_each(own[:, 0])[1], 1]]  # (T,) that of its first photo
        product = torch.stack([item_id, text_key, _joined_by(photo_id, item_id)], dim=1)[worded].unique(dim=0)
        ceilings = {
            f"text_to_image/strict_ceiling@{k}": strict_ceiling(product[:, 1], product[:, 2], k=k) for k in CEILING_AT
        }
        by_text = Search(text, image, embedded.asked(right, seen), seen, row, by_text=True)
        right = embedded.asked(right.flip(1), row)
        by_photo = Search(image, text, right, row, seen, by_text=False, among_texts=True)
        samples = [
            measured(search.ranks(), self.functions, direction=direction, group=of_query, search=search)
            for direction, search, of_query in (
                ("text_to_image", by_text, group_of_text),
                ("image_to_text", by_photo, group),
            )
        ]
        pairs = image[worded], text[own_text[worded]]
        place = worded.nonzero()[:, 0]
        samples.append(Sample("", {"clip_score": clip_score(*pairs)}, group[worded], place))
        hit, told = matching_hits(*pairs, [key[worded] for key in (item_id, text_key, photo_id)])
        samples.append(Sample("", {"matching_accuracy": hit[told].float()}, group[worded][told], place[told]))
        return Found(samples, ceilings)


def _joined_by(photo_id: Tensor, item_id: Tensor) -> Tensor:
    """(I,) codes that products share which have a photo in common, directly or through other products."""
    joined = item_id
    while True:
        before = joined
        for code in (photo_id, item_id):
            least = joined.new_full((int(code.max()) + 1,), int(joined.max()))
            joined = least.scatter_reduce(0, code, joined, "amin")[code]
        if joined.equal(before):
            return joined
