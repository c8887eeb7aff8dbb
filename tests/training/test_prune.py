from types import SimpleNamespace

import torch
from lightning.pytorch.trainer.states import TrainerFn

from fashionclip.training.prune import PruneTrial


class Trial:
    """Falls behind below 0.5."""

    def __init__(self):
        self.reported, self.attributes = [], {}

    def report(self, value, step):
        self.reported.append((round(value, 3), step))

    def should_prune(self):
        return self.reported[-1][0] < 0.5

    def set_user_attr(self, name, value):
        self.attributes[name] = value


def test_validations_of_the_training_are_reported_and_what_falls_behind_stops(capsys):
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.VALIDATING),
        is_global_zero=True,
        should_stop=False,
        callback_metrics={"val/x": torch.tensor(0.1)},
        strategy=SimpleNamespace(broadcast=lambda value: value),
    )
    callback = PruneTrial(trial=Trial(), monitor="val/x")
    callback.on_validation_end(trainer, None)  # before training
    trainer.state.fn = TrainerFn.FITTING
    for value in (0.6, 0.4):
        assert not trainer.should_stop
        trainer.callback_metrics["val/x"] = torch.tensor(value)
        callback.on_validation_end(trainer, None)
    assert callback.trial.reported == [(0.6, 1), (0.4, 2)] and callback.trial.attributes == {"pruned": True}
    assert trainer.should_stop and "by validation 2" in capsys.readouterr().out


def test_another_process_stops_with_the_first_one():
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        is_global_zero=False,
        should_stop=False,
        strategy=SimpleNamespace(broadcast=lambda value: True),
    )
    callback = PruneTrial(trial=Trial(), monitor="val/x")
    callback.on_validation_end(trainer, None)
    assert trainer.should_stop and not callback.trial.reported
