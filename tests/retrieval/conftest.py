import numpy as np
import pytest
from PIL import Image

from fashionclip.retrieval.encoder import load_encoder
from fashionclip.retrieval.export.export import write_export
from fashionclip.retrieval.index.index import update_index
from fashionclip.retrieval.index.index_source import read_source

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def write_small_export(build, tmp_path_factory):
    def write_small_export(seed):
        """The folder of an export of a very small model that nobody has trained."""
        folder = tmp_path_factory.mktemp("exports") / "small"
        backbone = build(SMALL, name="small-for-tests", seed=seed)
        write_export(folder, backbone, facts={"label": "small", "judge": None})
        return folder

    return write_small_export


@pytest.fixture(scope="session")
def export(write_small_export):
    return write_small_export(0)


@pytest.fixture(scope="session")
def other_export(write_small_export):
    return write_small_export(1)


@pytest.fixture(scope="session")
def encoder(export):
    return load_encoder(export)


def write_photo(path, seed):
    """A small photo like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((40, 40), Image.Resampling.NEAREST).save(path)


@pytest.fixture(scope="session")
def photo():
    """`photo(path, seed)` writes one."""
    return write_photo


def write_shop(folder):
    """Twelve photos in `folder`/shop, two of them in a subfolder, and a table of what they show."""
    shop = folder / "shop"
    for number in range(12):
        write_photo(shop / ("new" if number >= 10 else "") / f"{number:02}.png", number)
    lines = ["image,sku,title,Category,Price,Size,Main Colour,code"]
    for number in range(11):  # the table does not know the last photo
        colour = ["Red", "Blue", ""][number % 3]
        price = number * 5.5
        lines.append(f"{number:02}.png,s{number // 2},Dress {number},Dresses,{price},{36 + number},{colour},0{number}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return shop


@pytest.fixture
def shop(tmp_path):
    """Written by `write_shop`."""
    return write_shop(tmp_path)


@pytest.fixture(scope="module")
def shared_shop(tmp_path_factory):
    """The same for all tests of a module."""
    return write_shop(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def index(shop, encoder, export, tmp_path):
    """An index of the shop, made by `export`."""
    update_index(tmp_path / "index", encoder, read_source(shop), export=export)
    return tmp_path / "index"
