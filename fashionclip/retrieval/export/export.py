"""A trained backbone as a folder that open_clip, other tools and our own search load.

    <folder>/open_clip_config.json         architecture and preprocessing, as open_clip reads them
    <folder>/open_clip_model.safetensors   weights
    <folder>/...                           files of the tokenizer, where it is not open_clip's own
    <folder>/README.md                     model card
    <folder>/fashionclip.json              what the card says, for programs
    <folder>/onnx/, transformers/          if asked for

The folder is written beside its place, loaded back and compared, and renamed only if it embeds as the backbone and the
training run do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fashionclip.atomic import alone_at, whole_folder
from fashionclip.errors import InputError
from fashionclip.models.backbone import Backbone
from fashionclip.models.folder import FACTS, WEIGHTS
from fashionclip.retrieval.export.model_card import model_card
from fashionclip.retrieval.export.onnx import check_onnx, embed_with_onnx, write_onnx
from fashionclip.retrieval.export.plain_open_clip import PlainOpenClip, load_plain
from fashionclip.retrieval.export.samples import (
    GROUP,
    Embeddings,
    Samples,
    drawn_samples,
    embed,
    in_groups,
    lowest_cosine,
)
from fashionclip.retrieval.export.training_record import Record
from fashionclip.retrieval.export.transformers_clip import (
    check_transformers,
    embed_with_transformers,
    process_with_transformers,
    write_transformers,
)

CARD = "README.md"
RUN = "the training run did"
CLOSE = 0.9999  # lowest cosine allowed between an embedding of the export and the backbone's
ONNX_SIZES = (1, 3)  # sizes of the batches that ONNX is checked with: a size fixed while tracing would show


def write_export(
    folder: Path,
    backbone: Backbone,
    *,
    facts: Mapping[str, Any],
    samples: Samples | None = None,
    record: Record | None = None,
    onnx: bool = False,
    transformers: bool = False,
) -> dict[str, Any]:
    """Writes an export, checks it, and only then puts it in its place, where an older one may stand.

    Args:
        folder: Folder to write; an older export there is replaced.
        backbone: Trained backbone, in evaluation mode, on the CPU.
        facts: Facts for `fashionclip.json` and `model_card`; at least `label` and `judge`, which holds threshold, scale
            and bias of verdicts, or is None.
        samples: Photos and texts to check with; None: drawn ones.
        record: Embeddings that the training run itself has made, to check with as well; None: unknown.
        onnx: Whether to write both towers for onnxruntime as well, in `onnx/`.
        transformers: Whether to write a `CLIPModel` of transformers as well, in `transformers/`.

    Returns:
        The facts as written.

    Raises:
        InputError: What was written does not load, or does not embed as the backbone and the run do; `folder` holds
            something else than an export; or a form needs a missing package or another architecture. An older export
            is left as it is.
    """
    if onnx:
        check_onnx()
    if transformers:
        check_transformers(backbone)
    samples = samples or drawn_samples()
    with _replacing(folder) as partial:
        wanted = embed(backbone, samples)
        _write_open_clip(partial, backbone)
        plain = _load(partial)
        inputs = {"image": plain.pixels(samples.photos), "text": plain.tokens(samples.texts)}
        checked: dict[str, Any] = {"source": samples.source, "photos": len(samples.photos), "texts": len(samples.texts)}
        found = {"open_clip": _compare("open_clip", wanted, _embed_plainly(plain, inputs))}
        if record is not None:
            _compare("the rebuilt checkpoint", record.embeddings, embed(backbone, record.samples), of=RUN)
            own = {"image": plain.pixels(record.samples.photos), "text": plain.tokens(record.samples.texts)}
            cosine = _compare("open_clip", record.embeddings, _embed_plainly(plain, own), of=RUN)
            checked["training_run"] = {"photos": len(own["image"]), "texts": len(own["text"]), "lowest_cosine": cosine}
        if onnx:
            write_onnx(partial / "onnx", plain, inputs=inputs)
            got = [embed_with_onnx(partial / "onnx", inputs=inputs, size=size) for size in ONNX_SIZES]
            each = [_compare("onnx", wanted, one) for one in got]
            found["onnx"] = {kind: min(one[kind] for one in each) for kind in wanted}
        if transformers:
            place = partial / "transformers"
            write_transformers(place, backbone)
            got = [embed_with_transformers(place, inputs=inputs, size=GROUP)]
            found["transformers"] = _compare("transformers", wanted, got[0])
            own = process_with_transformers(place, photos=samples.photos, texts=samples.texts)
            same = (own["text"].where(inputs["text"] != 0, 0) == inputs["text"]).all(1)  # padded with the end of text
            image = embed_with_transformers(place, inputs=own, size=GROUP)["image"]
            checked["transformers_processing"] = {
                "image": round(lowest_cosine(image, wanted["image"]), 7),
                "same_tokens": int(same.sum()),
            }
        facts = {
            **facts,
            "towers": {  # those of other libraries
                "image": backbone.architecture["vision_cfg"].get("timm_model_name"),
                "text": backbone.architecture["text_cfg"].get("hf_model_name"),
            },
            "preprocessing": asdict(backbone.preprocess),
            "embedding": {"size": wanted["text"].shape[1], "context_length": inputs["text"].shape[1]},
            "checked": checked | {"lowest_cosine": found},
        }
        (partial / CARD).write_text(model_card(facts), encoding="utf-8")
        facts["files"] = sorted([*(entry.name for entry in partial.iterdir()), FACTS])
        (partial / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Gives an empty folder, which takes the place of `folder` at the end and is removed after an error."""
    try:
        with alone_at(folder), whole_folder(folder) as new:
            _check_replaceable(folder)
            yield new
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder}: cannot be written ({error}). Choose another folder, or make room.") from error


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file. Expected a folder to write, or one that does not exist yet.")
    entries = {entry.name for entry in folder.iterdir()}
    if entries and FACTS not in entries:
        raise InputError(
            f"{folder}: holds {sorted(entries)[:5]} and is no export, so it is left alone. Choose another."
        )
    if entries:
        written = json.loads((folder / FACTS).read_text(encoding="utf-8")).get("files", entries)
        if others := sorted(entries - set(written)):
            raise InputError(
                f"{folder}: beside an older export it holds {others[:5]}, which would be lost. Move them away first."
            )


def _write_open_clip(folder: Path, backbone: Backbone) -> None:
    for name, content in backbone.files().items():
        (folder / name).write_bytes(content)
    save_file({name: tensor.contiguous() for name, tensor in backbone.clip.state_dict().items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone


def _load(folder: Path) -> PlainOpenClip:
    try:
        return load_plain(folder)
    except Exception as error:  # from open_clip, timm, safetensors or a tokenizer
        reason = f"{type(error).__name__}: {str(error).strip()[:300]}"
        raise InputError(
            f"export: open_clip cannot load what was written ({reason}). Nothing is left of it. Is the model a plain "
            "open_clip architecture at its own image size?"
        ) from error


@torch.inference_mode()
def _embed_plainly(plain: PlainOpenClip, inputs: Mapping[str, Tensor]) -> Embeddings:
    return {
        "image": in_groups(plain.images, inputs["image"], size=GROUP),
        "text": in_groups(plain.texts, inputs["text"], size=GROUP),
    }


def _compare(form: str, wanted: Embeddings, got: Embeddings, *, of: str = "the checkpoint") -> dict[str, float]:
    """The lowest cosine of photos and that of texts.

    Raises:
        InputError: One of the two is too low.
    """
    found = {kind: lowest_cosine(got[kind], wanted[kind]) for kind in wanted}
    if not all(cosine >= CLOSE for cosine in found.values()):  # written so that nan is refused too
        figures = ", ".join(f"{kind} {cosine:.6f}" for kind, cosine in found.items())
        raise InputError(
            f"export: {form} embeds otherwise than {of}: lowest cosine {figures}, expected at "
            f"least {CLOSE}. Nothing is left of it."
        )
    return {kind: round(cosine, 7) for kind, cosine in found.items()}
