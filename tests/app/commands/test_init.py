import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from fashionclip.app.cli import main
from fashionclip.app.hydra_command import CONFIGS, OwnConfigs


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """`dataset=shop` as `fashionclip prepare` composes it in a folder that init has written."""

    def composed():
        monkeypatch.chdir(tmp_path / "shop")
        Plugins.instance().register(OwnConfigs)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("prepare", ["dataset=shop"]).dataset

    return composed


def test_without_a_catalogue_the_config_says_what_to_write(composed, tmp_path):
    main(["init", str(tmp_path / "shop")])
    cfg = composed()
    assert OmegaConf.is_missing(cfg, "source") and cfg.columns is None and cfg.root == "data/prepared/shop"
    assert "runs/" in (tmp_path / "shop" / ".gitignore").read_text().split()
    readme = (tmp_path / "shop" / "README.md").read_text()
    commands = [line.split()[1] for line in readme.splitlines() if line.startswith("fashionclip ")]
    assert commands == ["prepare", "train", "export", "index", "search", "serve"]


def test_columns_of_a_catalogue_are_written_down(composed, tmp_path, monkeypatch):
    (tmp_path / "liste.csv").write_text(
        'Artikel-Nr;Foto;"Bezeichnung ""neu""";Farbe\n1;a.jpg;Kleid;rot\n2;b.jpg;Hose;blau\n', encoding="cp1252"
    )
    monkeypatch.chdir(tmp_path)
    main(["init", "shop", "--source", "liste.csv"])
    cfg = composed()
    assert cfg.source == "../liste.csv" and cfg.name == "shop"
    assert cfg.columns == {
        "image": "Foto", "texts": None, "item": "Artikel-Nr", "group": None, "category": None, "split": None,
        "bezeichnung_neu": 'Bezeichnung "neu"', "colour": "Farbe",
    }  # fmt: skip


def test_what_holds_something_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").touch()
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(SystemExit, match=r"holds something already. Expected an empty folder, or a new name\."):
            main(["init", str(folder)])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
