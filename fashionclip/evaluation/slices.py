"""Parts of a direction: its queries of one category, one colour, one degree of occlusion and so on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from fashionclip.metrics.samples import Sample

SLICED_BY = ("category", "colour", "gender", "domain", "occlusion", "viewpoint")  # attributes, where a dataset has them
SEVERAL = "(several)"  # value of a text that is of products with different ones
UNKNOWN = "(unknown)"


def attributes_of(sample: Sample, manifest: pd.DataFrame) -> pd.DataFrame:
    """The attributes of each of A queries, (A, F), as text; no columns where they ask by texts of a task.

    A photo has its own; a text of the manifest those of the products that it is right for, where these agree.

    Args:
        sample: Measures of queries.
        manifest: Manifest of the dataset that they are of.
    """
    search = sample.search
    names = [name for name in SLICED_BY if name in manifest]
    if search is None or (search.by_text and search.texts is not None):
        return pd.DataFrame(index=range(len(sample.place)))
    place = sample.place.cpu().numpy()
    if not search.by_text:
        rows = search.asked.cpu().numpy()[place]
        return _as_text(manifest[names].iloc[rows]).reset_index(drop=True)
    query, right = search.relevant.cpu().numpy().T
    values = _as_text(manifest[names].iloc[search.shown.cpu().numpy()[right]]).reset_index(drop=True)
    by_query = values.groupby(query, sort=True)
    agreed = by_query.first().where(by_query.nunique() == 1, SEVERAL)
    return agreed.reindex(place).reset_index(drop=True)


def sliced(sample: Sample, attributes: pd.DataFrame) -> list[Sample]:
    """A sample for each value of each attribute that not all queries share, named `<direction>/<attribute>/<value>`."""
    parts = []
    for name in attributes:
        values = attributes[name].to_numpy(dtype=object)
        codes, found = pd.factorize(values, sort=True)
        if len(found) < 2:
            continue
        for code, value in enumerate(found):
            chosen = torch.from_numpy(np.flatnonzero(codes == code)).to(sample.place.device)
            parts.append(sample.of(chosen, direction=f"{sample.direction}/{name}/{value}"))
    return parts


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(object).where(table.notna(), UNKNOWN).astype(str).replace("", UNKNOWN)
