import errno
import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.warnings import PossibleUserWarning
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset

from fashionclip.app.user_errors import one_message, quiet_lightning
from fashionclip.errors import Stopped
from fashionclip.images import UnreadableImageError


class _BadPhoto(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, position):
        raise UnreadableImageError("a.jpg: cannot be decoded. Replace the file.")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_photo_is_one_message_from_any_process(workers):
    with pytest.raises(SystemExit) as end, one_message():
        next(iter(DataLoader(_BadPhoto(), num_workers=workers)))
    assert end.value.code == "error: a.jpg: cannot be decoded. Replace the file."


def test_the_cause_is_found_below_hydras_wrapping():
    with pytest.raises(SystemExit, match=r"^error: a\.jpg$"), one_message():
        try:
            raise UnreadableImageError("a.jpg")
        except UnreadableImageError as error:
            raise RuntimeError("Error in call to target") from error


@pytest.mark.parametrize(
    ("stop", "code", "says"),
    [
        (Stopped("kept: a.ckpt", code=143), 143, "kept: a.ckpt\n"),
        (Stopped("", code=143), 143, ""),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here, or starts anew\n"),
    ],
)
@pytest.mark.parametrize("covered", [False, True])
def test_a_signal_is_a_line_and_its_exit_code(stop, code, says, covered, capsys):
    with pytest.raises(SystemExit) as end, one_message():
        try:
            raise stop
        except BaseException:
            if covered:  # as torch.save does, with an error of its own
                raise RuntimeError("unexpected pos")  # noqa: B904
            raise
    assert end.value.code == code and capsys.readouterr().err == says


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_message():
        _ = 1 / 0


def test_an_error_that_is_its_own_cause_is_followed_once():
    with pytest.raises(ValueError, match="its own"), one_message():
        error = ValueError("its own")
        raise error from error


def test_two_errors_that_are_each_others_cause_are_followed_once():
    with pytest.raises(KeyError), one_message():
        one, other = KeyError("one"), ValueError("other")
        other.__cause__ = one
        raise one from other


def test_a_mistake_is_named_where_cleaning_up_after_it_failed():
    with pytest.raises(SystemExit, match=r"^error: a\.jpg$"), one_message():
        try:
            raise UnreadableImageError("a.jpg")
        except UnreadableImageError:
            raise RuntimeError("while tidying up")  # noqa: B904


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/a"), r"run/a: no room left.*the same command again"),
        (OSError(errno.ENOSPC, "No space left on device"), "^error: no room left"),
        (PermissionError(errno.EACCES, "Permission denied", "run/a"), r"run/a: Permission denied\. Choose another"),
        (OSError(errno.EROFS, "Read-only file system", "run/a"), r"run/a: Read-only file system\. Choose another"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_message(error, message):
    with pytest.raises(SystemExit, match=message), one_message():
        raise RuntimeError("Error in call to target") from error


def test_an_os_error_of_another_kind_keeps_its_traceback():
    with pytest.raises(OSError, match="Bad file descriptor"), one_message():
        raise OSError(errno.EBADF, "Bad file descriptor")


@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistBackendError("NCCL error: remote process exited"),
        torch.distributed.DistNetworkError("connection closed"),
        RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:55980: Connection reset by peer"),
    ],
)
def test_a_process_that_outlives_another_one_ends_with_a_line(error):
    message = r"^error: another process of this run has ended .* earlier epochs are kept\.$"
    with pytest.raises(SystemExit, match=message), one_message():
        raise error


@pytest.mark.parametrize("target", ["lightning.Trainer", "torch.optim.lr_scheduler.LambdaLR"])
def test_what_a_constructor_refuses_is_a_line_with_its_key(target, monkeypatch):
    cfg = OmegaConf.create({"trainer": {"_target_": target, "accelerator": "cpu", "devices": "many"}})
    with pytest.raises(SystemExit, match=r"^error: trainer: .*HYDRA_FULL_ERROR=1"), one_message():
        instantiate(cfg.trainer)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(InstantiationException), one_message():
        instantiate(cfg.trainer)


def test_what_a_strategy_needs_is_a_line():
    cfg = OmegaConf.create({"trainer": {"_target_": "lightning.Trainer", "accelerator": "cpu", "strategy": "fsdp"}})
    with pytest.raises(SystemExit, match=r"^error: trainer: .*`fsdp` requires a GPU"), one_message():
        instantiate(cfg.trainer)


def test_what_lightning_refuses_later_is_a_line():
    with pytest.raises(SystemExit, match=r"^error: trainer: no such thing"), one_message():
        raise MisconfigurationException("no such thing")


def test_a_job_of_a_multirun_that_fails_lets_the_others_go_on(monkeypatch, capsys, tmp_path):
    job = SimpleNamespace(mode=RunMode.MULTIRUN, runtime=SimpleNamespace(output_dir=str(tmp_path)))
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: job)
    with one_message():
        raise UnreadableImageError("a.jpg")
    assert (tmp_path / "error.txt").read_text() == "a.jpg"
    with one_message():
        _ = 1 / 0
    assert (tmp_path / "error.txt").read_text() == "ZeroDivisionError: division by zero"
    said = capsys.readouterr().err
    assert said.startswith("error: a.jpg\n") and "ZeroDivisionError" in said


def test_lightning_does_not_talk_of_what_is_meant_so(caplog):
    """Each is said on every process of a training, some for each of 64 metrics."""
    noise = (
        "Found 12 module(s) in eval mode at the start of training. This may lead to unexpected behavior",
        "It is recommended to use `self.log('val/spread', ..., sync_dist=True)` when logging on epoch level",
        "Using `DistributedSampler` with the dataloaders. During `trainer.test()`, it is recommended",
    )
    with warnings.catch_warnings(record=True) as heard:
        quiet_lightning()
        for message in noise:
            warnings.warn(message, PossibleUserWarning, stacklevel=1)
        warnings.warn("something else", PossibleUserWarning, stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["something else"]
    logging.getLogger("lightning.fabric.utilities.distributed").info("Initializing distributed: GLOBAL_RANK: 0")
    logging.getLogger("lightning.pytorch.profilers.profiler").info("FIT Profiler Report")
    assert "Initializing" not in caplog.text
