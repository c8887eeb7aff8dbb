"""Words that say what a garment is like, and which of them could be said of the same one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Term:
    """A word or phrase found in a text: where, as which term."""

    start: int
    end: int
    name: str


@dataclass(frozen=True)
class Aspect:
    """One thing that texts say of garments, in terms that may or may not be said of the same one.

    Attributes:
        kind: Of the mismatch where it is wrong.
        columns: Manifest columns that may state it.
        given: Manifest columns that its terms go with: jeans are rarely mauve, and men's articles rarely dresses.
        terms: To each term, in the singular where it has one, its families, parted by blanks. Two terms that share a
            family could be true of one garment; only terms that share none contradict each other.
    """

    kind: str
    columns: tuple[str, ...]
    given: tuple[str, ...]
    terms: Mapping[str, str]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.terms, key=len, reverse=True)
        parts = "|".join(rf"(?P<t{self._number[term]}>{_spelled(term)})" for term in longest_first)
        return re.compile(rf"(?<![\w-])(?:{parts})(?![\w-])", re.IGNORECASE)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {term: number for number, term in enumerate(self.terms)}

    def find(self, text: str) -> list[Term]:
        """All terms in a text, from left to right, without overlap; "navy blue" is one, not a "navy" and a "blue"."""
        names = list(self.terms)
        found = self._pattern.finditer(text)
        return [Term(m.start(), m.end(), names[int(str(m.lastgroup)[1:])]) for m in found]

    def families(self, terms: Iterable[str]) -> frozenset[str]:
        """The families of all of some terms."""
        return frozenset(family for term in terms for family in self.terms[term].split())


def _spelled(term: str) -> str:
    spelled = r"[\s-]?".join(map(re.escape, term.split()))
    plural_already = term.endswith("s") and not term.endswith("ss")
    return spelled if plural_already else spelled + "(?:e?s)?"


_ANY_COLOUR = "black grey white beige tan brown metal gold yellow orange red pink purple blue green"

COLOUR = Aspect(
    kind="colour",
    columns=("colour", "color"),
    given=("category",),
    terms={
        "black": "black",
        "charcoal": "black grey",
        "grey": "grey",
        "gray": "grey",
        "grey melange": "grey",
        "silver": "grey metal",
        "steel": "grey metal",
        "gunmetal": "grey black metal",
        "metallic": "grey metal gold brown",
        "white": "white",
        "off white": "white beige",
        "ivory": "white beige",
        "cream": "white beige yellow",
        "beige": "beige tan",
        "skin": "beige tan pink",
        "nude": "beige tan pink",
        "camel": "tan brown beige",
        "khaki": "tan brown beige green",
        "tan": "tan brown",
        "taupe": "tan brown grey beige",
        "mushroom brown": "brown grey beige tan",
        "coffee brown": "brown",
        "chocolate": "brown",
        "brown": "brown tan",
        "bronze": "brown gold metal orange",
        "copper": "brown gold metal orange",
        "rust": "brown orange red",
        "gold": "gold yellow metal",
        "golden": "gold yellow metal",
        "mustard": "yellow gold brown",
        "yellow": "yellow",
        "orange": "orange",
        "peach": "orange pink beige",
        "coral": "orange pink red",
        "red": "red",
        "maroon": "red purple brown",
        "burgundy": "red purple brown",
        "wine": "red purple",
        "pink": "pink",
        "rose": "pink red",
        "magenta": "pink purple",
        "mauve": "pink purple",
        "purple": "purple",
        "violet": "purple blue",
        "lavender": "purple",
        "blue": "blue",
        "navy": "blue black",
        "navy blue": "blue black",
        "turquoise": "blue green",
        "turquoise blue": "blue green",
        "aqua": "blue green",
        "teal": "blue green",
        "sea green": "green blue",
        "green": "green",
        "olive": "green brown",
        "mint": "green",
        "lime": "green yellow",
        "lime green": "green yellow",
        "fluorescent green": "green yellow",
        "multi": _ANY_COLOUR,
        "multicolour": _ANY_COLOUR,
        "multicoloured": _ANY_COLOUR,
        "multicolored": _ANY_COLOUR,
    },
)

_ARTICLES = {
    "top": "shirt,t shirt,tee,top,blouse,sweatshirt,sweater,pullover,jumper,cardigan,hoodie,jacket,blazer,coat,"
    "waistcoat,vest,shrug,jersey",
    "top dress": "kurta,kurti,tunic",
    "top underwear nightwear": "camisole",
    "bottom": "jeans,trouser,pant,track pant,shorts,capri,legging,jegging,tights,churidar,salwar,patiala",
    "bottom dress": "skirt",
    "dress": "dress,gown,saree,sari",
    "dress top bottom": "jumpsuit,romper,lehenga,tracksuit",
    "nightwear dress": "nightdress,night suit,bath robe,robe",
    "footwear": "shoe,sneaker,trainers,boot,bootie,sandal,heels,flats,flip flop,slipper,loafer,wedges,ballerina,"
    "floater",
    "bag": "bag,handbag,backpack,rucksack,clutch,duffel bag,laptop bag,messenger bag,sling bag,pouch,purse",
    "wallet bag": "wallet",
    "watch": "watch",
    "eyewear": "sunglasses,eyewear",
    "belt": "belt",
    "headwear": "cap,hat,headband",
    "tie": "tie",
    "socks": "sock,stocking",
    "scarf": "scarf,scarves,stole,muffler,dupatta",
    "jewellery": "earring,necklace,pendant,ring,bangle,bracelet,jewellery set",
    "cufflink": "cufflink",
    "fragrance": "perfume,deodorant,deo,body mist",
    "makeup": "lipstick,lip gloss,lip liner,nail polish,nail lacquer,kajal,eyeliner,mascara,foundation,compact,"
    "eyeshadow",
    "underwear": "brief,boxer,trunk,bra,panty,innerwear",
    "glove": "glove",
    "umbrella": "umbrella",
}
CATEGORY = Aspect(
    kind="category",
    columns=("category",),
    given=("gender",),
    terms={term: families for families, terms in _ARTICLES.items() for term in terms.split(",")},
)

MATERIAL = Aspect(
    kind="material",
    columns=("material", "fabric"),
    given=("category",),
    terms={
        "leather": "leather",
        "leatherette": "leather",
        "faux leather": "leather",
        "suede": "leather",
        "cotton": "cotton",
        "denim": "cotton denim",
        "canvas": "cotton canvas",
        "linen": "cotton linen",
        "silk": "silk",
        "satin": "silk synthetic",
        "chiffon": "silk synthetic",
        "georgette": "silk synthetic",
        "velvet": "silk synthetic cotton",
        "wool": "wool",
        "woollen": "wool",
        "cashmere": "wool",
        "fleece": "wool synthetic",
        "polyester": "synthetic",
        "nylon": "synthetic",
        "lycra": "synthetic cotton",
        "stainless steel": "metal",
        "metal": "metal",
        "brass": "metal",
        "rubber": "rubber",
        "plastic": "rubber synthetic",
        "jute": "jute",
        "wooden": "wood",
    },
)

SLEEVE = Aspect(
    kind="feature",
    columns=("sleeve", "sleeves"),
    given=(),
    terms={
        "long sleeve": "long",
        "long sleeved": "long",
        "full sleeve": "long",
        "full sleeved": "long",
        "three quarter sleeve": "three-quarter",
        "half sleeve": "short",
        "half sleeved": "short",
        "short sleeve": "short",
        "short sleeved": "short",
        "sleeveless": "none",
    },
)
NECK = Aspect(
    kind="feature",
    columns=("neck", "neckline"),
    given=(),
    terms={
        "round neck": "round",
        "crew neck": "round",
        "scoop neck": "round scoop",
        "v neck": "v",
        "polo neck": "collar high",
        "turtle neck": "high",
        "high neck": "high",
        "boat neck": "boat",
    },
)
PATTERN = Aspect(
    kind="feature",
    columns=("pattern",),
    given=("category",),
    terms={
        "solid": "plain",
        "plain": "plain",
        "striped": "stripe",
        "stripe": "stripe",
        "check": "check",
        "checked": "check",
        "checkered": "check",
        "plaid": "check",
        "floral": "floral print",
        "polka dot": "dots print",
        "printed": "print stripe check",  # prints may show anything
        "print": "print stripe check",
        "graphic": "print stripe check",
    },
)
ASPECTS = (COLOUR, CATEGORY, MATERIAL, SLEEVE, NECK, PATTERN)
HARD_KINDS = tuple(dict.fromkeys(aspect.kind for aspect in ASPECTS))

SYNONYMS = (  # each may stand for any other of its line
    ("t-shirt", "tshirt", "tee"),
    ("t-shirts", "tshirts", "tees"),
    ("trousers", "pants"),
    ("handbag", "purse"),
    ("backpack", "rucksack"),
    ("shoes", "footwear"),
    ("sneakers", "trainers"),
    ("flip flops", "slippers"),
    ("sweater", "pullover", "jumper"),
    ("sunglasses", "shades"),
    ("perfume", "fragrance"),
    ("deo", "deodorant"),
    ("saree", "sari"),
    ("watch", "wristwatch"),
    ("briefs", "underpants"),
    ("men", "mens", "gents"),
    ("women", "womens", "ladies"),
    ("kids", "childrens"),
    ("grey", "gray"),
    ("navy blue", "navy"),
    ("multi", "multicoloured"),
    ("coloured", "colored"),
    ("printed", "patterned"),
    ("check", "checked", "checkered"),
    ("striped", "stripy"),
    ("solid", "plain"),
    ("round neck", "crew neck"),
    ("long sleeve", "full sleeve"),
    ("short sleeve", "half sleeve"),
)
