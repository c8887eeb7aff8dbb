"""What an evaluation pass hands to its measures."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Embedded:
    """All that an evaluation pass has seen, unit norm.

    Attributes:
        image_row, image: (I,) rows of the manifest, ascending, and the (I, D) embeddings of their photos.
        text_id, text: (T,) texts, ascending, and their (T, D) embeddings; none where photos stand alone.
    """

    image_row: Tensor
    image: Tensor
    text_id: Tensor
    text: Tensor
