"""Whether what is below the heads stays until its step, in a loop of Lightning's."""

import lightning as L
import torch
from torch.utils.data import DataLoader

from fashionclip.models.load import load_backbone
from fashionclip.models.tuning import Tuning, below_heads
from fashionclip.training.heads_first import HeadsFirst


class Training(L.LightningModule):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.moved = []  # of the weights below the heads, at each step, how many

    def on_fit_start(self):
        self.before = {name: weight.detach().clone() for name, weight in self.backbone.named_parameters()}

    def training_step(self, pixels, step):
        text = self.backbone.encode_text(self.backbone.tokenizer(["a", "b c"]))
        image = self.backbone.encode_image(pixels)
        return ((image @ text.T).diagonal().sum() * self.backbone.logit_scale).square()

    def on_train_batch_end(self, *_):
        changed = {
            name for name, weight in self.backbone.named_parameters() if not torch.equal(weight, self.before[name])
        }
        self.moved.append(changed)

    def configure_optimizers(self):
        return torch.optim.AdamW([weight for weight in self.parameters() if weight.requires_grad], lr=0.1)


def test_what_is_below_the_heads_stays_until_its_step(tmp_path, capsys):
    backbone = load_backbone(name="fashionclip-tiny")
    tuning = Tuning(heads_first=0.5, text_blocks=1)
    tuning.apply(backbone)
    module = Training(backbone)
    below = below_heads(backbone)
    first = HeadsFirst(backbone, below=below, share=tuning.heads_first)
    pixels = DataLoader(torch.randint(256, (8, 3, 112, 112), dtype=torch.uint8), batch_size=2)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[first], default_root_dir=tmp_path, **quiet).fit(
        module, pixels
    )
    heads = {"clip.visual.proj", "clip.text_projection", "clip.logit_scale"}
    assert module.moved[0] == module.moved[1] == heads
    assert module.moved[2] == heads | {n for n, w in backbone.named_parameters() if any(w is one for one in below)}
    assert "step 2: all is trained now" in capsys.readouterr().out
    assert not any("resblocks.2." in name for name in module.moved[3] if "visual" not in name)
