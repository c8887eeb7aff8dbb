"""What the checks of judgements look at: one row a judgement, and one a split, each with the facts that rules judge."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from fashionclip.images import UnreadableImageError, difference_hash, load_image
from fashionclip.manifest import LABELS, SPLITS, joined_groups, text_key
from fashionclip.parallel import on_all_cores
from fashionclip.prepare.judgements.read_csv import REQUIRED
from fashionclip.prepare.near_duplicates import near_pairs
from fashionclip.tables import Located

SPECIAL_TOKENS = 2  # start and end of text
MOST_TOKENS_A_BYTE = 4  # some letters are taken apart into several


@dataclass(frozen=True)
class Look:
    """A photo as it was decoded: its shorter side in pixels, hashes of bytes and picture, or why it could not be."""

    side: int = 0
    digest: str = ""
    hash: str = ""
    error: str = ""


def look_at(files: Sequence[Path], *, workers: int | None) -> list[Look]:
    """Decodes photos in full, on all cores; in the order of `files`."""
    looks = on_all_cores(_look, files, workers=workers, fewest=64, chunksize=16)
    return list(tqdm(looks, total=len(files), desc="checking photos", unit="photo"))


def _look(file: Path) -> Look:
    try:
        image = load_image(file)
    except UnreadableImageError as error:
        return Look(error=str(error))
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    return Look(side=min(image.size), digest=digest, hash=difference_hash(image))


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


def row_facts(
    rows: pd.DataFrame,
    *,
    located: Mapping[str, Located],
    looks: Mapping[Path, Look],
    tokenizer: Any,
    allow_outside: bool,
) -> pd.DataFrame:
    """Adds to the rows of a table what can be said of each.

    Args:
        rows: With `ROW_COLUMNS`.
        located: Place of each distinct, non-empty `image_path`.
        looks: Looks at the files that exist.
        tokenizer: Tokenizer of the model, see `count_tokens`.
        allow_outside: Whether photos may lie outside the root; if not, those were not looked at.

    Returns:
        The rows with `photo_file`, `key` and `photo` (what its photo is known by: place, and bytes), `empty` (names of
        empty cells), `inside`, `found`, `image_error`, `side` (pixels; 0: unknown), `words` and `tokens` (0 of an empty
        text), and `duplicate_of`, `contradicts`, `photo_before`, `product_before`, `picture_before`, `text_before`,
        which name another row ("train.csv:3") or are empty. The last four name a row of an earlier split.
    """
    place = rows["image_path"].map(located)
    known = place.notna()
    allowed = place[known].map(lambda where: where.inside or allow_outside).astype(bool)
    look = place[known].map(lambda where: looks.get(where.file)).dropna()
    tokens = {text: count_tokens(tokenizer, text) for text in rows["text"].unique() if text}
    facts = rows.assign(
        where=rows["file"] + ":" + rows["line"].astype(str),
        empty=[", ".join(name for name in REQUIRED if not row[name]) for row in rows.to_dict("records")],
        photo_file=_of(place[known].map(lambda where: where.file), rows, None),
        key=_of(place[known].map(lambda where: where.key), rows, ""),
        inside=_of(allowed, rows, True),
        found=_of(place[known].map(lambda where: where.file in looks) | ~allowed, rows, True),
        image_error=_of(look.map(lambda seen: seen.error), rows, ""),
        side=_of(look.map(lambda seen: seen.side), rows, 0),
        words=[len(text.split()) for text in rows["text"]],
        tokens=[tokens.get(text, 0) for text in rows["text"]],
    )
    digest = _of(look.map(lambda seen: seen.digest), rows, "")
    facts["photo"] = digest.where(digest != "", facts["key"])
    says = facts["photo"] + "\0" + facts["text"].map(text_key)
    comparable = (facts["photo"] != "") & (facts["text"] != "") & facts["label"].isin(LABELS)
    facts["duplicate_of"] = _first_of(facts, (says + "\0" + facts["label"]).where(comparable))
    facts["contradicts"] = _other_label(facts, says.where(comparable))
    facts["photo_before"] = _earlier_split(facts, facts["photo"])
    facts["product_before"] = _earlier_split(facts, facts["product"].str.casefold())
    facts["picture_before"] = _earlier_split(facts, _pictures(facts, look)).where(facts["photo_before"] == "", "")
    matching = facts["text"].map(text_key).where(facts["label"] == "match", "")
    facts["text_before"] = _earlier_split(facts, matching).where(facts["photo_before"] == "", "")
    return facts


def split_facts(facts: pd.DataFrame) -> pd.DataFrame:
    """`where` ("all", then splits that have rows), and of each `matches`, `rows`, `match_share` in [0, 1], and
    `one_label`: whether a label is missing of all, or of train."""
    parts = {"all": facts, **{name: facts[facts["split"] == name] for name in SPLITS}}
    counts = []
    for name, part in parts.items():
        matches, rows = int((part["label"] == "match").sum()), len(part)
        one_label = name in ("all", "train") and part["label"].nunique() == 1
        if rows or name == "all":
            counts.append((name, matches, rows, matches / max(1, rows), one_label))
    return pd.DataFrame(counts, columns=["where", "matches", "rows", "match_share", "one_label"])


def _of(values: pd.Series, rows: pd.DataFrame, default: Any) -> pd.Series:
    return values.astype(object).reindex(rows.index, fill_value=default)


def _first_of(facts: pd.DataFrame, key: pd.Series) -> pd.Series:
    """Where a key came first, of rows that repeat it."""
    first = facts["where"].groupby(key).transform("first")
    return first.where(key.duplicated() & key.notna(), "").fillna("")


def _other_label(facts: pd.DataFrame, key: pd.Series) -> pd.Series:
    """The first row with the same key and another label."""
    first = {
        label: facts["where"][facts["label"] == label].groupby(key).first() for label in ("match", "mismatch")
    }  # by key
    other = facts["label"].map({"match": "mismatch", "mismatch": "match"})
    found = [first[o].get(k, "") if isinstance(k, str) else "" for o, k in zip(other, key, strict=True)]
    return pd.Series(found, index=facts.index, dtype=object)


def _earlier_split(facts: pd.DataFrame, key: pd.Series) -> pd.Series:
    """Where a key came first, of rows that have it in a later split than that."""
    order = facts["split"].map({name: place for place, name in enumerate(SPLITS)})
    part = facts.assign(key=key, order=order)[(key != "") & order.notna()].sort_values("order", kind="stable")
    first = part.groupby("key")[["order", "where"]].transform("first")
    return first["where"].where(first["order"] < part["order"], "").reindex(facts.index, fill_value="")


def _pictures(facts: pd.DataFrame, look: pd.Series) -> pd.Series:
    """One name for all photos that show the same picture."""
    hashes = {photo: seen.hash for photo, seen in zip(facts["photo"][look.index], look, strict=True) if seen.hash}
    groups = joined_groups(list(hashes), pairs=near_pairs(list(hashes.values())))
    return facts["photo"].map(dict(zip(hashes, groups, strict=True))).fillna("")
