"""One model of each family that open_clip lists, at its real size with random weights: embedded, trained, exported."""

import pytest
import torch

from fashionclip.losses.contrastive import ContrastiveLoss
from fashionclip.models.load import load_backbone
from fashionclip.retrieval.export.export import write_export
from fashionclip.retrieval.export.samples import Samples, drawn_samples, embed
from fashionclip.training.optim import parameter_groups

FAMILIES = {
    "ViT-S-32": None,
    "RN50": "openai",
    "convnext_base": "laion400m_s13b_b51k",
    "MobileCLIP-S1": "datacompdr",
    "MobileCLIP-B": "datacompdr",
    "MobileCLIP2-S0": "dfndr2b",
    "EVA02-B-16": "merged2b_s8b_b131k",
    "PE-Core-T-16-384": "meta",
    "ViTamin-S": "datacomp1b",
    "swin_base_patch4_window7_224": None,
    "vit_relpos_medium_patch16_cls_224": None,
    "vit_medium_patch16_gap_256": None,
    "coca_ViT-B-32": "laion2b_s13b_b90k",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tag"), FAMILIES.items())
def test_each_family_is_embedded_trained_and_exported(name, tag, tmp_path):
    torch.manual_seed(0)
    backbone = load_backbone(name=name, pretrained=tag, load_weights=False).train()
    drawn = drawn_samples(count=4)
    samples = Samples(photos=drawn.photos, texts=drawn.texts[:4], source=drawn.source)
    size = backbone.preprocess.size
    pixels = torch.randint(256, (4, 3, size, size), dtype=torch.uint8)
    image, text = backbone.encode_image(pixels), backbone.encode_text(backbone.tokenizer(list(samples.texts)))
    assert image.shape == text.shape and image.isfinite().all()
    scale = {"logit_scale": backbone.logit_scale, "logit_bias": None}
    if backbone.logit_bias is not None:
        backbone.logit_bias.requires_grad_(False)
    ids = torch.arange(4)
    ContrastiveLoss()(image=image, text=text, item_id=ids, text_id=ids, **scale).backward()
    without = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert without == [], "DDP waits for the gradient of every trained weight"
    torch.optim.SGD(parameter_groups(backbone, weight_decay=0.1), lr=1e-4).step()
    backbone.zero_grad()
    assert embed(backbone.eval(), samples)["image"].shape == image.shape
    facts = write_export(tmp_path / "export", backbone, facts={"label": name, "judge": None}, samples=samples)
    assert min(facts["checked"]["lowest_cosine"]["open_clip"].values()) >= 0.9999
