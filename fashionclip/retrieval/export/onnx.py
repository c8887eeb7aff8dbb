"""Both towers of an export for onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fashionclip.errors import InputError
from fashionclip.retrieval.export.plain_open_clip import PlainOpenClip

FILES = {"image": "image.onnx", "text": "text.onnx"}
INPUTS = {"image": "pixels", "text": "tokens"}
OUTPUTS = {
    "image": "image_embedding",
    "text": "text_embedding",
}  # an operator is called "embedding"
LARGEST = 1_800_000_000  # bytes of weights in the file, which may have 2 GiB; larger weights lie beside it


def check_onnx() -> None:
    """Checks that the packages for ONNX are installed.

    Raises:
        InputError: One is missing; the message has the command that installs it.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise InputError(f"--onnx: needs {', '.join(missing)}. Run: pip install 'fashionclip[onnx]'")


def write_onnx(folder: Path, plain: PlainOpenClip, *, inputs: Mapping[str, Tensor]) -> None:
    """Writes `image.onnx` and `text.onnx`.

    `image.onnx` maps `pixels`, (B, 3, S, S) float32 as open_clip's transform gives them, to `image_embedding`;
    `text.onnx` maps `tokens`, (B, L) int64 as its tokenizer gives them, L the context length, to `text_embedding`. Both
    are (B, D) float32 of unit norm.

    Args:
        folder: Folder of both files; it is made where it is missing.
        plain: Model to trace.
        inputs: Two or more inputs of "image" and of "text".

    Raises:
        InputError: The exporter cannot trace the model.
    """
    folder.mkdir(exist_ok=True)
    for kind, file in FILES.items():
        tower = _Tower(plain, kind).eval()
        size = sum(tensor.nbytes for tensor in plain.model.state_dict().values())
        try:
            torch.onnx.export(
                tower,
                (inputs[kind][:2],),
                str(folder / file),
                input_names=[INPUTS[kind]],
                output_names=[OUTPUTS[kind]],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=size > LARGEST,
                dynamo=True,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0][:300]
            raise InputError(f"--onnx: the {kind} tower cannot be traced ({reason}). Leave --onnx out.") from error


def embed_with_onnx(folder: Path, *, inputs: Mapping[str, Tensor], size: int) -> dict[str, np.ndarray]:
    """(N, D) embeddings of all "image" and "text" inputs by onnxruntime on the CPU, `size` at a time."""
    import onnxruntime

    found = {}
    for kind, file in FILES.items():
        session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        groups = inputs[kind].split(size)
        found[kind] = np.concatenate([session.run(None, {INPUTS[kind]: group.numpy()})[0] for group in groups])
    return found


class _Tower(nn.Module):
    def __init__(self, plain: PlainOpenClip, kind: str) -> None:
        super().__init__()
        self.model = plain.model
        self.encode = plain.images if kind == "image" else plain.texts

    def forward(self, inputs: Tensor) -> Tensor:
        return self.encode(inputs)
