"""Visual search as a shop's user sees it: a photo of their own, or a text, against the catalogue's products (SKUs)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fashionclip.metrics.gathered import first_of_each
from fashionclip.metrics.ranking import (
    TIE,
    Ranks,
    check_finite,
    full_float32,
    measured,
    rank_relevant,
    relevant_pairs,
    strict_ceiling,
    with_fellows,
)
from fashionclip.metrics.retrieval_metrics import CEILING_AT, Embedded


@torch.no_grad()
def rank_sku(query: Tensor, photo: Tensor, sku: Tensor, right: Tensor, *, block: int = 256) -> Ranks:
    """Ranks each query's SKU, where a SKU scores as its best photo does.

    Ties count against the model, scores are float32 whatever the precision set. Memory grows with block x G.

    Args:
        query: (Q, D) unit norm.
        photo: (G, D) unit norm, of the catalogue.
        sku: (G,) long, which SKU each photo shows, from 0.
        right: (Q,) long, each query's SKU; one without a photo in the catalogue is no query.
        block: Number of queries scored at a time.

    Raises:
        ValueError: An embedding is not finite.

    >>> photo = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])  # SKU 1 has two photos, the second is nearer
    >>> rank_sku(torch.tensor([[0.7, 0.714]]), photo, torch.tensor([0, 1, 1]), torch.tensor([0])).rank
    tensor([2])
    """
    query, photo = query.float(), photo.float()
    check_finite(query=query, photo=photo)
    asked = torch.isin(right, sku).nonzero()[:, 0]
    rank = torch.empty(len(asked), dtype=torch.long, device=query.device)
    skus = int(sku.max()) + 1 if len(sku) else 0
    for start in range(0, len(asked), block):
        some = asked[start : start + block]
        with full_float32(query.device):
            scores = query[some] @ photo.T  # (B, G)
        best = scores.new_full((len(some), skus), -torch.inf)
        best = best.scatter_reduce(1, sku.expand(len(some), -1), scores, "amax")  # (B, S)
        limit = best.gather(1, right[some, None]) - TIE
        rank[start : start + len(some)] = (best >= limit).sum(1)
    return Ranks(rank=rank, query=asked, queries=len(query))


class SkuScores:
    """Measures a pass of queries' and a catalogue's photos, and of their texts where texts were embedded.

    - `query_to_sku/...`: a SKU scores as its best photo.
    - `query_to_sku_mean/...`: a SKU scores by the normalised mean of its photos' embeddings, one vector a SKU.
    - `text_to_sku/...`: the same from a text, for which every SKU is right that has it. `texts` counts different ones;
      `strict_ceiling@k` is the highest recall if each SKU had to be found by its own text: few texts, little possible.
    - `query_to_sku/<attribute>/<value>/...`: of the queries of one category, one degree of occlusion and so on alone,
      still against the whole catalogue.

    Args:
        item_id: (R,) SKU of each row of the manifest.
        text_id: (R,) text of each row; -1 of a row without.
        is_query: (R,) bool; the other rows are the catalogue.
        functions: Functions of `Ranks` by name, such as "recall@10".
        text_key: (R,) code that spellings of one text share, -1 of a row without; None: each text has its own.
        group_id: (R,) code that rows share which are not independent of each other; None: those of one SKU.
        slices: Values (R,) of each row by attribute; each value that a query has is measured by itself.
        suffix: End of the three directions' names, as "_seen" makes `query_to_sku_seen/...`.
    """

    def __init__(
        self,
        *,
        item_id: Tensor,
        text_id: Tensor,
        is_query: Tensor,
        functions: Mapping[str, Callable[[Ranks], Tensor]],
        slices: Mapping[str, list[str]],
        text_key: Tensor | None = None,
        group_id: Tensor | None = None,
        suffix: str = "",
    ) -> None:
        self.item_id, self.text_id, self.is_query = item_id, text_id, is_query
        self.text_key = text_id if text_key is None else text_key
        self.group_id = item_id if group_id is None else group_id
        self.functions = dict(functions)
        self.slices = {name: _coded(values) for name, values in slices.items()}
        self.suffix = suffix

    def __call__(self, seen: Embedded) -> dict[str, Tensor]:
        """Scores by name; none where the pass saw no query or no catalogue."""
        row, image = seen.image_row, seen.image
        device = image.device
        is_query, item_id, group = (code.to(device)[row] for code in (self.is_query, self.item_id, self.group_id))
        if is_query.all() or not is_query.any():
            return {}
        query, photo = image[is_query], image[~is_query]
        codes, sku = item_id[~is_query].unique(return_inverse=True)  # (S,), (G,)
        right = torch.searchsorted(codes, item_id[is_query]).clamp(max=len(codes) - 1)
        right = torch.where(codes[right] == item_id[is_query], right, len(codes))  # (Q,), S where it has none
        ranks = rank_sku(query, photo, sku, right)
        mean = torch.zeros(len(codes), image.shape[1], device=device).index_add_(0, sku, photo)
        mean = F.normalize(mean, dim=1)  # (S, D)
        pairs = torch.stack([torch.arange(len(query), device=device), right], dim=1)[right < len(codes)]
        by_photo, by_mean, by_text = (
            f"{way}{self.suffix}" for way in ("query_to_sku", "query_to_sku_mean", "text_to_sku")
        )
        of_query = group[is_query]
        values = measured(ranks, self.functions, direction=by_photo, group=of_query)
        values[f"{by_photo}/skus"] = torch.tensor(float(len(codes)))
        values |= measured(rank_relevant(query, mean, pairs), self.functions, direction=by_mean, group=of_query)
        values |= self._sliced(ranks, row[is_query], of_query, by_photo)
        if len(seen.text):
            own = relevant_pairs([seen.text_id], [self.text_id.to(device)[row]])  # of texts and photos
            group_of_text = group[own[first_of_each(own[:, 0])[1], 1]]
            text_sku = with_fellows(own, self.text_key.to(device)[row])
            owner = torch.searchsorted(codes, item_id[text_sku[:, 1]]).clamp(max=len(codes) - 1)
            shown = codes[owner] == item_id[text_sku[:, 1]]
            of_text = torch.stack([text_sku[shown, 0], owner[shown]], dim=1).unique(dim=0)
            ranks = rank_relevant(seen.text, mean, of_text)
            values |= measured(ranks, self.functions, direction=by_text, group=group_of_text)
            values[f"{by_text}/texts"] = torch.tensor(float(len(of_text[:, 0].unique())))
            values |= {f"{by_text}/strict_ceiling@{k}": strict_ceiling(of_text[:, 0], k=k) for k in CEILING_AT}
        return values

    def _sliced(self, ranks: Ranks, row: Tensor, group: Tensor, direction: str) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for attribute, (code, names) in self.slices.items():
            of_query = code.to(row.device)[row][ranks.query]
            for value in of_query.unique().tolist():
                chosen = of_query == value
                part = Ranks(rank=ranks.rank[chosen], query=ranks.query[chosen], queries=int(chosen.sum()))
                of_value = f"{direction}/{attribute}/{names[value]}"
                values |= measured(part, self.functions, direction=of_value, group=group)
        return values


def _coded(values: list[str]) -> tuple[Tensor, list[str]]:
    names, code = np.unique(values, return_inverse=True)
    return torch.from_numpy(code), names.tolist()
