"""The photos that a table names: as files, by address, or by a name that one photo of a folder has."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fashionclip.images import SUFFIXES
from fashionclip.prepare.find_photos import ids_of, photos_below
from fashionclip.tables.photo_names import composed, keys_of, match_photos, spellings

Download = Callable[[Sequence[str]], Mapping[str, Path | str]]  # file of each address, or why there is none
_ADDRESSES = re.compile(r"[\s|;,]+(?=https?://)", re.IGNORECASE)
_ODD = re.compile(r"[^\w-]+")


def is_address(name: str) -> bool:
    """Whether a photo is to be downloaded."""
    return name.lower().startswith(("http://", "https://"))


class NamedPhotos:
    """Finds photos by what a table calls them.

    Args:
        folders: Folders that paths begin at, likeliest first; the first is listed for names that are no paths.
        download: What fetches photos by address.
        without: Folders that are not looked through.
        allow_outside: Whether photos may lie in none of the folders.

    Attributes:
        files: File of each name that was found.
        missing: Why each other name was not.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        download: Download,
        without: Collection[Path] = (),
        allow_outside: bool = False,
    ) -> None:
        self.folders, self.download, self.without, self.allow_outside = folders, download, without, allow_outside
        self._tops = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)
        self.files: dict[str, Path] = {}
        self.missing: dict[str, str] = {}
        self._known: dict[str, Path | None] = {}

    def names_some(self, cell: str) -> bool:
        """Whether all that a cell names look like photos, or are files."""
        return all(_like_a_photo(name) or self._file(name) for name in self.split(cell))

    def names_listed(self, cell: str) -> bool:
        """Whether a cell is what a table may call a photo of the first folder, such as its name without suffix."""
        return composed(cell) in self._listed_keys

    def split(self, cell: str) -> list[str]:
        """The photos that a cell names: one, a JSON list, also of objects, or several parted by "|", ";" or ","."""
        if cell.startswith("[") and cell.endswith("]"):
            try:
                return [_name_in(one) for one in json.loads(cell) if one]
            except ValueError:
                cell = cell[1:-1].replace("'", "")  # as Python writes a list
        if is_address(cell):
            return _ADDRESSES.split(cell)
        for separator in "|;," if not self._file(cell) else "":
            parts = [part.strip() for part in cell.split(separator) if part.strip()]
            if len(parts) > 1 and all(_like_a_photo(part) or self._file(part) for part in parts):
                return parts
        return [cell]

    def find(self, names: Sequence[str]) -> None:
        """Finds the files of distinct names, and says which photos of the first folder are not among them."""
        addresses = list(filter(is_address, names))
        for name, got in (self.download(addresses) if addresses else {}).items():
            if isinstance(got, Path):
                self.files[name] = got
            else:
                self.missing[name] = got
        local = [name for name in names if not is_address(name)]
        self.files |= {name: file for name in local if (file := self._file(name))}
        rest = [name for name in local if name not in self.files and name not in self.missing]
        found = defaultdict[str, list[str]](list)
        for path, place in zip(self._listed, match_photos(self._listed, rest).rows, strict=True) if local else ():
            if place is not None:
                found[rest[place]].append(path)
        for name in rest:
            meant = {*spellings(name)}  # not a photo in another folder, such as that of small pictures
            paths = [path for path in found[name] if meant & {*keys_of(composed(path))[:2]}] or found[name]
            if len({path.rpartition(".")[0] for path in paths}) == 1:
                self.files[name] = self.folders[0] / paths[0]
            else:
                self.missing[name] = f"{len(paths)} photos are called {name!r}, such as {paths[:2]}" if paths else ""
        if local:
            known = {os.path.realpath(file) for file in self.files.values()}
            alone = [path for path in self._listed if os.path.realpath(self.folders[0] / path) not in known]
            if alone:
                says = f"{len(alone):,} of {len(self._listed):,} photos have no row, such as {alone[0]!r}"
                print(f"{self.folders[0]}: {says}")

    def ids(self) -> dict[str, str]:
        """The image id of each name that was found: the path of its photo, without suffix where that is enough."""
        keys: dict[str, str] = {}
        file_of: dict[str, Path] = {}
        for name, file in self.files.items():
            key = self._key(name, file)
            if file_of.setdefault(key, file) != file:  # of the same path below another folder
                key = f"{_hash(str(file))}/{key}"
            keys[name] = key
        short = ids_of(keys.values())
        return {name: short[key] for name, key in keys.items()}

    @cached_property
    def _listed(self) -> list[str]:
        return photos_below(self.folders[0], without=self.without)

    @cached_property
    def _listed_keys(self) -> set[str]:
        return {key for path in self._listed for key in keys_of(composed(path))}

    def _key(self, name: str, file: Path) -> str:
        if is_address(name):
            stem = os.path.splitext(os.path.basename(_path(name)))[0]
            return f"{_ODD.sub('_', stem)[:80]}-{_hash(name)}{file.suffix}"
        file = Path(os.path.abspath(file))  # "../1.jpg" is relative to "." for Path
        for top in map(os.path.abspath, self.folders):
            if file.is_relative_to(top):
                return composed(file.relative_to(top).as_posix())
        return f"outside/{_hash(str(file))}/{file.name}"

    def _file(self, name: str) -> Path | None:
        """The file that a path leads to; macOS keeps accents apart in names of files."""
        if name not in self._known:
            path = (_path(name) if name.lower().startswith("file:") else name).replace("\\", "/")
            forms = dict.fromkeys((path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))))
            files = (os.path.normpath(folder / form) for folder in self.folders for form in forms)
            file = next(filter(os.path.isfile, files), None)
            if file and not self.allow_outside and not os.path.realpath(file).startswith(self._tops):
                self.missing[name] = (
                    f"{name!r} lies outside {self.folders[-1]}; dataset.allow_outside_root=true takes it"
                )
                file = None
            self._known[name] = Path(file) if file else None
        return self._known[name]


def _name_in(one: object) -> str:
    """The photo that a part of a JSON list names, such as an object of a shop's export."""
    known = [one[key] for key in ("src", "url", "path") if one.get(key)] if isinstance(one, dict) else []
    return str(known[0] if known else one)


def _like_a_photo(name: str) -> bool:
    return os.path.splitext(_path(name) if is_address(name) else name)[1].lower() in SUFFIXES


def _path(address: str) -> str:
    try:
        return unquote(urlsplit(address).path)
    except ValueError:  # such as http://[
        return address


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=6).hexdigest()
