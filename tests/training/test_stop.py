import os
import signal
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from fashionclip.errors import Stopped
from fashionclip.training.checkpoints import LastCheckpoint
from fashionclip.training.stop import SIGNALS, StopOnSignal, signals_restored


@pytest.fixture(autouse=True)
def restored():
    with signals_restored():
        yield


def trainer(tmp_path=None, *, rank=0, children=()):
    checkpoint = ModelCheckpoint(monitor="val/recall@1")
    if tmp_path is not None:
        (tmp_path / "best.ckpt").touch()
        checkpoint.best_model_path, checkpoint.best_model_score = str(tmp_path / "best.ckpt"), torch.tensor(0.25)
    launcher = SimpleNamespace(procs=list(children))
    return SimpleNamespace(
        is_global_zero=rank == 0,
        checkpoint_callback=checkpoint,
        strategy=SimpleNamespace(launcher=launcher),
        accumulate_grad_batches=2,
        callbacks=[Last(tmp_path)],
    )


class Last(LastCheckpoint):
    def __init__(self, folder):
        self.path = folder and folder / "checkpoints" / "last.ckpt"

    def write(self, trainer):
        self.path.parent.mkdir()
        self.path.touch()


MODULE = SimpleNamespace(device=torch.device("cpu"))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("validating", [False, True])
def test_a_signal_waits_for_the_step_at_hand_and_for_the_checkpoint(number, validating, tmp_path):
    stop, run = StopOnSignal(tmp_path), trainer(tmp_path)
    stop.setup(run, None, "fit")
    stop.on_train_batch_start(run, MODULE, None, 0)
    os.kill(os.getpid(), number)
    stop.on_train_batch_start(run, MODULE, None, 1)  # whose gradients belong to the same step
    with pytest.raises(
        Stopped, match=rf"^stopped by {number.name}; python train\.py resume={tmp_path} goes on; kept: .*best"
    ) as stopped:
        if validating:
            stop.on_validation_batch_start(run, MODULE, None, 0)
        else:
            stop.on_train_batch_start(run, MODULE, None, 2)
    assert stopped.value.code == 128 + number and not stop.at_once
    stop.on_exception(run, MODULE, stopped.value)
    handled = [signal.getsignal(one) for one in SIGNALS]
    if number == signal.SIGINT:  # the results follow, which the next one ends
        with pytest.raises(Stopped):
            os.kill(os.getpid(), number)
        assert stop.at_once
    else:
        assert handled == [signal.SIG_IGN] * len(SIGNALS)


def test_a_second_signal_does_not_wait(tmp_path):
    stop, run = StopOnSignal(tmp_path), trainer(tmp_path)
    stop.setup(run, None, "fit")
    stop.on_train_batch_start(run, MODULE, None, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped, match=r"^stopped by SIGINT; kept: .*best"):
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.at_once


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_says_what_is_kept_and_ends_with_its_code(number, tmp_path):
    stop = StopOnSignal(tmp_path)
    with pytest.raises(Stopped, match=rf"^stopped by {number.name} before the first checkpoint.*{tmp_path}") as early:
        os.kill(os.getpid(), number)
    stop.setup(trainer(tmp_path), None, "fit")
    with pytest.raises(Stopped, match=rf"kept: {tmp_path}/best\.ckpt, the best so far \(val/recall@1 0\.250\)") as late:
        os.kill(os.getpid(), number)
    assert early.value.code == late.value.code == 128 + number


def test_the_other_processes_of_a_training_say_nothing(tmp_path):
    StopOnSignal(tmp_path).setup(trainer(tmp_path, rank=1), None, "fit")
    with pytest.raises(Stopped, match=r"^$") as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.code == 143


def test_what_python_lost_is_raised_again_at_the_next_batch(tmp_path, monkeypatch):
    stop = StopOnSignal(tmp_path)

    class Loader:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("sys.unraisablehook", lambda _: None)
    Loader()
    for hook in (stop.on_train_batch_start, stop.on_validation_batch_start, stop.on_test_batch_start):
        with pytest.raises(Stopped, match="SIGTERM"):
            hook(None, None, None, 0)


def test_handlers_are_put_back_after_a_training_and_again_after_lightning_s(tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    with signals_restored():
        stop = StopOnSignal(tmp_path)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)  # as Lightning does
        stop.on_train_batch_start(trainer(), MODULE, None, 0)
        stop.on_train_end(None, None)
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_lightning_started_leaves_signals_to_the_first_process_which_ends_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    StopOnSignal(tmp_path)
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    monkeypatch.setenv("LOCAL_RANK", "0")
    stop, killed = StopOnSignal(tmp_path), []
    first = trainer(children=[SimpleNamespace(kill=lambda: killed.append(True))])
    stop.on_exception(first, None, RuntimeError())
    assert killed == [True] and first.strategy.launcher.procs == []
    os.kill(os.getpid(), signal.SIGTERM)  # it is ending already


def test_a_loading_process_that_has_just_begun_outlives_the_signal(tmp_path, capfd):
    StopOnSignal(tmp_path)
    child = os.fork()
    if child == 0:
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert capfd.readouterr() == ("", "")
