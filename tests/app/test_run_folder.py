import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from fashionclip.app.run_folder import RANKS, RunFolderCheck, fresh_folder, own_run_folder, write_run_config
from fashionclip.errors import InputError

CONFIGS = str(Path(__file__).parents[2] / "configs")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What Hydra says is the run folder."""
    (tmp_path / "run").mkdir()
    told = SimpleNamespace(runtime=SimpleNamespace(output_dir=str(tmp_path / "run")))
    monkeypatch.setattr(HydraConfig, "get", lambda: told)
    return tmp_path / "run"


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path):
    script = "import sys; from fashionclip.app.run_folder import fresh_folder; print(fresh_folder(sys.argv[1]))"
    wanted = str(tmp_path / "runs" / "12-00-00")
    started = [subprocess.Popen([sys.executable, "-c", script, wanted], stdout=subprocess.PIPE) for _ in range(3)]
    names = {process.communicate()[0].decode().strip() for process in started}
    assert names == {wanted, f"{wanted}_2", f"{wanted}_3"} and all(Path(name).is_dir() for name in names)


def test_processes_of_one_run_have_one_folder(tmp_path, monkeypatch):
    wanted = str(tmp_path / "12-00-00")
    assert fresh_folder(wanted) == wanted
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert fresh_folder(wanted) == wanted


@pytest.mark.parametrize("left", ["checkpoints/best.ckpt", "checkpoints/last.ckpt", "results.json"])
def test_what_an_earlier_run_left_is_not_written_over(folder, left):
    with own_run_folder():
        (folder / "config.yaml").touch()  # by itself no loss: of a run that failed
    with own_run_folder():
        (folder / left).parent.mkdir(exist_ok=True)
        (folder / left).touch()
    with pytest.raises(InputError, match=rf"{folder}: holds {left} of an earlier run.*another hydra\.run\.dir"):
        own_run_folder().__enter__()


def test_two_runs_at_once_do_not_share_a_folder(folder, monkeypatch):
    with own_run_folder():
        with pytest.raises(InputError, match="another run is at work in this folder"):
            own_run_folder().__enter__()
        monkeypatch.setenv("LOCAL_RANK", "1")
        with own_run_folder():  # a process of the same run
            pass
    assert not any(folder.iterdir())


@pytest.mark.parametrize("given", [None, "runs/it's mine, [2]"])
def test_a_run_made_from_a_run_s_config_writes_into_its_own_folder(tmp_path, monkeypatch, given):
    monkeypatch.setenv("DF2_ROOT", "then")
    overrides = ["dataset=df2", "loss=semipos", "hydra.runtime.output_dir=/old"]
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        cfg = compose("train", [*overrides, *([f'hydra.run.dir="{given}"'] if given else [])], True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    write_run_config(tmp_path / "config.yaml", cfg)
    assert "/old" not in (tmp_path / "config.yaml").read_text()
    monkeypatch.setenv("DF2_ROOT", "now")
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        again = compose("config", ["hydra.runtime.output_dir=/new", "model.lr=0.5", "loss.margin=2"], True)
    HydraConfig.instance().set_config(again)
    assert again.callbacks.checkpoint.dirpath == again.callbacks.last.dirpath == "/new/checkpoints"
    assert again.logger.csv.save_dir == "/new" and again.callbacks.early_stopping.monitor.startswith("val/")
    assert (again.optimizer.lr, again.loss.function.loss.margin) == (0.5, 2), "what refers to others still does"
    assert again.dataset.source == "then", "what was looked up stays"
    folder = Path(given or f"runs/deepfashion2-sku/{again.model.label}")
    (folder if given else tmp_path).mkdir(parents=True, exist_ok=True)
    assert again.hydra.run.dir.startswith(f"{folder}_2" if given else f"{folder}/20")
    assert set(again.hydra.callbacks) == {"folder", "summary"} and not again.hydra.job.chdir


def told(folder):
    return OmegaConf.create({"hydra": {"run": {"dir": str(folder)}, "sweep": {"dir": f"${{fresh:{folder}}}"}}})


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    RunFolderCheck().on_run_start(told(tmp_path / "a" / "b"))
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_line_with_its_key(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^error: hydra\.run\.dir: cannot be written \(.*Not a directory.*file/x"):
        RunFolderCheck().on_run_start(told(tmp_path / "file" / "x"))
    with pytest.raises(SystemExit, match=r"^error: hydra\.sweep\.dir: cannot be written \(.*Not a directory.*file/x"):
        RunFolderCheck().on_multirun_start(told(tmp_path / "file" / "x"))


def test_a_full_disk_is_a_line(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fashionclip.app.run_folder.TemporaryFile", full)
    with pytest.raises(SystemExit, match="No space left on device"):
        RunFolderCheck().on_run_start(told(tmp_path))
