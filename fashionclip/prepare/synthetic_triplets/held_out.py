"""Captions, logos and fonts that train never shows, so that what is measured on them is not known by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fashionclip.manifest import stable_hash
from fashionclip.prepare.synthetic_triplets.text_layout import has_glyphs


@dataclass(frozen=True)
class Stock:
    """What the families of one overlay may show.

    Attributes:
        contents: Captions, or classes of logos.
        fonts: Files that captions are set in; of logos none.
        unseen: Whether train shows none of them.
    """

    contents: tuple[str, ...]
    fonts: tuple[str, ...] = ()
    unseen: bool = False


def stocks_of(
    contents: Sequence[str], *, fonts: Sequence[str] = (), needed: int, share: float, seed: int
) -> tuple[Stock, ...]:
    """Parts contents, and the families of fonts, into those that all splits show and those that only val and test show.

    Args:
        contents: Captions, or classes of logos; at least `needed`.
        fonts: Files of fonts; those whose names begin alike up to a "-" are one family, such as bold and italic. Only
            families that can show all captions held out are held out.
        needed: Number of contents that each part must have.
        share: Share of contents, and of families of fonts, that train does not show, in [0, 1).
        seed: Seed of the choice.

    Returns:
        The stock of all splits, then that of val and test alone; one stock of everything where the share is 0, or a
        part would have less contents than needed. Where no family of fonts can be held out, all are in both.
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
    """Those that come first by their hash: the share of them, but not fewer than `fewest`, and `leave` stay."""
    count = max(fewest, round(share * len(names)))
    if not share or len(names) - count < leave:
        return set()
    return set(sorted(names, key=lambda name: stable_hash(f"{seed}/held out/{name}"))[:count])


def _family(font: str) -> str:
    return Path(font).stem.partition("-")[0]
