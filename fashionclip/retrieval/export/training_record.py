"""Embeddings that a training run makes at its end, by which a model rebuilt from its checkpoint is checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fashionclip.atomic import whole_file
from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.manifest import PreparedDataset
from fashionclip.models.backbone import Backbone
from fashionclip.retrieval.export.samples import Embeddings, Samples, chosen_of, embed

RECORD = "samples.safetensors"  # in a run's folder
COUNT = 8  # photos, whose files are kept in the record, and as many texts


@dataclass(frozen=True)
class Record:
    """The embeddings that a run's backbone made of some photos and texts.

    Attributes:
        samples: Photos, as their files were then, and texts.
        embeddings: Embeddings of both, by the run's own backbone and transform.
        weights: Digest of that backbone, from `weights_digest`.
    """

    samples: Samples
    embeddings: Embeddings
    weights: str


def write_record(file: Path, backbone: Backbone, dataset: PreparedDataset) -> None:
    """Embeds some photos and texts at the end of training, and keeps both with their embeddings.

    Photos that cannot be read are passed over; where none can, nothing is written.

    Args:
        file: File to write; an older one stands until the new one is whole.
        backbone: Backbone with the weights of the run's best checkpoint.
        dataset: Dataset of the run.
    """
    files, texts, source = chosen_of(dataset, count=COUNT)
    contents, photos = [], []
    for photo in files:
        try:
            content = photo.read_bytes()
            photos.append(load_image(BytesIO(content), at_least=2 * backbone.preprocess.size))
            contents.append(content)
        except (OSError, InputError):
            continue
    if not photos:
        return
    training, dtype = backbone.training, backbone.mean.dtype  # bfloat16 after trainer.precision=bf16-true
    backbone.float().eval()
    backbone.mean.copy_(torch.tensor(backbone.preprocess.mean)[:, None, None])  # bfloat16 had rounded them
    backbone.std.copy_(torch.tensor(backbone.preprocess.std)[:, None, None])
    embeddings = embed(backbone, Samples(photos=photos, texts=texts, source=source))
    backbone.to(dtype).train(training)
    tensors = {f"photo/{n:02}": torch.frombuffer(bytearray(c), dtype=torch.uint8) for n, c in enumerate(contents)}
    tensors |= {name: torch.from_numpy(rows) for name, rows in embeddings.items()}
    told = {"texts": json.dumps(texts), "source": source, "weights": weights_digest(backbone)}
    with whole_file(file) as stream:
        stream.write(save(tensors, metadata=told))


def read_record(file: Path, *, decode_size: int) -> Record:
    """Reads the record of a run.

    Args:
        file: File that `write_record` wrote.
        decode_size: Number of pixels of a photo's shorter side that are enough.

    Raises:
        InputError: There is no record, or it cannot be read.
    """
    try:
        with safe_open(file, "pt") as stream:
            told = stream.metadata()
            names = sorted(name for name in stream.offset_keys() if name.startswith("photo/"))
            contents = [stream.get_tensor(name).numpy().tobytes() for name in names]
            embeddings = {name: stream.get_tensor(name).numpy() for name in ("image", "text")}
        photos = [load_image(BytesIO(content), at_least=decode_size) for content in contents]
        samples = Samples(photos=photos, texts=json.loads(told["texts"]), source=told["source"])
        return Record(samples=samples, embeddings=embeddings, weights=told["weights"])
    except FileNotFoundError:
        raise InputError(f"{file}: not there; the run was stopped before its end, or is of an older version.") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error}).") from error


def weights_digest(backbone: Backbone) -> str:
    """SHA-256 over the names and weights of a backbone, in float32 as those of a checkpoint are loaded."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
