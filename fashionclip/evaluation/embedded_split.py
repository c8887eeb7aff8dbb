"""The photos of a split with their embeddings and what the manifest says of them: what a task searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from fashionclip.data.manifest_tensors import codes_of
from fashionclip.data.text_fields import columns_in, texts_of
from fashionclip.errors import InputError

IMAGE = "image"  # name of the photo among the fields of a document


class TaskLeftOut(InputError):
    """A dataset lacks what a task measures; the message says what."""


@dataclass
class EmbeddedSplit:
    """I photos of a split.

    Attributes:
        manifest: Rows of the manifest, one a photo, numbered from 0.
        row: (I,) their numbers in the whole manifest.
        image: (I, D) embeddings of unit norm.
        encode: Function from texts to (T, D) embeddings of unit norm.
        known: (D,) embeddings of texts that are encoded already, by text.
    """

    manifest: pd.DataFrame
    row: Tensor
    image: Tensor
    encode: Callable[[Sequence[str]], Tensor]
    known: dict[str, Tensor] = field(default_factory=dict)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """(T, D) embeddings of texts, each of which is encoded once, however many tasks ask for it."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known |= dict(zip(new, self.encode(new).to(self.image), strict=True))
        return torch.stack([self.known[text] for text in texts]) if texts else self.image[:0]

    def prompts(self, values: Sequence[str], templates: Sequence[str]) -> Tensor:
        """(V, D) embeddings of values, each the normalised mean of those of its prompts.

        Args:
            values: Values of an attribute, such as "Dresses".
            templates: Prompts with a place for the value, such as "a photo of {}".

        Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", 3.1.4.
        """
        each = [self.texts([template.replace("{}", value) for value in values]) for template in templates]
        return F.normalize(torch.stack(each).mean(0), dim=1)

    def field(self, name: str) -> np.ndarray:
        """(I,) text of each photo in a column, or in several joined by "+"; "" where it has none.

        Raises:
            TaskLeftOut: The dataset lacks the column.
        """
        missing = [column for column in columns_in(name) if column not in self.manifest]
        if missing:
            raise TaskLeftOut(f"the dataset has no column {', '.join(missing)}")
        return np.array(texts_of(self.manifest, name), dtype=object)

    def documents(self, weights: Mapping[str, float]) -> Tensor:
        """(I, D) embeddings of products: the normalised weighted sum of those of their fields.

        Args:
            weights: Weights of fields, each "image" or a column; a field that a product lacks weighs nothing, and each
                product has one.

        Source: Zhu et al. 2024, "Generalized Contrastive Learning for Multi-Modal Retrieval and Ranking", section 3.
        """
        total = torch.zeros_like(self.image)
        for name, weight in weights.items():
            if name == IMAGE:
                total += weight * self.image
                continue
            texts = self.field(name)
            codes, values = pd.factorize(texts)
            known = torch.from_numpy(np.array([bool(value) for value in values])).to(self.image.device)
            embedded = self.texts(list(values)) * known[:, None]
            total += weight * embedded[torch.from_numpy(codes).to(self.image.device)]
        return F.normalize(total, dim=1)

    def catalogue(self, documents: Mapping[str, float]) -> tuple[EmbeddedSplit, dict[str, str]]:
        """The photos of shops, where there are some of users beside them, else all; without those that lack a document.

        Args:
            documents: Weights of fields, as `documents` takes them.

        Returns:
            These photos; and how many are left out because they lack every field, and why.

        Raises:
            TaskLeftOut: The dataset lacks a column, or all lack every field.
        """
        of_shop = (self.manifest["domain"] == "catalog").to_numpy()
        shop = self._of(of_shop) if of_shop.any() else self
        if IMAGE in documents:
            return shop, {}
        has = np.any([shop.field(name) != "" for name in documents], axis=0)
        none = f"nothing in {' or '.join(documents)}"
        if not has.any():
            raise TaskLeftOut(f"products have {none}")
        return shop._of(has), {} if has.all() else {f"{(~has).sum()} of {len(has)} photos": f"they have {none}"}

    def _of(self, chosen: np.ndarray) -> EmbeddedSplit:
        place = torch.from_numpy(np.flatnonzero(chosen)).to(self.image.device)
        manifest = self.manifest[chosen].reset_index(drop=True)
        return EmbeddedSplit(manifest, self.row[place], self.image[place], self.encode, self.known)

    @property
    def group(self) -> Tensor:
        """(I,) codes of photos that are not independent of each other."""
        return self.codes(self.manifest["group_id"])

    @property
    def double(self) -> Tensor:
        """(I,) codes that photos share which are the same byte for byte."""
        return self.codes(self.manifest["photo_hash" if "photo_hash" in self.manifest else "path"])

    def codes(self, values: pd.Series) -> Tensor:
        """(I,) codes that photos with equal values share; -1 where there is none."""
        return codes_of(values).to(self.image.device)


def check_columns(key: str, columns: object) -> None:
    """Refuses what is no list of columns, each one or several joined by "+".

    Args:
        key: Name of the setting, for the message.
        columns: What was given.

    Raises:
        ValueError: Naming the setting.
    """
    given = columns if isinstance(columns, list | tuple) else ()
    if not given or not all(isinstance(column, str) and all(columns_in(column)) for column in given):
        raise ValueError(f"{key}={columns}: expected columns, each with a name.")


def check_templates(templates: object) -> None:
    """Refuses what is no list of prompts with a place for a value.

    Raises:
        ValueError: Naming them.
    """
    if not isinstance(templates, list | tuple) or not templates or not all("{}" in str(one) for one in templates):
        raise ValueError(
            f"templates={templates}: expected a list of prompts, each with {{}} in it: ['a photo of {{}}']."
        )


def check_most(max_queries: int | None) -> None:
    """Refuses a number of queries that leaves none.

    Raises:
        ValueError: Naming it.
    """
    if max_queries is not None and max_queries < 1:
        raise ValueError(f"max_queries={max_queries}: expected 1 or more, or null for all.")


def drawn(count: int, most: int | None, *, seed: int = 0) -> Tensor:
    """At most so many of `count` places, ascending: a fixed random choice."""
    if most is None or count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values
