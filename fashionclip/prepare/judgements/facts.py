"""What the checks of judgements look at: one row a judgement, and one a split, each with the facts that rules judge."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from fashionclip.images import UnreadableImageError, difference_hash, load_image
from fashionclip.manifest import LABELS, SPLITS, joined_groups, text_key
from fashionclip.parallel import on_all_cores
from fashionclip.prepare.judgements.read_csv import REQUIRED
from fashionclip.prepare.near_duplicates import near_pairs
from fashionclip.tables.photo_names import locate

SPECIAL_TOKENS = 2  # start and end of text
MOST_TOKENS_A_BYTE = 4  # some letters are taken apart into several
OTHER = {"match": "mismatch", "mismatch": "match"}


class Look(NamedTuple):
    """A photo as it was decoded: its shorter side in pixels, hashes of bytes and picture, or why it could not be."""

    side: int = 0
    digest: str = ""
    picture: str = ""
    image_error: str = ""


class Place(NamedTuple):
    """Where a path leads: the file, its name in the dataset, whether it lies in the root, and whether it is there."""

    photo_file: Path | None = None
    key: str = ""
    inside: bool = True
    found: bool = True


def photo_facts(paths: Sequence[str], *, root: Path, allow_outside: bool, workers: int | None) -> pd.DataFrame:
    """Finds the photos that a table names, and decodes them in full, on all cores.

    Args:
        paths: Distinct paths of the table.
        root: Folder that they begin at.
        allow_outside: Whether photos may lie elsewhere; if not, those are not looked at.
        workers: Number of processes, by default one a core.

    Returns:
        The fields of `Place` and `Look` by path; of the path "", nothing wrong.
    """
    places = {"": Place()}
    for path in filter(None, paths):
        where = locate(path, root=root)
        inside = where.inside or allow_outside
        places[path] = Place(where.file, where.key, inside, not inside or os.path.isfile(where.file))
    files = sorted({place.photo_file for place in places.values() if place.photo_file and place.inside and place.found})
    looks = on_all_cores(_look, files, workers=workers, fewest=64, chunksize=16)
    seen = dict(zip(files, tqdm(looks, total=len(files), desc="checking photos", unit="photo"), strict=True))
    facts = [
        (*place, *(seen.get(place.photo_file, Look()) if place.photo_file else Look())) for place in places.values()
    ]
    return pd.DataFrame(facts, index=list(places), columns=[*Place._fields, *Look._fields])


def _look(file: Path) -> Look:
    try:
        image = load_image(file)
    except UnreadableImageError as error:
        return Look(image_error=str(error))
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    return Look(side=min(image.size), digest=digest, picture=difference_hash(image))


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of a text, those of start and end among them, without padding.

    Args:
        tokenizer: open_clip's own, which has `encode`; or one that wraps another of transformers and knows it as
            `tokenizer`. The latter is called, since it cleans texts before, and pads with an id that may be any, even
            that of the end of a text (SigLIP).
        text: Text of any length.
    """
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + SPECIAL_TOKENS
    inner = tokenizer.tokenizer
    tokens = tokenizer([text], context_length=MOST_TOKENS_A_BYTE * len(text.encode()) + 8)  # (1, L), long enough
    return int((tokens != inner.pad_token_id).sum()) + (inner.pad_token_id == inner.eos_token_id)


def row_facts(rows: pd.DataFrame, photos: pd.DataFrame, *, tokenizer: Any) -> pd.DataFrame:
    """Adds to the rows of a table what can be said of each.

    Args:
        rows: Judgements from `read_tables`.
        photos: Facts from `photo_facts`.
        tokenizer: Tokenizer of the model, see `count_tokens`; None: tokens are not counted.

    Returns:
        The rows with the facts of their photos, and with `where` ("train.csv:3"), `photo` (what its photo is known by:
        bytes, or else place), `empty` (names of empty cells), `words` and `tokens` (0 of an empty text), and
        `duplicate_of`, `contradicts`, `photo_before`, `product_before`, `picture_before`, `text_before`, which name
        another row or are empty. The last four name a row of an earlier split.
    """
    facts = rows.join(photos, on="image_path")
    tokens = {text: count_tokens(tokenizer, text) if text and tokenizer else 0 for text in rows["text"].unique()}
    said = facts["text"].map(text_key)
    facts = facts.assign(
        where=facts["file"] + ":" + facts["line"].astype(str),
        photo=facts["digest"].where(facts["digest"] != "", facts["key"]),
        empty=[", ".join(name for name, cell in zip(REQUIRED, row, strict=True) if not cell)
               for row in facts[list(REQUIRED)].itertuples(index=False)],
        words=[len(text.split()) for text in facts["text"]],
        tokens=facts["text"].map(tokens),
    )  # fmt: skip
    keys = list(zip(facts["photo"], said, facts["label"], strict=True))
    first: dict[tuple[str, str, str], str] = {}
    for key, where in zip(keys, facts["where"], strict=True):
        if all(key) and key[2] in LABELS:
            first.setdefault(key, where)
    facts["duplicate_of"] = [
        of if (of := first.get(key, where)) != where else "" for key, where in zip(keys, facts["where"], strict=True)
    ]
    facts["contradicts"] = [first.get((photo, text, OTHER.get(label, "")), "") for photo, text, label in keys]
    facts["photo_before"] = _earlier_split(facts, facts["photo"])
    facts["product_before"] = _earlier_split(facts, facts["product"].str.casefold())
    elsewhere = facts["photo_before"] == ""
    facts["picture_before"] = _earlier_split(facts, _pictures(facts)).where(elsewhere, "")
    facts["text_before"] = _earlier_split(facts, said.where(facts["label"] == "match", "")).where(elsewhere, "")
    return facts


def split_facts(facts: pd.DataFrame) -> pd.DataFrame:
    """`where` ("all", then splits that have rows), and of each `matches`, `rows`, `match_share` in [0, 1], and
    `one_label`: whether a label is missing of all, or of train."""
    counts = []
    for name in ("all", *SPLITS):
        part = facts if name == "all" else facts[facts["split"] == name]
        matches, rows = int((part["label"] == "match").sum()), len(part)
        one_label = name in ("all", "train") and part["label"].nunique() == 1
        if rows or name == "all":
            counts.append((name, matches, rows, matches / max(1, rows), one_label))
    return pd.DataFrame(counts, columns=["where", "matches", "rows", "match_share", "one_label"])


def _earlier_split(facts: pd.DataFrame, key: pd.Series) -> pd.Series:
    """Where a key came first, of rows that have it in a later split than that."""
    order = facts["split"].map({name: place for place, name in enumerate(SPLITS)})
    part = facts.assign(key=key, order=order)[(key != "") & order.notna()].sort_values("order", kind="stable")
    first = part.groupby("key")[["order", "where"]].transform("first")
    return first["where"].where(first["order"] < part["order"], "").reindex(facts.index, fill_value="")


def _pictures(facts: pd.DataFrame) -> pd.Series:
    """One name for all photos that show the same picture."""
    hashes = dict(zip(facts["photo"], facts["picture"], strict=True))
    hashes = {photo: picture for photo, picture in hashes.items() if picture}
    groups = joined_groups(list(hashes), pairs=near_pairs(list(hashes.values())))
    return facts["photo"].map(dict(zip(hashes, groups, strict=True))).fillna("")
