"""`fashionclip index EXPORT PHOTOS --to INDEX`: embeds a catalogue for search. Run again, it takes over what has
changed."""

from __future__ import annotations

import argparse
from pathlib import Path

from fashionclip.errors import InputError
from fashionclip.foreign_text import shown

NAME = "index"
HELP = "embed a catalogue's photos for search, or take over what has changed in it"
NAMED = 10  # unreadable photos named on the terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("export", type=Path, help="folder that `fashionclip export` wrote")
    parser.add_argument("photos", type=Path, help="a prepared dataset, or a folder of photos")
    parser.add_argument("--to", type=Path, required=True, metavar="INDEX", help="folder of the index")
    parser.add_argument(
        "--table", type=Path, metavar="FILE.csv", help="what a plain folder's photos show, by their names; CSV or Excel"
    )
    parser.add_argument(
        "--where",
        metavar="FILTER",
        help="index only photos such as \"domain = 'catalog'\"; kept for later runs, until another is given",
    )
    parser.add_argument(
        "--milvus",
        metavar="URI",
        help="keep a new index in Milvus: a server's address, or a name such as photos.db for milvus-lite within "
        "INDEX; given again for the same index, what MILVUS_TOKEN holds is sent there",
    )
    parser.add_argument(
        "--mean-by",
        metavar="FIELD",
        help='one vector for each value of a field such as "item", instead of one a photo: the mean of its photos',
    )
    parser.add_argument(
        "--other-photos",
        action="store_true",
        help="let PHOTOS take the place of those of another folder, which INDEX has been made of",
    )
    parser.add_argument("--npz", type=Path, metavar="FILE.npz", help="also write embeddings and table as numpy arrays")
    parser.add_argument("--device", default="auto", help="where to embed: auto (default), cpu, cuda, ...")


def run(options: argparse.Namespace) -> None:
    from fashionclip.app.malloc import keep_freed_memory
    from fashionclip.retrieval.encoder import load_encoder
    from fashionclip.retrieval.index.index import UNREADABLE, update_index
    from fashionclip.retrieval.index.index_source import read_source
    from fashionclip.retrieval.index.npz import check_npz, write_npz

    device = device_of(options.device)
    if options.npz:
        check_npz(options.npz)
    source = read_source(options.photos, table=options.table)
    if device == "cpu":
        keep_freed_memory()
    encoder = load_encoder(options.export, device=device)
    trained_on = encoder.facts.get("data")
    known = trained_on.get("fingerprint") if isinstance(trained_on, dict) else None
    if known and source.fingerprint and known != source.fingerprint:
        print(f"{options.photos}: another dataset than the model was trained on, or the same prepared otherwise since.")
    changes = update_index(
        options.to,
        encoder,
        source,
        export=options.export,
        milvus=options.milvus,
        mean_by=options.mean_by,
        where=options.where,
        other_source=options.other_photos,
    )
    for path, reason in list(changes.unreadable.items())[:NAMED]:
        print(f"unreadable: {shown(path)}: {shown(reason)}")
    if changes.unreadable:
        print(f"{len(changes.unreadable):,} photos could not be read; all of them: {options.to / UNREADABLE}")
    what = "photos" if changes.mean_by is None else f"means by {changes.mean_by}"
    print(
        f"index: {options.to} ({changes.indexed:,} {what}: {changes.added:,} added, "
        f"{changes.updated:,} with other pixels, {changes.described:,} with another text or attributes, "
        f"{changes.unchanged:,} unchanged; {changes.deleted:,} deleted)"
    )
    if options.npz:
        write_npz(options.to, options.npz, milvus=options.milvus)
        print(f"arrays: {options.npz}")


def device_of(name: str) -> str:
    """A device as torch names it; "auto" is the GPU, where there is one.

    Raises:
        InputError: This machine has no such device.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError):  # the second where torch was built without CUDA
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        gpus += ["mps"] if torch.backends.mps.is_available() else []
        raise InputError(
            f"--device {name}: no device of this machine. Expected one of {', '.join(['auto', 'cpu', *gpus])}."
        ) from None
    return name
