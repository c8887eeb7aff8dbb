"""Captions, logos and fonts that train never shows, so that what is measured on them is not known by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fashionclip.manifest import stable_hash
from fashionclip.prepare.synthetic_triplets.text_layout import has_glyphs


@dataclass(frozen=True)
class Stock:
    """What the families of one kind of overlay may show.

    Attributes:
        contents: Captions, or classes of logos.
        fonts: Files of fonts for captions; empty for logos.
        unseen: Whether train shows none of the contents and fonts.
    """

    contents: tuple[str, ...]
    fonts: tuple[str, ...] = ()
    unseen: bool = False


def stocks_of(
    contents: Sequence[str], *, fonts: Sequence[str] = (), needed: int, share: float, seed: int
) -> tuple[Stock, ...]:
    """Holds some contents and some families of fonts out: only val and test show them, the others all splits show.

    Args:
        contents: Captions, or classes of logos.
        fonts: Files of fonts; those whose names begin alike up to a "-" are one family, such as bold and italic. Only
            families that can show all captions held out are held out.
        needed: Number of contents that each part must have.
        share: Share of contents, and of families of fonts, that train does not show, in [0, 1).
        seed: Seed of the choice.

    Returns:
        The stock of all splits, then that of val and test alone. One stock of everything where the share is 0, or one
        part would have fewer contents than needed. Where no family of fonts can be held out, both have all fonts.
    """
    held = _held_out(contents, share=share, fewest=needed, leave=needed, seed=seed)
    if not held:
        return (Stock(tuple(contents), tuple(fonts)),)
    families = list(dict.fromkeys(_family(font) for font in fonts))
    unable = {_family(font) for font in fonts if not all(has_glyphs(font, caption) for caption in held)}
    able = [family for family in families if family not in unable]
    held_families = _held_out(able, share=share, fewest=1, leave=1, seed=seed)
    unseen_fonts = tuple(font for font in fonts if _family(font) in held_families)
    return (
        Stock(tuple(c for c in contents if c not in held), tuple(f for f in fonts if f not in unseen_fonts)),
        Stock(tuple(c for c in contents if c in held), unseen_fonts or tuple(fonts), unseen=True),
    )


def _held_out(names: Sequence[str], *, share: float, fewest: int, leave: int, seed: int) -> set[str]:
    """The share of the names that come first by their hash, at least `fewest`; none where fewer than `leave` stay."""
    count = max(fewest, round(share * len(names)))
    if not share or len(names) - count < leave:
        return set()
    return set(sorted(names, key=lambda name: stable_hash(f"{seed}/held out/{name}"))[:count])


def _family(font: str) -> str:
    return Path(font).stem.partition("-")[0]
