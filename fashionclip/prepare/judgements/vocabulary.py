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
        kind: Kind of the mismatch where it is wrong.
        columns: Manifest columns that may state it.
        given: Manifest columns that its terms go with: jeans are rarely mauve, and men's articles rarely dresses.
        terms: Families of each term (in the singular where it has one), between blanks. Two terms that share a family
            could be true of one garment; only terms that share none contradict each other.
    """

    kind: str
    columns: tuple[str, ...]
    given: tuple[str, ...]
    terms: Mapping[str, str]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(enumerate(self.terms), key=lambda numbered: len(numbered[1]), reverse=True)
        parts = "|".join(rf"(?P<t{number}>{_spelled(term)})" for number, term in longest_first)
        return re.compile(rf"(?<![\w-])(?:{parts})(?![\w-])", re.IGNORECASE)

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


def _by_term(table: Mapping[str, str]) -> dict[str, str]:
    """The families of each term, from a table of terms between commas by families between blanks."""
    return {term: families for families, terms in table.items() for term in terms.split(", ")}


_ANY_COLOUR = "black grey white beige tan brown metal gold yellow orange red pink purple blue green"

COLOUR = Aspect(
    kind="colour",
    columns=("colour", "color"),
    given=("category",),
    terms=_by_term(
        {
            "black": "black",
            "black grey": "charcoal",
            "grey": "grey, gray, grey melange",
            "grey metal": "silver, steel",
            "grey black metal": "gunmetal",
            "grey metal gold brown": "metallic",
            "white": "white",
            "white beige": "off white, ivory",
            "white beige yellow": "cream",
            "beige tan": "beige",
            "beige tan pink": "skin, nude",
            "tan brown beige": "camel",
            "tan brown beige green": "khaki",
            "tan brown": "tan",
            "tan brown grey beige": "taupe",
            "brown grey beige tan": "mushroom brown",
            "brown": "coffee brown, chocolate",
            "brown tan": "brown",
            "brown gold metal orange": "bronze, copper",
            "brown orange red": "rust",
            "gold yellow metal": "gold, golden",
            "yellow gold brown": "mustard",
            "yellow": "yellow",
            "orange": "orange",
            "orange pink beige": "peach",
            "orange pink red": "coral",
            "red": "red",
            "red purple brown": "maroon, burgundy",
            "red purple": "wine",
            "pink": "pink",
            "pink red": "rose",
            "pink purple": "magenta, mauve",
            "purple": "purple, lavender",
            "purple blue": "violet",
            "blue": "blue",
            "blue black": "navy, navy blue",
            "blue green": "turquoise, turquoise blue, aqua, teal",
            "green blue": "sea green",
            "green": "green, mint",
            "green brown": "olive",
            "green yellow": "lime, lime green, fluorescent green",
            _ANY_COLOUR: "multi, multicolour, multicoloured, multicolored",
        }
    ),
)

CATEGORY = Aspect(
    kind="category",
    columns=("category",),
    given=("gender",),
    terms=_by_term(
        {
            "top": "shirt, t shirt, tee, top, blouse, sweatshirt, sweater, pullover, jumper, cardigan, hoodie, "
            "jacket, blazer, coat, waistcoat, vest, shrug, jersey",
            "top dress": "kurta, kurti, tunic",
            "top underwear nightwear": "camisole",
            "bottom": "jeans, trouser, pant, track pant, shorts, capri, legging, jegging, tights, churidar, salwar, "
            "patiala",
            "bottom dress": "skirt",
            "dress": "dress, gown, saree, sari",
            "dress top bottom": "jumpsuit, romper, lehenga, tracksuit",
            "nightwear dress": "nightdress, night suit, bath robe, robe",
            "footwear": "shoe, sneaker, trainers, boot, bootie, sandal, heels, flats, flip flop, slipper, loafer, "
            "wedges, ballerina, floater",
            "bag": "bag, handbag, backpack, rucksack, clutch, duffel bag, laptop bag, messenger bag, sling bag, "
            "pouch, purse",
            "wallet bag": "wallet",
            "watch": "watch",
            "eyewear": "sunglasses, eyewear",
            "belt": "belt",
            "headwear": "cap, hat, headband",
            "tie": "tie",
            "socks": "sock, stocking",
            "scarf": "scarf, scarves, stole, muffler, dupatta",
            "jewellery": "earring, necklace, pendant, ring, bangle, bracelet, jewellery set",
            "cufflink": "cufflink",
            "fragrance": "perfume, deodorant, deo, body mist",
            "makeup": "lipstick, lip gloss, lip liner, nail polish, nail lacquer, kajal, eyeliner, mascara, "
            "foundation, compact, eyeshadow",
            "underwear": "brief, boxer, trunk, bra, panty, innerwear",
            "glove": "glove",
            "umbrella": "umbrella",
        }
    ),
)

MATERIAL = Aspect(
    kind="material",
    columns=("material", "fabric"),
    given=("category",),
    terms=_by_term(
        {
            "leather": "leather, leatherette, faux leather, suede",
            "cotton": "cotton",
            "cotton denim": "denim",
            "cotton canvas": "canvas",
            "cotton linen": "linen",
            "silk": "silk",
            "silk synthetic": "satin, chiffon, georgette",
            "silk synthetic cotton": "velvet",
            "wool": "wool, woollen, cashmere",
            "wool synthetic": "fleece",
            "synthetic": "polyester, nylon",
            "synthetic cotton": "lycra",
            "metal": "stainless steel, metal, brass",
            "rubber": "rubber",
            "rubber synthetic": "plastic",
            "jute": "jute",
            "wood": "wooden",
        }
    ),
)

SLEEVE = Aspect(
    kind="feature",
    columns=("sleeve", "sleeves"),
    given=(),
    terms=_by_term(
        {
            "long": "long sleeve, long sleeved, full sleeve, full sleeved",
            "three-quarter": "three quarter sleeve",
            "short": "half sleeve, half sleeved, short sleeve, short sleeved",
            "none": "sleeveless",
        }
    ),
)
NECK = Aspect(
    kind="feature",
    columns=("neck", "neckline"),
    given=(),
    terms=_by_term(
        {
            "round": "round neck, crew neck",
            "round scoop": "scoop neck",
            "v": "v neck",
            "collar high": "polo neck",
            "high": "turtle neck, high neck",
            "boat": "boat neck",
        }
    ),
)
PATTERN = Aspect(
    kind="feature",
    columns=("pattern",),
    given=("category",),
    terms=_by_term(
        {
            "plain": "solid, plain",
            "stripe": "striped, stripe",
            "check": "check, checked, checkered, plaid",
            "floral print": "floral",
            "dots print": "polka dot",
            "print stripe check": "printed, print, graphic",  # prints may show anything
        }
    ),
)
ASPECTS = (COLOUR, CATEGORY, MATERIAL, SLEEVE, NECK, PATTERN)
HARD_KINDS = tuple(dict.fromkeys(aspect.kind for aspect in ASPECTS))

SYNONYMS = (  # each may stand for any other within its parentheses
    ("t-shirt", "tshirt", "tee"), ("t-shirts", "tshirts", "tees"), ("trousers", "pants"), ("handbag", "purse"),
    ("backpack", "rucksack"), ("shoes", "footwear"), ("sneakers", "trainers"), ("flip flops", "slippers"),
    ("sweater", "pullover", "jumper"), ("sunglasses", "shades"), ("perfume", "fragrance"), ("deo", "deodorant"),
    ("saree", "sari"), ("watch", "wristwatch"), ("briefs", "underpants"), ("men", "mens", "gents"),
    ("women", "womens", "ladies"), ("kids", "childrens"), ("grey", "gray"), ("navy blue", "navy"),
    ("multi", "multicoloured"), ("coloured", "colored"), ("printed", "patterned"), ("check", "checked", "checkered"),
    ("striped", "stripy"), ("solid", "plain"), ("round neck", "crew neck"), ("long sleeve", "full sleeve"),
    ("short sleeve", "half sleeve"),
)  # fmt: skip
