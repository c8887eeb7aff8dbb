from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn

from fashionclip.training.epochs import EpochLines

MONITOR = "val/text_to_image/recall@10"


class Run:
    """As much of a trainer as the callback looks at; validates with the value given."""

    def __init__(self):
        self.lines = EpochLines(monitor=MONITOR)
        self.trainer = SimpleNamespace(
            state=SimpleNamespace(fn=TrainerFn.FITTING),
            callbacks=[],
            current_epoch=0,
            max_epochs=3,
            is_global_zero=True,
            callback_metrics={},
        )

    def validate(self, value):
        self.trainer.callback_metrics = {MONITOR: torch.tensor(value), "val/spread": torch.tensor(value / 2)}
        self.lines.on_validation_end(self.trainer, None)

    def epoch(self, value, losses=(1.0, 2.0)):
        for step, loss in enumerate(losses):
            self.trainer.callback_metrics = {"train/loss": torch.tensor(loss)}
            self.lines.on_train_batch_end(self.trainer, None, None, None, step)
        self.validate(value)
        self.trainer.current_epoch += 1


def test_each_validation_is_a_line_and_the_best_one_is_kept(capsys):
    run = Run()
    run.trainer.state.fn = TrainerFn.VALIDATING
    run.validate(0.9)
    run.trainer.state.fn = TrainerFn.FITTING
    for value in (float("nan"), 0.25, 0.125):
        run.epoch(value)
    run.lines.on_fit_end(run.trainer, None)
    assert capsys.readouterr().out.splitlines() == [
        f"before training   {MONITOR} 0.900",
        f"epoch 1/3   loss 1.500   {MONITOR} nan   best so far",
        f"epoch 2/3   loss 1.500   {MONITOR} 0.250   best so far",
        f"epoch 3/3   loss 1.500   {MONITOR} 0.125",
        f"best: {MONITOR} 0.250, after epoch 2",
    ]
    assert run.lines.best == {MONITOR: 0.25, "val/spread": 0.125}


def test_where_steps_end_a_training_no_last_epoch_is_named(capsys):
    run = Run()
    run.trainer.max_epochs = -1
    run.epoch(0.5)
    assert capsys.readouterr().out.startswith("epoch 1   loss 1.500")


def test_an_early_stop_is_said(capsys):
    run = Run()
    run.epoch(0.5)
    stopping = EarlyStopping(monitor=MONITOR, mode="max", patience=1)
    stopping.stopping_reason_message = f"Monitored metric {MONITOR} did not improve. Signaling Trainer to stop."
    run.trainer.callbacks = [stopping]
    run.lines.on_fit_end(run.trainer, None)
    assert f"stopped early: Monitored metric {MONITOR} did not improve.\n" in capsys.readouterr().out


@pytest.mark.parametrize("value", [0.5, 0.4])
def test_what_is_no_better_is_not_called_the_best(value, capsys):
    run = Run()
    run.epoch(0.5)
    run.epoch(value)
    assert run.lines.best_epoch == 1, "as ModelCheckpoint, which keeps the first of equals"


def test_of_a_loss_the_lowest_is_the_best(capsys):
    run = Run()
    run.lines = EpochLines(monitor=MONITOR, mode="min")
    for value in (0.5, float("nan"), 0.4, 0.6):
        run.epoch(value)
    assert run.lines.best_epoch == 3 and capsys.readouterr().out.count("best so far") == 2
