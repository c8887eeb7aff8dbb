import random

import pandas as pd
import pytest

COLOURS = ("Red", "Maroon", "Navy Blue", "Blue", "Black", "White", "Green", "Multi")
ARTICLES = ("Shirt", "T-shirt", "Jeans", "Skirt", "Dress", "Sandals", "Handbag", "Watch")


@pytest.fixture
def catalogue():
    def catalogue(count=400, *, seed=0, attributes=True):
        """Products whose names repeat across colours, and whose attributes say more than texts, or something else."""
        rng = random.Random(seed)
        rows = []
        for number in range(count):
            colour, article = rng.choice(COLOURS), rng.choice(ARTICLES)
            words = [rng.choice(("Acme", "Bolt", "Red Tape")), rng.choice(("Men", "Women"))]
            words += [rng.choice(("Leather", "Cotton", "Silk"))] if rng.random() < 0.5 else []
            words += (
                [rng.choice(("Striped", "Solid", "Check", "Long Sleeve", "Sleeveless"))] if rng.random() < 0.5 else []
            )
            words += [colour] if rng.random() < 0.8 else []
            row = {"image_id": f"p{number}", "text": " ".join([*words, article]), "item_id": f"p{number}"}
            row["group_id"] = rng.choice((row["text"], f"g{number // 3}"))
            row["colour"] = colour if rng.random() < 0.9 else rng.choice((*COLOURS, ""))
            row["category"] = f"{article}s" if rng.random() < 0.9 else ""
            row["gender"] = words[-1] if rng.random() < 0.9 else ""
            row["split"] = ("train", "train", "val", "test")[number % 4]
            rows.append(row)
        table = pd.DataFrame(rows)
        return table if attributes else table.drop(columns=["colour", "category", "gender"])

    return catalogue
