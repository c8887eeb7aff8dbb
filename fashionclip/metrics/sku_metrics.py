"""Measures of visual search: photos of users, or texts, against the products (SKUs) of a catalogue."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fashionclip.metrics.gathered import first_of_each
from fashionclip.metrics.ranking import rank_relevant, relevant_pairs, strict_ceiling, with_fellows
from fashionclip.metrics.retrieval_metrics import CEILING_AT, Embedded
from fashionclip.metrics.samples import Found, Functions, Search, measured


class SkuScores:
    """Measures an evaluation pass over photos of queries and of a catalogue, and their texts where they are embedded.

    - `query_to_sku/...`: a SKU scores as its best photo. A photo filed under several SKUs, the same byte for byte,
      belongs to each of them: all are right for a query where one is.
    - `query_to_sku_mean/...`: a SKU scores by the normalised mean of its photos' embeddings, one vector a SKU.
    - `text_to_sku/...`: the same from a text, for which every SKU is right that has it. `texts` is the number of
      different texts, `strict_ceiling@k` the highest recall if each SKU had to be found by its own text.

    Args:
        item_id: (R,) code of the SKU in each row of the manifest.
        text_id: (R,) id of the text of each row, -1 without one.
        is_query: (R,) bool, whether a row is a query; the others are the catalogue.
        functions: Functions of `Ranks` with one value a query, by name, such as "recall@10".
        text_key: (R,) code that the spellings of a text share, -1 without a text; None: each text has its own.
        photo_id: (R,) code that photos share which are the same byte for byte; None: each row has its own.
        group_id: (R,) code of rows that are not independent of each other; None: `item_id`.
        suffix: End of the names of the three directions; "_seen" makes `query_to_sku_seen/...`.
    """

    def __init__(
        self,
        *,
        item_id: Tensor,
        text_id: Tensor,
        is_query: Tensor,
        functions: Functions,
        text_key: Tensor | None = None,
        photo_id: Tensor | None = None,
        group_id: Tensor | None = None,
        suffix: str = "",
    ) -> None:
        self.item_id, self.text_id, self.is_query = item_id, text_id, is_query
        self.text_key = text_id if text_key is None else text_key
        self.photo_id = torch.arange(len(item_id)) if photo_id is None else photo_id
        self.group_id = item_id if group_id is None else group_id
        self.functions = dict(functions)
        self.suffix = suffix

    def __call__(self, seen: Embedded) -> Found:
        """Samples of queries and of texts; none where the pass has no query or no catalogue."""
        row, image = seen.image_row, seen.image
        device = image.device
        codes = (self.is_query, self.item_id, self.photo_id, self.group_id, self.text_key)
        is_query, item_id, photo_id, group, text_key = (code.to(device)[row] for code in codes)
        if is_query.all() or not is_query.any():
            return Found([], {})
        query, photo = image[is_query], image[~is_query]
        skus, sku = item_id[~is_query].unique(return_inverse=True)  # (S,), (G,)
        keys = torch.stack([item_id, photo_id])
        pairs = relevant_pairs(keys[:, is_query].unbind(), keys[:, ~is_query].unbind())  # of queries and photos
        pairs = with_fellows(pairs, photo_id[~is_query])
        pairs = with_fellows(pairs.flip(1), photo_id[is_query]).flip(1)
        pairs = seen.asked(pairs, row[is_query])
        of_photos = Search(query, photo, pairs, row[is_query], row[~is_query], by_text=False)
        pairs = torch.stack([pairs[:, 0], sku[pairs[:, 1]]], dim=1)  # (P, 2), of queries and SKUs
        ranks = rank_relevant(query, photo, pairs, owner=sku)
        mean = torch.zeros(len(skus), image.shape[1], device=device).index_add_(0, sku, photo)
        mean = F.normalize(mean, dim=1)  # (S, D)
        photo_of_sku = row[~is_query][first_of_each(sku)[1]]  # (S,)
        by_photo, by_mean, by_text = (
            f"{way}{self.suffix}" for way in ("query_to_sku", "query_to_sku_mean", "text_to_sku")
        )
        of_query = group[is_query]
        of_means = Search(query, mean, pairs.unique(dim=0), row[is_query], photo_of_sku, by_text=False)
        samples = [
            measured(ranks, self.functions, direction=by_photo, group=of_query, search=of_photos),
            measured(of_means.ranks(), self.functions, direction=by_mean, group=of_query, search=of_means),
        ]
        figures = {f"{by_photo}/skus": torch.tensor(float(len(skus)))}
        if len(seen.text):
            own = relevant_pairs([seen.text_id], [self.text_id.to(device)[row]])  # of texts and photos
            group_of_text = group[own[first_of_each(own[:, 0])[1], 1]]
            own = with_fellows(own, text_key)
            of_text = _skus_of(own, item_id, skus)
            same = _skus_of(with_fellows(with_fellows(own, item_id), photo_id), item_id, skus)
            same = seen.asked(same, seen.text_id)
            of_texts = Search(seen.text, mean, same, seen.text_id, photo_of_sku, by_text=True)
            ranks = of_texts.ranks()
            samples.append(measured(ranks, self.functions, direction=by_text, group=group_of_text, search=of_texts))
            figures[f"{by_text}/texts"] = torch.tensor(float(len(of_text[:, 0].unique())))
            figures |= {f"{by_text}/strict_ceiling@{k}": strict_ceiling(of_text[:, 0], k=k) for k in CEILING_AT}
        return Found(samples, figures)


def _skus_of(pairs: Tensor, item_id: Tensor, skus: Tensor) -> Tensor:
    """(P, 2) pairs of texts and places in `skus`, from (M, 2) pairs of texts and photos; other items are left out."""
    item = item_id[pairs[:, 1]]
    place = torch.searchsorted(skus, item).clamp(max=len(skus) - 1)
    return torch.stack([pairs[:, 0], place], dim=1)[skus[place] == item].unique(dim=0)
