"""What a catalogue may be: a table, a folder with one, a folder of photos by class, or a Hugging Face dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet
from tqdm import tqdm

from fashionclip.atomic import whole_file
from fashionclip.errors import InputError
from fashionclip.images import SUFFIXES
from fashionclip.prepare.find_photos import photos_below
from fashionclip.prepare.products.columns import KNOWN_TITLES, SPLIT_NAMES, titles_in
from fashionclip.tables.records import text_of
from fashionclip.tables.table import Table, read_table

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".jsonl", ".ndjson", ".json")
PHOTO_FOLDERS = ("images", "photos")  # beside a table; "data" would be what is prepared, checked and downloaded
HUB = "hf:"  # before the name of a dataset of Hugging Face's hub
STORED = {"bytes", "path"}  # what a photo is in a table of the library datasets
SAVED = ("dataset_dict.json", "dataset_info.json")  # one of them lies in what `save_to_disk` writes


@dataclass(frozen=True)
class Catalogue:
    """A table of products, whatever it was made of.

    Attributes:
        table: Rows of photos or products.
        where: Name for messages.
        folders: Folders that paths of photos may begin at, that with the photos first.
        data: What tells this content from another, besides the photos.
        columns: Meaning of columns that the form of the source says.
    """

    table: Table
    where: str
    folders: list[Path]
    data: bytes
    columns: Mapping[str, Any] = field(default_factory=dict)


def read_catalogue(source: str, *, columns: Mapping[str, object] | None, root: Path, cache: Path) -> Catalogue:
    """Reads a catalogue.

    Args:
        source: A table; a folder with exactly one; a folder of photos, of which the names of subfolders are categories;
            a folder that `datasets` has saved; or `hf:NAME` of its hub.
        columns: Titles by what they mean, as the user gives them; by these the separator of a CSV is known.
        root: Folder of the dataset to be prepared, of which the photos are not taken for those of a source around it.
        cache: Folder for the photos of a Hugging Face dataset.

    Raises:
        InputError: It is none of these.
    """
    folder = Path(source)
    if source.startswith(HUB) or any((folder / name).is_file() for name in SAVED) or _holds_photos(folder):
        return _hugging_face(source, cache)
    if not folder.exists():
        raise InputError(
            f"dataset.source={source}: no such file or folder. Expected a table, a folder with one, a folder of photos "
            "by class, or hf:NAME. Give its path."
        )
    tables = [folder] if folder.is_file() else sorted(f for f in folder.iterdir() if f.suffix.lower() in TABLE_SUFFIXES)
    if len(tables) > 1:
        raise InputError(
            f"dataset.source={source}: found {len(tables)} tables {[file.name for file in tables]}, expected one. Name "
            "the file itself as dataset.source."
        )
    if not tables:
        return _classes(folder, photos_below(folder, without=(root, cache)))
    file = tables[0]
    print(f"reading {file}")
    table = read_table(file, titles=[*KNOWN_TITLES, *titles_in(columns)])
    beside = [file.parent / name for name in PHOTO_FOLDERS if (file.parent / name).is_dir()]
    return Catalogue(table, str(file), [*beside, file.parent], file.read_bytes())


def _classes(folder: Path, photos: list[str]) -> Catalogue:
    """A folder whose subfolders are classes, perhaps within others that are named as splits."""
    if not any("/" in path for path in photos):
        raise InputError(
            f"dataset.source={folder}: no table, no subfolders with photos, and {len(photos)} photos "
            f"({', '.join(sorted(SUFFIXES))}). Expected a table of the photos, or a subfolder for each category."
        )
    rows = []
    for path in photos:
        *above, _ = path.split("/")
        split = SPLIT_NAMES.get(above[0].casefold(), "") if above else ""
        kind = " ".join(re.split(r"[\W_]+", above[-1])).strip() if above[1 if split else 0 :] else ""
        rows.append([path, kind, split])
    print(
        f"{folder}: no table, so the names of its {len({row[1] for row in rows})} subfolders are categories and texts"
    )
    return Catalogue(
        table=Table(header=["image", "category", "split"], rows=rows, lines=list(range(1, len(rows) + 1)), unread=[]),
        where=str(folder),
        folders=[folder],
        data="\n".join(photos).encode(),
        columns={"image": "image", "texts": {"title": "category"}, "category": "category", "split": "split"},
    )


def _hugging_face(source: str, cache: Path) -> Catalogue:
    """Its photos are written to a folder of the cache, unless they are there."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"dataset.source={source}: a Hugging Face dataset, which takes the library datasets to read. Run: "
            "pip install 'fashionclip[hf]'"
        ) from None
    try:
        name = source.removeprefix(HUB)
        if source.startswith(HUB):
            read = datasets.load_dataset(name)
        elif Path(source).is_dir():
            read = datasets.load_from_disk(source)
        else:
            read = datasets.Dataset.from_parquet(source, cache_dir=str(cache))
    except Exception as error:  # of the library, of those that it calls, and of the network
        raise InputError(
            f"dataset.source={source}: cannot be read as a Hugging Face dataset ({type(error).__name__}: {error}). "
            "Correct the name, or save it with save_to_disk and give that folder."
        ) from error
    parts = dict(read) if isinstance(read, dict) else {"": read}
    features: dict[str, Any] = next(iter(parts.values())).features
    images = [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Image) or (isinstance(feature, dict) and set(feature) == STORED)
    ]
    folder = cache / ("hf-" + "-".join(part._fingerprint for part in parts.values())[:80])
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, part in parts.items():
        for name in images:
            part = part.cast_column(name, datasets.Image(decode=False))
        for number, row in enumerate(tqdm(part, desc=f"photos of {split or source}", unit="row")):
            for name in images:
                row[name] = _photo(row[name], folder / split / f"{number:07d}{'' if name == images[0] else '-' + name}")
            labels = {
                name: feature.int2str(row[name])
                for name, feature in features.items()
                if isinstance(feature, datasets.ClassLabel) and row[name] is not None
            }
            rows.append([*map(text_of, (row | labels).values()), split])
    header = [*features, "hf split"]
    columns: dict[str, Any] = {"image": images} if images else {}
    if len(parts) > 1:
        columns["split"] = "hf split"
    return Catalogue(
        table=Table(header=header, rows=rows, lines=list(range(1, len(rows) + 1)), unread=[]),
        where=source,
        folders=[folder if images or not Path(source).is_dir() else Path(source)],
        data=folder.name.encode(),
        columns=columns,
    )


def _holds_photos(file: Path) -> bool:
    """Whether it is a Parquet file with photos in it, as the hub has them."""
    if file.suffix.lower() != ".parquet" or not file.is_file():
        return False
    try:
        types = pyarrow.parquet.read_schema(file).types
    except (OSError, ValueError):  # which reading it says
        return False
    return any(pyarrow.types.is_struct(one) and {part.name for part in one} == STORED for one in types)


def _photo(stored: Mapping[str, Any] | None, target: Path) -> str:
    """The path of a photo, which is written if only its bytes are there."""
    if stored is None:
        return ""
    if stored["bytes"] is None:
        return str(stored["path"])
    file = target.with_name(target.name + (Path(stored["path"] or "").suffix.lower() or ".jpg"))
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file, sync=False) as stream:
            stream.write(stored["bytes"])
    return str(file)
