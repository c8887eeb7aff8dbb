import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from fashionclip.training.averaging import Averaging


class Counting(L.LightningModule):
    """Its weight is 1, 2, 3 and so on after each step; a validation chooses a buffer by it, as judgements do."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("chosen", torch.zeros(1))
        self.register_buffer("mask", torch.tensor([-torch.inf, 0.0]))
        self.register_buffer("batches", torch.zeros(1, dtype=torch.long))
        self.validated = []

    def training_step(self, batch, step):
        self.batches += 1
        return -self.weight.sum()

    def validation_step(self, batch, step):
        self.validated.append(self.weight.item())

    def on_validation_epoch_end(self):
        self.chosen.copy_(100 * self.weight.detach())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def averages(decay, before):
    """After each of 6 steps."""
    found, average = [], 0.0
    for step in range(1, 7):
        n = step - 1 - before  # steps averaged so far
        if n <= 0:
            average = float(step)
        elif decay is None:
            average = (average * n + step) / (n + 1)
        else:
            left = min(decay, (1 + n) / (10 + n))
            average = left * average + (1 - left) * step
        found.append(average)
    return found


@pytest.mark.parametrize(("decay", "start"), [(0.25, 0.0), (0.9, 0.0), (None, 0.0), (None, 0.5)])
def test_the_average_is_validated_and_kept_and_training_goes_on_with_the_weights(decay, start, tmp_path):
    module, data = Counting(), DataLoader(torch.zeros(3), batch_size=1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    keep = L.pytorch.callbacks.ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{step}")
    callbacks = [keep, Averaging(decay=decay, start=start)]
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", callbacks=callbacks, default_root_dir=tmp_path, **quiet)
    trainer.fit(module, data, DataLoader(torch.zeros(1)))
    expected = averages(decay, before=int(6 * start))
    assert module.validated == pytest.approx([expected[2], expected[5]])
    assert module.weight.item() == pytest.approx(expected[5]), "training ends with the average"
    for step in (3, 6):
        kept = torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)
        assert kept["state_dict"]["weight"].item() == pytest.approx(expected[step - 1])
        assert kept["state_dict"]["chosen"].item() == pytest.approx(100 * expected[step - 1])
        assert kept["state_dict"]["mask"].tolist() == [-float("inf"), 0]
        assert kept["current_model_state"]["weight"].item() == step == kept["state_dict"]["batches"].item()
    module.weight.data.fill_(50.0)
    trainer.validate(module, DataLoader(torch.zeros(1)), verbose=False)
    assert module.validated[-1] == module.weight.item() == 50, "after training what is given is validated"
