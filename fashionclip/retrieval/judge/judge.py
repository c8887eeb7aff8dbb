"""Does this text describe this photo? Verdicts of an export, by the threshold that its training has chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fashionclip.errors import InputError
from fashionclip.images import UnreadableImageError, load_image
from fashionclip.retrieval.encoder import Encoder

PHOTOS = 16  # decoded at a time; a large one takes 30 MB


@dataclass(frozen=True)
class Verdict:
    """The verdict on one photo and text.

    Attributes:
        verdict: "match" or "mismatch".
        probability: Probability of a match, in [0, 1].
        score: Cosine of photo and text; from `threshold` on it is a match.
        threshold: Threshold that training has chosen on val.
    """

    verdict: str
    probability: float
    score: float
    threshold: float


class Judge:
    """Judges photos and texts with an export.

    Args:
        encoder: Loaded export.

    Raises:
        InputError: The export was trained without judgements, or with one label alone in val.
    """

    def __init__(self, encoder: Encoder) -> None:
        chosen = encoder.facts.get("judge") or {}
        self.threshold, self.scale, self.bias = (
            float(chosen.get(name, math.nan)) for name in ("threshold", "scale", "bias")
        )
        if not all(map(math.isfinite, (self.threshold, self.scale, self.bias))):
            raise InputError(
                f"fashionclip.json of the export: judge is {chosen or None}, expected the threshold, scale and bias "
                "that a training chooses on matches and mismatches of val. Train with loss=match-mismatch or "
                "loss=mixed-judgements, on any dataset, then run: fashionclip export RUN --to DIR"
            )
        self.encoder = encoder

    def one(self, photo: Path, text: str) -> Verdict:
        """Judges a photo and a text.

        Raises:
            InputError: The photo cannot be read, or the text is empty.
        """
        if not text.strip():
            raise InputError("text: empty. Give the words that are to be compared with the photo.")
        image = self.encoder.images([load_image(photo, at_least=self.encoder.decode_size)])  # (1, D)
        return self.of_score(float((image @ self.encoder.texts([text]).T)[0, 0]))

    def many(self, questions: Sequence[tuple[Path, str]]) -> list[Verdict | str]:
        """Judges N photos and texts, each distinct one encoded once. A photo that cannot be read gets a reason."""
        image = self._images(list(dict.fromkeys(photo for photo, _ in questions)))
        words = list(dict.fromkeys(text for _, text in questions))
        text = dict(zip(words, self.encoder.texts(words), strict=True)) if words else {}
        verdicts: list[Verdict | str] = []
        for photo, word in questions:
            found = image[photo]
            verdicts.append(found if isinstance(found, str) else self.of_score(float(found @ text[word])))
        return verdicts

    def of_score(self, score: float) -> Verdict:
        """The verdict that follows from a cosine."""
        odds = max(-700.0, self.scale * score + self.bias)  # the logarithm; a float holds up to e^709
        verdict = "match" if score >= self.threshold else "mismatch"
        return Verdict(verdict, 1 / (1 + math.exp(-odds)), score, self.threshold)

    def _images(self, photos: Sequence[Path]) -> dict[Path, np.ndarray | str]:
        """The (D,) embedding of each photo, or the reason why it cannot be read."""
        found: dict[Path, np.ndarray | str] = {}
        with ThreadPoolExecutor() as pool:
            for first in range(0, len(photos), PHOTOS):
                some = photos[first : first + PHOTOS]
                seen = dict(zip(some, pool.map(self._load, some), strict=True))
                pictures = {photo: picture for photo, picture in seen.items() if isinstance(picture, Image.Image)}
                found |= {photo: reason for photo, reason in seen.items() if isinstance(reason, str)}
                if pictures:
                    found |= dict(zip(pictures, self.encoder.images(list(pictures.values())), strict=True))
        return found

    def _load(self, photo: Path) -> Image.Image | str:
        try:
            return load_image(photo, at_least=self.encoder.decode_size)
        except UnreadableImageError as error:
            return str(error)
