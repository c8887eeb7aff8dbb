"""Twenty everyday queries to an index of Kaggle's products: what is found, and how much of it is what was asked for.

    python benchmarks/everyday_queries.py --index INDEX [--to runs/everyday_queries.png]

Beside each query stands a filter that says what is asked for in terms of the catalogue's own attributes, which search
does not look at. Prints how many of the first five photos pass it, and how many photos of the whole catalogue do, which
is what chance would find; where the index is of a prepared dataset, the same among the photos of val and test, which
training has not seen. Draws all photos found in the whole catalogue, those that pass framed. Results so far are in
RESULTS.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from fashionclip.images import load_image
from fashionclip.retrieval.search.search import Hit, Searcher

TOP_K = 5
ACROSS = 2  # queries in a line of the picture
SIDE = 160  # pixels of a drawn photo
UNSEEN = "split in ('val', 'test')"
RED, BLUE = "('Red', 'Maroon')", "('Blue', 'Navy Blue')"
QUERIES = {
    "women's red kurta": f"category in ('Kurtas', 'Kurtis') and gender = 'Women' and colour in {RED}",
    "black leather wallet": "category = 'Wallets' and colour = 'Black'",
    "white sneakers": "category in ('Casual Shoes', 'Sports Shoes') and colour in ('White', 'Off White')",
    "men's blue denim jeans": f"category = 'Jeans' and gender = 'Men' and colour in {BLUE}",
    "navy blue polo t-shirt": f"category = 'Tshirts' and colour in {BLUE}",
    "running shoes for women": "category = 'Sports Shoes' and gender = 'Women'",
    "black formal shoes": "category = 'Formal Shoes' and colour = 'Black'",
    "brown leather belt": "category = 'Belts' and colour in ('Brown', 'Tan', 'Coffee Brown')",
    "men's wrist watch with a black dial": "category = 'Watches' and gender = 'Men' and colour = 'Black'",
    "aviator sunglasses": "category = 'Sunglasses'",
    "pink handbag": "category = 'Handbags' and colour in ('Pink', 'Magenta', 'Peach', 'Mauve')",
    "high heels for a party": "category = 'Heels'",
    "green t-shirt": "category = 'Tshirts' and colour in ('Green', 'Olive', 'Lime Green', 'Sea Green', 'Teal')",
    "checked shirt for men": "category = 'Shirts' and gender = 'Men'",
    "grey winter sweater": "category in ('Sweaters', 'Sweatshirts') and colour in ('Grey', 'Grey Melange', 'Charcoal')",
    "purple top": "category in ('Tops', 'Tunics') and colour in ('Purple', 'Lavender', 'Mauve')",
    "flip flops": "category = 'Flip Flops'",
    "school backpack": "category = 'Backpacks'",
    "striped tie": "category = 'Ties'",
    "floral print dress": "category = 'Dresses'",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="folder that `fashionclip index` wrote")
    parser.add_argument("--to", type=Path, default=Path("runs/everyday_queries.png"), help="picture to draw")
    options = parser.parse_args()
    searcher = Searcher.open(options.index)
    found = measure(searcher)
    if "split" in searcher.fields:
        measure(searcher, among=UNSEEN)
    draw(options.to, searcher, found)
    print(f"picture: {options.to}")


def measure(searcher: Searcher, *, among: str | None = None) -> dict[str, list[tuple[Hit, bool]]]:
    """Prints how much of what the queries find is what was asked for.

    Args:
        searcher: Searcher of the index.
        among: Filter of the photos that may be found; None: all.

    Returns:
        By query the photos found, each with whether it is right.
    """
    photos = len(searcher) if among is None else len(searcher.search_text("photo", len(searcher), where=among))
    found: dict[str, list[tuple[Hit, bool]]] = {}
    by_chance = 0.0
    print(f"{photos:,} photos{'' if among is None else f', {among}'}\nof {TOP_K}  in all  query")
    for query, asked in QUERIES.items():
        where = asked if among is None else f"({asked}) and {among}"
        right = {hit.image_id for hit in searcher.search_text(query, len(searcher), where=where)}
        hits = searcher.search_text(query, TOP_K, where=among)
        found[query] = [(hit, hit.image_id in right) for hit in hits]
        by_chance += len(right) / photos / len(QUERIES)
        print(f"{sum(is_right for _, is_right in found[query]):>4}  {len(right):>6}  {query}")
    precision = sum(is_right for hits in found.values() for _, is_right in hits) / (TOP_K * len(QUERIES))
    print(f"precision@{TOP_K} {precision:.2f}, by chance {by_chance:.3f}")
    return found


def draw(picture: Path, searcher: Searcher, found: dict[str, list[tuple[Hit, bool]]]) -> None:
    from matplotlib.figure import Figure

    lines = -(-len(found) // ACROSS)
    figure = Figure(figsize=(1.35 * TOP_K * ACROSS + 0.5, 1.75 * lines), layout="constrained")
    blocks = figure.subfigures(lines, ACROSS, squeeze=False).flat
    for block, (query, hits) in tqdm(zip(blocks, found.items(), strict=False), total=len(found), desc="drawing"):
        block.suptitle(query, fontsize=10, x=0.02, ha="left")
        for axes, (hit, is_right) in zip(block.subplots(1, TOP_K), hits, strict=True):
            axes.imshow(load_image(searcher.photo(hit.image_id), at_least=SIDE))
            axes.set(xticks=[], yticks=[])
            for edge in axes.spines.values():
                edge.set(color="seagreen" if is_right else "lightgrey", linewidth=3 if is_right else 1)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main()
