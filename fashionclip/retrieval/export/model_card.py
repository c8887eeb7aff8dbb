"""The README of an export: for people, and in its first lines for model hubs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Licences of weights by what they were trained on, as their publishers state them; names as model hubs know them.
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
    """The licence of the weights that a training began with; None where it is not known, or there were none.

    >>> licence_of({"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "image_weights": None})
    'mit'
    """
    weights = base["pretrained"] or base["image_weights"] or base["name"]
    return next((licence for start, licence in LICENCES.items() if weights.startswith(start)), None)


def model_card(facts: Mapping[str, Any]) -> str:
    """Markdown from an export's facts.

    Args:
        facts: `label, judge, preprocessing, embedding, checked`; where they are known `base, data, tuning, metrics`.
    """
    parts = [
        _front_matter(facts),
        f"# {facts['label']}\n\nTwo towers that put photos of fashion and their texts close together: unit-norm "
        f"embeddings of {facts['embedding']['size']} numbers, compared by cosine. Tuned with fashionclip.",
        _loading(facts),
        _data(facts.get("data")),
        _metrics(facts.get("metrics")),
        _verdicts(facts["judge"]),
        _tuning(facts.get("tuning")),
        _base(facts.get("base")),
        _checked(facts["checked"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: Mapping[str, Any]) -> str:
    base = facts.get("base")
    licence = licence_of(base) if base else None
    lines = ["library_name: open_clip", "pipeline_tag: zero-shot-image-classification"]
    lines += ["tags:", *(f"- {tag}" for tag in ("clip", "fashion", "image-retrieval", "fashionclip"))]
    if licence:
        lines.append(f"license: {licence}")
    if base and base["name"].startswith("hf-hub:"):
        lines.append(f"base_model: {json.dumps(base['name'].removeprefix('hf-hub:'))}")
    return "\n".join(["---", *lines, "---"])


def _loading(facts: Mapping[str, Any]) -> str:
    size, width, length = (
        facts["preprocessing"]["size"],
        facts["embedding"]["size"],
        facts["embedding"]["context_length"],
    )
    text = """## Use

With open_clip alone; `DIR` is this folder, and `hf-hub:NAME` in place of `local-dir:DIR` takes it from a hub:

```python
import open_clip
import torch
from PIL import Image

model, _, transform = open_clip.create_model_and_transforms("local-dir:DIR")
tokenizer = open_clip.get_tokenizer("local-dir:DIR")
model.eval()
with torch.inference_mode():
    photo = model.encode_image(transform(Image.open("photo.jpg").convert("RGB"))[None], normalize=True)
    texts = model.encode_text(tokenizer(["a red summer dress", "a black leather wallet"]), normalize=True)
print(photo @ texts.T)
```

With fashionclip, to search a folder of photos: `fashionclip index DIR PHOTOS --to INDEX`, then
`fashionclip search INDEX "red summer dress"`."""
    if "onnx" in facts["checked"]["lowest_cosine"]:
        text += f"""

With onnxruntime, for any B and with unit norm:

| file | takes | returns |
| --- | --- | --- |
| `onnx/image.onnx` | `pixels`, float32 (B, 3, {size}, {size}), from the transform | `image_embedding` (B, {width}) |
| `onnx/text.onnx` | `tokens`, int64 (B, {length}), from the tokenizer | `text_embedding` (B, {width}) |"""
    if "transformers" in facts["checked"]["lowest_cosine"]:
        text += """

With transformers: `CLIPModel.from_pretrained("DIR/transformers")` and `AutoProcessor` of the same folder; its
`image_embeds` and `text_embeds` have unit norm."""
    how = ", ".join(f"{name} {value}" for name, value in facts["preprocessing"].items() if value != [])
    return f"{text}\n\nPreprocessing: {how}."


def _data(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return ""
    text = f"## Data\n\n{data['name']}"
    if data["counts"] is None:
        return f"{text}, which was not at hand when this was written."
    splits = ", ".join(f"{count:,} {name}" for name, count in data["counts"]["splits"].items())
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in data["counts"]["dropped"].items())
    left_out = f" Left out of {data['counts']['read']:,} read: {dropped}." if dropped else ""
    return f"{text}: {splits} photos; what belongs together never lies in two splits.{left_out}"


def _metrics(metrics: Mapping[str, Mapping[str, Any]] | None) -> str:
    if not metrics:
        return ""
    lines = [
        "## Metrics",
        "",
        "On the test split, before and after training; shares of queries with their 95 % interval (Wilson).",
        "",
        "| metric | before | after | 95 % interval | queries |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, known in metrics.items():
        form = "g" if name.endswith("median_rank") else ".3f"
        before = "" if known["before"] is None else format(known["before"], form)
        interval = "{:.3f} to {:.3f}".format(*known["interval"]) if "interval" in known else ""
        lines.append(f"| {name} | {before} | {known['after']:{form}} | {interval} | {known.get('queries', '')} |")
    return "\n".join(lines)


def _verdicts(judge: Mapping[str, float] | None) -> str:
    if judge is None:
        return (
            "## Verdicts\n\nNo threshold was chosen: this model ranks, and was not trained to say whether a text fits."
        )
    threshold, scale, bias = (f"{judge[name]:.4f}" for name in ("threshold", "scale", "bias"))
    return (
        f"## Verdicts\n\nA text fits a photo where their cosine is at least {threshold}, chosen on the val split; the "
        f"probability that it does is sigmoid({scale} x cosine + {bias})."
    )


def _tuning(tuning: Mapping[str, Any] | None) -> str:
    if tuning is None:
        return ""
    frozen = ", ".join(f"`{name}`" for name in tuning["frozen"]) or "none"
    changed = ", ".join(f"{name} {value}" for name, value in tuning["augmentation"].items()) or "none"
    return f"""## Tuning

| | |
| --- | --- |
| loss | {tuning["loss"]}, on {tuning["relation"]} |
| best epoch | {tuning["epoch"]} of at most {tuning["max_epochs"]} ({tuning["steps"]} steps) |
| frozen parts | {frozen} |
| optimizer | {tuning["optimizer"]}, lr {tuning["lr"]:g}, weight decay {tuning["weight_decay"]:g} |
| batch | {tuning["batch_size"]} rows a process, devices {tuning["devices"]}, precision {tuning["precision"]} |
| augmentation | {changed} |
| seed | {tuning["seed"]} |"""


def _base(base: Mapping[str, Any] | None) -> str:
    if base is None:
        return ""
    if base["image_weights"]:
        began = f"`{base['name']}` with the image weights `{base['image_weights']}`, its text tower from scratch"
    elif base["pretrained"]:
        began = f"`{base['name']}` with the weights `{base['pretrained']}`"
    elif ":" in base["name"]:
        began = f"the weights of `{base['name']}`"
    else:
        return f"## Licence\n\n`{base['name']}` was trained from scratch, so no licence of base weights binds it."
    licence = licence_of(base)
    stated = f"their publisher states the licence {licence}" if licence and licence != "other" else "see base model"
    return f"## Base model and licence\n\nTraining began with {began}; licence of the base weights: {stated}."


def _checked(checked: Mapping[str, Any]) -> str:
    lines = [
        "## Checked",
        "",
        f"Loaded back from this folder and compared with the checkpoint on {checked['photos']} photos and "
        f"{checked['texts']} texts of {checked['source']}:",
        "",
        "| form | lowest cosine, photos | texts |",
        "| --- | --- | --- |",
    ]
    for form, cosine in checked["lowest_cosine"].items():
        lines.append(f"| {form} | {cosine['image']:.7f} | {cosine['text']:.7f} |")
    run = checked.get("training_run")
    if run is not None:
        image, text = run["lowest_cosine"]["image"], run["lowest_cosine"]["text"]
        lines += [
            "",
            f"On {run['photos']} photos and {run['texts']} texts that the training run itself has embedded, the lowest "
            f"cosine of open_clip's embeddings to the run's is {image:.7f} (photos) and {text:.7f} (texts).",
        ]
    own = checked.get("transformers_processing")
    if own is not None:
        lines += [
            "",
            "The line of transformers has open_clip's pixels and tokens. With transformers' own image processor the "
            f"lowest cosine of photos is {own['image']:.7f}; its tokenizer cuts {own['same_tokens']} of the "
            f"{checked['texts']} texts into the same tokens (it leaves HTML entities such as `&amp;` as they are).",
        ]
    return "\n".join(lines)
