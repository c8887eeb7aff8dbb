import re
from pathlib import Path

import pandas as pd
import pytest
from drawn_photos import draw
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from PIL import Image

from fashionclip.app.check import check
from fashionclip.app.datasets import prepare
from fashionclip.prepare.deepfashion2.standin import write_deepfashion2_fixture

CONFIGS = Path(__file__).parents[2] / "configs"


TITLES = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"


@pytest.fixture
def composed(tmp_path):
    """The config of a dataset of photos of at most 120 pixels, with `tmp_path/prepared` as its root."""

    def composed(name, **changes):
        given = [f"dataset={name}", f"dataset.root={tmp_path / 'prepared'}", "dataset.max_side=120"]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("prepare", [*given, *(f"dataset.{key}={value}" for key, value in changes.items())]).dataset

    yield composed
    GlobalHydra.instance().clear()


@pytest.fixture
def catalogue(tmp_path):
    """A folder in Kaggle's format: six products, one of them without its photo, one without a name."""
    names = ["Red Shirt", "Blue Shirt", "Green [old] Shirt", "White Shoes", "No Photo", ""]
    rows = [f"{number},Men,,,{name.split(' ')[-1]},,,,,{name}" for number, name in enumerate(names)]
    (tmp_path / "raw" / "images").mkdir(parents=True)
    (tmp_path / "raw" / "styles.csv").write_text("\n".join([TITLES, *rows]))
    for number in (0, 1, 2, 3, 5):
        draw(number).save(tmp_path / "raw" / "images" / f"{number}.jpg")
    return tmp_path / "raw"


SPLIT_EVENLY = "{train: 0.4, val: 0.3, test: 0.3}"


def test_a_check_says_what_preparing_does_and_leaves_nothing_prepared(composed, catalogue, tmp_path, capsys):
    cfg = composed("kaggle-products", source=catalogue, ratios=SPLIT_EVENLY)
    check(cfg, to=tmp_path / "to", photos=3)
    said = capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "to"], "hidden ones too"
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["contact_sheet.png", "dropped.csv"]
    assert f"{tmp_path / 'to' / 'contact_sheet.png'}: photos of each split" in said and "nothing is prepared" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "category 4 2 Shirt (3), Shoes (1)" in lines
    assert any(line.startswith("photo_missing 1 4 ") and "'4'" in line for line in lines)
    assert any(line.startswith("no_text 1 5 ") for line in lines)

    prepared = prepare(cfg)
    assert "already prepared" not in capsys.readouterr().out
    assert (tmp_path / "to" / "dropped.csv").read_bytes() == (prepared.root / "dropped.csv").read_bytes()
    for split, part in [*prepared.manifest.groupby("split"), ("all", prepared.manifest)]:
        counts = [part[column].nunique() for column in ("image_id", "item_id", "group_id", "text")]
        assert any(line.startswith(" ".join(map(str, [split, *counts, 0]))) for line in lines), (split, counts)


def prepared_sources(folder):
    """A small source of each kind, and the settings that it takes."""
    for number in range(12):
        (folder / "photos").mkdir(exist_ok=True)
        draw(number).save(folder / "photos" / f"{number}.jpg")
    pairs = [(f"{n}.jpg", f"Text {n // 2} of some words", ("match", "mismatch")[n % 2]) for n in range(12)]
    pd.DataFrame(pairs, columns=["image_path", "text", "label"]).to_csv(folder / "photos" / "pairs.csv", index=False)
    write_deepfashion2_fixture(folder / "df2", photos=folder / "photos", images=10, faults=False, workers=0)
    return {
        "demo": {"source": folder / "drawn", "items": 8, "shots": 1},
        "products": {"source": folder / "photos" / "pairs.csv"},
        "synthetic-triplet": {"source": folder / "photos", "workers": 0, "limit": 4},
        "deepfashion2-sku": {"source": folder / "df2", "workers": 0},
        "judgements-csv": {"source": folder / "photos" / "pairs.csv", "report": folder / "to" / "validation.json"},
    }


def test_every_source_can_be_checked(composed, demo_dataset, tmp_path, capsys):
    sources = prepared_sources(tmp_path) | {"judgements-derived": {"source": demo_dataset.root}}
    for name, settings in sources.items():
        check(composed(name, **settings), to=tmp_path / "to", photos=2)
        said = capsys.readouterr().out
        assert f"{name}, as it would be prepared" in said and re.search(r"\n +all +\d", said)
        assert bool(re.search("match +mismatch", said)) == name.startswith("judgements")
        with Image.open(tmp_path / "to" / "contact_sheet.png") as sheet:
            assert sheet.format == "PNG" and sheet.width > 1000 and sheet.height > 300
        assert not (tmp_path / "prepared").exists() and not list(tmp_path.glob(".*"))


def test_what_cannot_be_prepared_is_one_error_and_leaves_nothing(composed, tmp_path):
    with pytest.raises(InstantiationException, match=r"no such file or folder"):
        check(composed("kaggle-products", source=tmp_path / "none"), to=tmp_path / "to", photos=2)
    assert not list(tmp_path.iterdir())
