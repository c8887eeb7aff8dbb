import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from fashionclip.app.again import check_places, differences, expand_again, made_with, repeated_run, write_made_with
from fashionclip.errors import InputError


def test_a_run_is_named_to_hydra(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").touch()
    monkeypatch.chdir(tmp_path.parent)
    for words in (["--again", tmp_path.name], [f"--again={tmp_path}"]):
        wanted = ["-m", "--config-path", str(tmp_path), "--config-name", "config", "seed=1"]
        assert expand_again(["-m", *words, "seed=1"]) == wanted
    assert expand_again(["-cp", tmp_path.name, "-cn", "config"]) == ["--config-path", str(tmp_path), "-cn", "config"]
    assert expand_again(["--config-path", "pkg://x"]) == ["--config-path", "pkg://x"]
    for words in (["--again"], ["--again", "no/such"]):
        with pytest.raises(
            SystemExit, match=r"error: --again .*: no config\.yaml there\. Expected the folder of a run"
        ):
            expand_again(words)


def test_a_config_of_a_run_s_folder_names_the_run(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        HydraConfig.instance().set_config(compose("config", return_hydra_config=True))
    assert repeated_run() == tmp_path
    HydraConfig.instance().cfg = None


def test_a_config_that_names_places_in_its_own_run_s_folder_is_refused_with_the_command(tmp_path):
    kept = OmegaConf.create({"callbacks": {"checkpoint": {"dirpath": str(tmp_path / "checkpoints")}}})
    with pytest.raises(InputError, match=r"would write over .* python train\.py \.\.\.$"):
        check_places(kept, tmp_path, folder=tmp_path.parent / "new")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- dataset=demo\n- dataset.root=a b\n")
    with pytest.raises(InputError, match=r"python train\.py dataset=demo 'dataset\.root=a b'$"):
        check_places(kept, tmp_path, folder=tmp_path / "new")
    check_places(kept, tmp_path / "other", folder=tmp_path.parent / "new")
    check_places(kept, tmp_path.parent, folder=tmp_path)
    check_places(OmegaConf.create({}), tmp_path, folder=tmp_path.parent / "new")


def test_what_a_run_was_made_with_is_compared(tmp_path):
    now = made_with("abc")
    assert {"dataset", "python", "torch", "lightning", "open_clip_torch"} <= set(now)
    for content in (None, "[1]", "{"):
        if content:
            (tmp_path / "made_with.json").write_text(content)
        assert differences(tmp_path, now)[0].endswith("data and packages are not compared with that run's")
    write_made_with(tmp_path, now)
    assert differences(tmp_path, now) == []
    assert differences(tmp_path, now | {"torch": "9", "dataset": "d"}) == [
        "the dataset is another one than that run's",
        f"torch is 9, was {now['torch']}",
    ]
