"""The README of an export, for people and, in its first lines, for model hubs. Its text is in `model_card.md.jinja`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

# Licences of weights as their publishers state them, by how the name of the weights begins; named as model hubs do.
LICENCES = {
    "openai": "mit",
    "laion": "mit",
    "datacomp_": "mit",
    "webli": "apache-2.0",
    "datacompdr": "other",  # Apple's own, for research
    "hf-hub:Marqo/marqo-fashionCLIP": "apache-2.0",
    "hf-hub:Marqo/marqo-fashionSigLIP": "apache-2.0",
    "lite0": "apache-2.0",
    "timm/vit_small_patch14_dinov2": "apache-2.0",
}


def licence_of(base: Mapping[str, Any]) -> str | None:
    """The licence of the weights that training began with; None where it is unknown, or there were no weights.

    >>> licence_of({"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "image_weights": None})
    'mit'
    """
    weights = base["pretrained"] or base["image_weights"] or base["name"]
    return next((licence for start, licence in LICENCES.items() if weights.startswith(start)), None)


def model_card(facts: Mapping[str, Any]) -> str:
    """The model card of an export, in Markdown.

    Args:
        facts: Facts `label, judge, preprocessing, embedding, checked`, and where they are known `base, data, tuning,
            metrics, measured_on, towers`.
    """
    templates = Environment(loader=PackageLoader(__package__ or "", ""), trim_blocks=True, lstrip_blocks=True)
    base = facts.get("base")
    licence = licence_of(base) if base else None
    return templates.get_template("model_card.md.jinja").render(facts, licence=licence)
