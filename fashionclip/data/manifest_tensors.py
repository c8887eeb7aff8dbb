"""The manifest as the data loader needs it: compact, and shared by all its worker processes instead of copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fashionclip.data.text_fields import texts_of
from fashionclip.errors import InputError
from fashionclip.manifest import SPLITS, PreparedDataset, text_key


def codes_of(values: pd.Series) -> Tensor:
    """(N,) codes that equal values share; -1 where there is none."""
    return torch.from_numpy(pd.factorize(values)[0].astype("int64"))


class PackedStrings(Sequence[str]):
    """Many strings in two tensors. Workers share tensors, where a list of Python strings is copied page by page."""

    def __init__(self, strings: Sequence[str]) -> None:
        encoded = [text.encode() for text in strings]
        self.bytes = torch.frombuffer(bytearray(b"".join(encoded) or b"\0"), dtype=torch.uint8)
        self.ends = torch.tensor([0, *map(len, encoded)]).cumsum(0)  # (N + 1,)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # int only
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which iteration ends
        start, end = self.ends[index : index + 2].tolist()
        return self.bytes[start:end].numpy().tobytes().decode()


@dataclass(frozen=True)
class JudgementTensors:
    """J judgements, those of one row of the manifest side by side.

    Attributes:
        image_row: Rows (J,) of the manifest, ascending.
        text_id: Ids (J,) of the texts.
        label: Labels (J,) as bool, true of a match.
        kind: Positions (J,) in `kinds` of what is wrong; of a match, what is wrong of those it is compared with.
        kinds: Names; that of matches which are compared with all is "match".
        text_only: Scores (J,) of a match by a model that sees only the texts; None where there is none.
    """

    image_row: Tensor
    text_id: Tensor
    label: Tensor
    kind: Tensor
    kinds: tuple[str, ...]
    text_only: Tensor | None

    def of(self, rows: Tensor) -> Tensor:
        """Positions of all judgements of some distinct rows (I,)."""
        first = torch.searchsorted(self.image_row, rows)
        count = torch.searchsorted(self.image_row, rows, right=True) - first
        before = (count.cumsum(0) - count).repeat_interleave(count)
        return first.repeat_interleave(count) + torch.arange(len(before)) - before


class ManifestTensors:
    """All rows of a prepared dataset, with ids as codes that agree between processes.

    Attributes:
        root: Folder that `path` is relative to.
        path: Path of the photo of each of N rows.
        text: T distinct texts, those of judgements among them, and an empty one for each row without a text.
        text_id: Position (N,) in `text` of each row's text; rows without a text do not share one.
        field_text_id: Positions (F, N) in `text` of each row's text in further fields, by `fields`; -1 without one.
        text_key: Codes (T,) that are equal for texts which differ only in case, spaces and punctuation.
        photo_id: Codes (N,), equal for rows whose photos are the same, byte for byte; of a dataset that was prepared
            before there was a column `photo_hash`, each row has its own.
        doubled: Rows (M,) whose photo another row has as well.
        worded: Flags (N,), true of a row with a text. A photo of which only wrong texts are known has none.
        item_id: Code (N,) of each row's product.
        code: Codes (N,) of the values of further columns, by name; that of `text` is `text_key`.
        attributes: Columns of `code` in which products of this dataset may agree, by its dataset.json.
        judgements: Judgements of the dataset; None where none were given.

    Args:
        dataset: Prepared dataset, as read from disk.
        coded: Columns that get codes; those that the manifest lacks are left out.
        fields: Further texts of each row, as in `text_fields.py`.
        judgements: Table of `image_row, text, label, kind`, perhaps `text_only`, from `judgements_of`.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        *,
        coded: Sequence[str] = (),
        fields: Sequence[str] = (),
        judgements: pd.DataFrame | None = None,
    ) -> None:
        manifest = dataset.manifest
        judged = [] if judgements is None else judgements.sort_values("image_row", kind="stable")["text"].tolist()
        further = [text for field in fields for text in texts_of(manifest, field)]
        said = [text or None for text in (*manifest["text"], *judged, *further)]
        text_id, texts = pd.factorize(pd.Series(said, dtype=object))  # -1 of None
        self.root: Path = dataset.root
        self.path = PackedStrings(manifest["path"].tolist())
        self.text_id: Tensor = torch.from_numpy(text_id[: len(manifest)].astype("int64"))
        self.fields = tuple(fields)
        in_fields = text_id[len(manifest) + len(judged) :].astype("int64")
        self.field_text_id: Tensor = torch.from_numpy(in_fields).view(len(fields), len(manifest))
        self.worded: Tensor = self.text_id >= 0
        wordless = int((~self.worded).sum())
        self.text = PackedStrings([*texts, *[""] * wordless])
        self.text_id[~self.worded] = len(texts) + torch.arange(wordless)
        keys = codes_of(pd.Series(list(map(text_key, texts)), dtype=object))
        self.text_key: Tensor = torch.cat([keys, len(texts) + torch.arange(wordless)])
        photos = manifest["photo_hash"] if "photo_hash" in manifest else manifest["path"]
        self.photo_id: Tensor = codes_of(photos)
        self.doubled: Tensor = (self.photo_id.bincount()[self.photo_id] > 1).nonzero()[:, 0]
        self.judgements: JudgementTensors | None = None
        if judgements is not None:
            table = judgements.sort_values("image_row", kind="stable")
            kind, kinds = pd.factorize(table["kind"], sort=True)
            self.judgements = JudgementTensors(
                image_row=torch.from_numpy(table["image_row"].to_numpy("int64").copy()),
                text_id=torch.from_numpy(text_id[len(manifest) : len(manifest) + len(judged)].astype("int64")),
                label=torch.from_numpy((table["label"] == "match").to_numpy("bool").copy()),
                kind=torch.from_numpy(kind.astype("int64")),
                kinds=tuple(map(str, kinds)),
                text_only=torch.tensor(table["text_only"].to_numpy("float32")) if "text_only" in table else None,
            )
        self.item_id: Tensor = codes_of(manifest["item_id"])
        self.split = {
            name: torch.from_numpy((manifest["split"] == name).to_numpy().nonzero()[0])
            for name in SPLITS
            if (manifest["split"] == name).any()
        }
        self.code: dict[str, Tensor] = {}
        self._values: dict[str, list[object]] = {}
        self.attributes: tuple[str, ...] = tuple(dataset.info.get("attributes", ()))
        for column in {*coded, *self.attributes} & set(manifest.columns):
            codes, values = pd.factorize(manifest[column])
            self.code[column], self._values[column] = torch.from_numpy(codes.astype("int64")), list(values)
        if "text" in self.code:
            self.code["text"] = self.text_key[self.text_id]

    def of_split(self, split: str) -> Tensor:
        """Row numbers of a split.

        Raises:
            InputError: The split has none.
        """
        if split not in self.split:
            raise InputError(
                f"{self.root}: split {split!r} has no rows; has { ({k: len(v) for k, v in self.split.items()}) }. "
                "Prepare more products, or with other dataset.ratios (of df2: dataset.dev_split or splits), or measure "
                "another one: evaluate.py split=val."
            )
        return self.split[split]

    def texts_of(self, chosen: Tensor, *, fields: Sequence[str]) -> Tensor:
        """(1 + F, N) positions in `text` of the texts of some rows (N,), their own and in F fields; -1 without one."""
        own = torch.where(self.worded[chosen], self.text_id[chosen], -1)
        return torch.cat([own[None], self.field_text_id[[self.fields.index(name) for name in fields]][:, chosen]])

    def code_of(self, column: str, value: str) -> int:
        """The code of a value in a column of `code`; -1 where no row has it."""
        return self._values[column].index(value) if value in self._values[column] else -1

    def __len__(self) -> int:
        return len(self.item_id)
