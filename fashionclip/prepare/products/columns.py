"""Which column of a catalogue's table means what: as the user says, or guessed from its titles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fashionclip.errors import InputError
from fashionclip.manifest import MANIFEST_COLUMNS
from fashionclip.tables.table import Table

ROLES = ("image", "texts", "item", "group", "category", "split")
# Titles, without case, blanks and signs, that shops and their programs give to what we ask for; likeliest first.
TITLES = {
    "image": (
        "image", "imagepath", "imagelink", "imageurl", "imagesrc", "imagefile", "imagefilename", "imagename", "images",
        "imageurls", "photo", "photopath", "photourl", "photos", "picture", "pictures", "img",
        "filename", "file", "filepath", "path", "url", "foto", "fotos", "bild", "bilder", "imagen", "immagine",
        "imageid", "id",
    ),
    "item": (
        "itemid", "productid", "sku", "skuid", "articleid", "articlenumber", "articleno",
        "handle", "artikelnummer", "artikelnr", "referencia", "reference", "codice", "id",
    ),
    "group": ("itemgroupid", "groupid", "parentsku", "styleid", "stylecode", "modelid"),
    "split": ("split", "subset", "partition"),
    "category": (
        "category", "productcategory", "producttype", "articletype", "type", "categories", "class", "garmenttype",
        "kategorie", "categorie", "categoria", "label",
    ),
}  # fmt: skip
TEXTS = {
    "title": (
        "title", "name", "displayname", "productname", "productdisplayname", "producttitle", "itemname", "caption",
        "text", "bezeichnung", "titel", "nom", "titre", "nombre", "titulo", "nome", "titolo",
    ),
    "description": (
        "description", "body", "bodyhtml", "longdescription", "shortdescription", "productdescription", "details",
        "beschreibung", "descripcion", "descrizione", "descricao",
    ),
}  # fmt: skip
ATTRIBUTES = {  # which judgements-derived knows by name
    "colour": ("colour", "color", "basecolour", "basecolor", "colourname", "colorname", "farbe", "couleur", "colore"),
    "gender": ("gender", "sex", "geschlecht", "genre", "genere", "genero"),
}
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
KNOWN_TITLES = sorted({title for titles in (*TITLES.values(), *TEXTS.values()) for title in titles})
_NUMBERED = re.compile(r"(.*?)\d+")
_TAKEN = {*MANIFEST_COLUMNS, "photo_hash", "photo", *ROLES}  # by the manifest, and on the way there
SAMPLE = 200  # cells looked at to tell a column of photos


@dataclass(frozen=True)
class ProductColumns:
    """Titles of a table's columns by what they mean.

    Attributes:
        image: Columns with photos, at least one.
        texts: Column of each field of a text, in the order in which they are joined.
        item: Column of the product that a photo shows.
        group: Column of what products have in common that must not straddle two splits, such as a style.
        category: Column of the kind of product.
        split: Column of the split of a photo, with values of `SPLIT_NAMES`.
        attributes: Columns of whatever else is known, by their names in the manifest.
    """

    image: list[str]
    texts: dict[str, str]
    item: str | None
    group: str | None
    category: str | None
    split: str | None
    attributes: dict[str, str]


def choose_columns(
    table: Table, given: Mapping[str, object] | None, *, names_photo: Sequence[Callable[[str], bool]], where: str
) -> ProductColumns:
    """Takes the columns that are given, guesses the others, and says on the terminal which those are.

    Where no attribute is given, all columns that are left are attributes under their own titles.

    Args:
        table: Table with at least one row.
        given: Columns by what they mean: `ROLES` (`image` a title or a list of them, `texts` titles by field, a list,
            or a title), further names of attributes; null for what the table does not have.
        names_photo: What tells whether a cell names a photo; a further one is asked where no column does by the first.
        where: Name of the table, for messages.

    Raises:
        InputError: A column is not there, no column has photos, or an attribute has a name that a manifest keeps.
    """
    given = dict(given or {})
    find = _Titles(table.header, where)
    used = {find(title, f"dataset.columns.{role}") for role, value in given.items() for title in titles_in(value)}
    image = [find(title) for title in titles_in(given.get("image"))] or _image_columns(table, names_photo, used)
    if not image:
        raise InputError(
            f"{where}: no column names photos; has {table.header}. Say which does: dataset.columns={{image: COLUMN}}."
        )
    if "image" not in given and names_photo[0](image[0]):
        raise InputError(
            f"{where}: its first line names a photo, {image[0]!r}. Expected titles there. Add a line of them."
        )
    used |= {*image}
    texts = {name: find(title) for name, title in _fields(given.get("texts")).items()}
    if "texts" not in given:
        texts = {name: title for name, titles in TEXTS.items() if (title := find.first(titles, used))}
    used |= {*texts.values()}
    single: dict[str, str | None] = {}
    for role in ("item", "group", "category", "split"):
        title = find.first(TITLES[role], used) if role not in given else None
        single[role] = next((find(one) for one in titles_in(given.get(role))), title)
        used |= {title} if title else set()
    if not texts and "texts" not in given and single["category"]:
        texts = {"title": single["category"]}
    values = {title: {*table.column(title)} - {""} for title in table.header}
    if single["split"] and (odd := sorted({value.casefold() for value in values[single["split"]]} - {*SPLIT_NAMES})):
        if "split" in given:
            raise InputError(
                f"{where}: column {single['split']!r} has {odd[0]!r}, expected a split: {', '.join(SPLIT_NAMES)}. Mend "
                "it, or give dataset.columns.split=null."
            )
        used -= {single["split"]}
        single["split"] = None
    attributes = {name: find(str(title)) for name, title in given.items() if name not in ROLES and title is not None}
    if not set(given) - set(ROLES):
        free = [title for title in table.header if title not in used and values[title]]
        attributes = _named(free, taken=set(texts))
    for name, count in Counter([*texts, *attributes]).items():
        if count > 1 or (name in _TAKEN and (name != "text" or name in attributes or len(texts) > 1)):
            raise InputError(
                f"dataset.columns: got {name!r} as the name of a text or an attribute, which the manifest has already. "
                "Give it another name."
            )
    known = {"image": image, "texts": texts, **single, "attributes": list(attributes.values())}
    given |= {"attributes": None} if set(given) - set(ROLES) else {}
    if guessed := [f"{role}: {_said(value)}" for role, value in known.items() if role not in given and value]:
        print(f"{where}: guessed from its titles: {', '.join(guessed)} (dataset.columns says otherwise)")
    return ProductColumns(image=image, texts=texts, attributes=attributes, **single)


def plain_title(title: str) -> str:
    """A title without case, blanks and signs.

    >>> plain_title("Product_Display Name")
    'productdisplayname'
    """
    return "".join(filter(str.isalnum, title.casefold()))


class _Titles:
    """The titles of a table, found in upper or lower case."""

    def __init__(self, header: Sequence[str], where: str) -> None:
        self.header, self.where = header, where
        self.folded = {title.casefold(): title for title in reversed(header)}
        self.plain = {plain_title(title): title for title in reversed(header)}

    def __call__(self, title: str, key: str = "dataset.columns") -> str:
        if title.casefold() not in self.folded:
            raise InputError(f"{key}: no column {title!r} in {self.where}; has {list(self.header)}. Correct the name.")
        return self.folded[title.casefold()]

    def first(self, choices: Sequence[str], used: set[str]) -> str | None:
        return next((self.plain[one] for one in choices if self.plain.get(one, "") not in used | {""}), None)


def _image_columns(table: Table, names_photo: Sequence[Callable[[str], bool]], used: set[str]) -> list[str]:
    """The column of which most cells name photos, those of usual titles first; and those that are numbered like it."""
    free = [title for title in table.header if title not in used]
    usual = [title for choice in TITLES["image"] for title in free if _base(title) == choice]
    for names in names_photo:
        share = {title: _share(table.column(title), names) for title in free}
        best = next((title for title in usual if share[title] > 0.5), max(free, key=share.__getitem__, default=""))
        if share.get(best):
            further = (_base(best), "additionalimagelink")
            return [title for title in free if title == best or (_base(title) in further and share[title])]
    return usual[:1]


def _base(title: str) -> str:
    """A title without a number behind it, as in image1, image2."""
    plain = plain_title(title)
    numbered = _NUMBERED.fullmatch(plain)
    return numbered[1] if numbered else plain


def _share(cells: Sequence[str], names_photo: Callable[[str], bool]) -> float:
    known = [cell for cell in cells if cell][:SAMPLE]
    return sum(map(names_photo, known)) / max(1, len(known))


def _named(titles: Sequence[str], *, taken: set[str]) -> dict[str, str]:
    """Names in the manifest of columns that have none given: their titles as words of a variable."""
    named: dict[str, str] = {}
    for title in titles:
        known = (name for name, titles in ATTRIBUTES.items() if plain_title(title) in titles and name not in named)
        name = next(known, re.sub(r"\W+", "_", title.lower()).strip("_") or "column")
        while name in _TAKEN | taken | named.keys():
            name = f"table_{name}"
        named[name] = title
    return named


def titles_in(value: object) -> list[str]:
    """All titles of a map of columns, or of a part of one."""
    if isinstance(value, Mapping):
        return [title for part in value.values() for title in titles_in(part)]
    return list(map(str, value)) if isinstance(value, list | tuple) else [] if value is None else [str(value)]


def _fields(value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(field): str(title) for field, title in value.items() if title is not None}
    return {name: title for name, title in _named(titles_in(value), taken=set()).items()}


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{field} {title!r}" for field, title in value.items())
    return ", ".join(map(repr, value)) if isinstance(value, list) else repr(value)
