"""The sentence of a crop: what is worn, how much of it is hidden, from where it is seen, and who took the photo."""

from __future__ import annotations

from fashionclip.prepare.deepfashion2.annotations import CATEGORIES

PHOTOGRAPHER = {"query": "user", "catalog": "shop"}
OCCLUSION = {1: "slightly or not occluded", 2: "moderately occluded", 3: "heavily occluded"}
VIEWPOINT = {2: "from the front", 3: "from the side or back"}  # 1: nobody wears it
PLURAL = ("shorts", "trousers")


def write_prompt(*, domain: str, category_id: int, occlusion: int, viewpoint: int) -> str:
    """Describes a crop by its labels and by nothing that identifies the product.

    Args:
        domain: "query" (a user's photo) or "catalog" (a shop's).
        category_id: 1 to 13, see `CATEGORIES`.
        occlusion: 1 slight or none, 2 medium, 3 heavy.
        viewpoint: 1 no wear, 2 frontal, 3 side or back.

    >>> write_prompt(domain="query", category_id=1, occlusion=3, viewpoint=3)
    'A user photo of a person wearing a heavily occluded short sleeve top from the side or back.'
    >>> write_prompt(domain="catalog", category_id=8, occlusion=2, viewpoint=1)
    'A shop photo of moderately occluded trousers with no wearer.'
    """
    category = CATEGORIES[category_id].name
    clothes = f"{'' if category in PLURAL else 'a '}{OCCLUSION[occlusion]} {category}"
    shown = f"{clothes} with no wearer" if viewpoint == 1 else f"a person wearing {clothes} {VIEWPOINT[viewpoint]}"
    return f"A {PHOTOGRAPHER[domain]} photo of {shown}."
