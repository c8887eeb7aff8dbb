"""An index as numpy arrays, for use elsewhere."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from fashionclip.atomic import whole_file
from fashionclip.errors import InputError
from fashionclip.retrieval.index.index_folder import open_store, read_facts

READ = 1_000  # photos read at a time


def check_npz(file: Path) -> None:
    """Refuses a name that `write_npz` could not write to, before the work begins."""
    if file.suffix != ".npz" or file.is_dir() or not file.parent.is_dir():
        raise InputError(f"--npz {file}: expected a file that ends in .npz, in a folder that exists.")


def write_npz(folder: Path, file: Path, *, milvus: str | None = None) -> None:
    """Writes the embeddings and the table of an index, sorted by image_id, all or nothing and without pickle.

    `load_embeddings` reads the file, and so does `np.load`. Its arrays are `embeddings` (N, D) float32, `image_names`
    (paths below the source's folder), `image_id`, `item_id`, `text`, `category`, and each attribute by its name, or
    with `attribute_` before it where the name is taken. An unknown number is nan, an unknown text "".

    Args:
        folder: Folder of the index.
        file: File to write, whose name ends in ".npz".
        milvus: Address of its Milvus server, as in `open_store`.
    """
    facts = read_facts(folder)
    with closing(open_store(folder, facts, milvus=milvus)) as store:
        image_ids = sorted(store.known())
        chunks = [image_ids[start : start + READ] for start in range(0, len(image_ids), READ)]
        parts = [store.embeddings(chunk) for chunk in chunks]
        embeddings = np.concatenate(parts) if parts else np.empty((0, facts.size), dtype=np.float32)
        found = [store.photos(chunk) for chunk in chunks]
    photos = [part[image_id] for chunk, part in zip(chunks, found, strict=True) for image_id in chunk]
    arrays: dict[str, np.ndarray] = {
        "embeddings": embeddings,
        "image_names": np.array([photo.path for photo in photos], dtype=np.str_),
        **{
            name: np.array([getattr(photo, name) for photo in photos], dtype=np.str_)
            for name in ("image_id", "item_id", "text", "category")
        },
    }
    for name, field in facts.fields.items():
        if name == "category":
            continue
        missing, dtype = (np.nan, np.float64) if field["kind"] == "number" else ("", np.str_)
        values = np.array([photo.attributes.get(name, missing) for photo in photos], dtype=dtype)
        arrays[f"attribute_{name}" if name in arrays or name == "file" else name] = values
    with whole_file(file) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
