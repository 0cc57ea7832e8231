"""Backbones of every library keep one contract; names find the network that is meant, or say what there is."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from intr_nb.models.backbones import BACKBONES, _library_backbone, build_backbone
from intr_nb.models.checkpoints import load, save
from intr_nb.models.intr import INTR
from intr_nb.models.library_backbones import _TimmBackbone, _TorchvisionBackbone
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.resnet import ResNet

SPECS = {
    "resnet18": "resnet18",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v2 stride 16": dict(name="mobilenet_v2", stride=16),
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv3 stride 8": dict(name="mobilenetv3_small_050", stride=8),
    "convnext": dict(name="convnext_atto", stride=16),
    "efficientnet": dict(name="efficientnet_b0", stride=16),
    "swin": dict(name="swin_tiny_patch4_window7_224", stride=16),
    "swin deepest": dict(
        name="swin_tiny_patch4_window7_224", img_size=64, window_size=2, depths=(1, 1, 1, 1)
    ),
    "vit": "vit_tiny_patch16_224",
    "deit": "deit_tiny_patch16_224",
    "deit distilled": "deit_tiny_distilled_patch16_224",
    "timm's resnet": dict(name="timm/resnet18", stride=8),
    "torchvision's efficientnet": dict(name="torchvision/efficientnet_b0", stride=8),
    "mobilenetv3 stage 2": dict(name="mobilenetv3_small_050", stage=2),
    "mobilenetv3 two stages": dict(name="mobilenetv3_small_050", stage=[3, 4]),
    "torchvision's vgg, two stages": dict(name="torchvision/vgg11", stage=[9, -1]),
    "vit, two stages": dict(name="vit_tiny_patch16_224", stage=[3, -1]),
    "tiles": dict(name="tiles", of="mobilenetv3_small_050", window=64, stride=32),
    "windows of a vit": dict(name="windows", of="vit_tiny_patch16_224", window=64, stride=32),
}


BUILT = {}


def built(key):
    "In eval mode, built once: building is the slow part."
    if key not in BUILT:
        torch.manual_seed(0)
        BUILT[key] = build_backbone(SPECS[key]).eval()
    return BUILT[key]


def images(n=2, size=(64, 96), seed=1):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))


EACH = pytest.mark.parametrize("key", SPECS)


# -- the contract --


@EACH
@pytest.mark.parametrize("size", [(64, 96), (101, 67)])
def test_stride_and_channels_say_the_size_of_the_map(key, size):
    net = built(key)
    h, w = (-(-s // net.stride) for s in size)
    with torch.no_grad():
        out = net(images(1, size))
    assert out.shape == (1, net.num_channels, h, w) and out.isfinite().all()


@EACH
def test_stride_is_true(key):
    """A map of a shifted image is a shifted map, away from the border, where the network has no sense of place;
    a wrong stride would not shift so."""
    net = built(key)
    if "vit" in key or "deit" in key or "swin" in key:
        pytest.skip("knows places")
    image = torch.zeros(1, 3, 384, 384)
    image[..., 160:224, 160:224] = images(1, (64, 64))
    with torch.no_grad():
        here, there = net(image), net(image.roll(32, -1))
    moved, core = here.roll(32 // net.stride, -1), slice(128 // net.stride, 256 // net.stride)
    if "efficientnet" in key or "mobilenetv3" in key:
        return assert_close(
            moved.flatten(2).argmax(-1), there.flatten(2).argmax(-1)
        )  # squeeze-and-excite sees the whole
    assert_close(moved[..., core, core], there[..., core, core], atol=1e-3, rtol=1e-3)


@EACH
def test_config_builds_the_same_network_without_a_download(key, monkeypatch):
    net = built(key)

    def no_network(*args, **kwargs):
        raise AssertionError("asked for a download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    config = json.loads(json.dumps(net.config))
    assert "weights" not in config
    again = build_backbone(config).eval()
    assert again.config == net.config and (again.stride, again.num_channels) == (net.stride, net.num_channels)
    again.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert again(images(1)).equal(net(images(1)))


@EACH
def test_every_parameter_learns(key):
    "So nothing that is left in a network is unused, and gradients reach the first layer."
    net = built(key)
    net.zero_grad()
    net(images(1)).square().sum().backward()
    unused, first = [k for k, p in net.named_parameters() if p.grad is None], next(net.parameters()).grad
    assert not unused and first.abs().sum() > 0
    net.zero_grad()


@EACH
def test_images_of_a_batch_do_not_see_each_other(key):
    net, batch = built(key), images(3)
    with torch.no_grad():
        together, alone = net(batch), torch.cat([net(image[None]) for image in batch])
    size = together.abs().max()  # untrained networks fade
    assert_close(together / size, alone / size, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(together[0] / size, together[1] / size, atol=1e-3)


@EACH
def test_in_both_models_with_padding(key):
    mask = torch.zeros(2, 64, 96, dtype=torch.bool)
    mask[1, :, 64:] = True
    torch.manual_seed(0)
    for model in (
        OneBlockINTR(4, built(key), dim=16, num_heads=2),
        INTR(4, built(key), dim=16, num_heads=2, encoder_layers=0, decoder_layers=1, ffn_dim=16),
    ):
        with torch.no_grad():
            out = model.eval()(images(), mask, "last")
        cells = tuple(s // model.backbone.stride for s in (64, 96))
        assert (
            out.attention.shape == (2, 2, 4, *cells)
            and out.mask[1].any()
            and out.attention[:, :, :, out.mask[1]][1].abs().max() == 0
        )
        assert_close(out.attention.sum((-2, -1)), torch.ones(2, 2, 4))


@pytest.mark.parametrize("key", ["resnet18", "mobilenet_v2 stride 16", "convnext", "swin deepest", "deit"])
def test_save_and_load(key, tmp_path):
    "Loading builds on the meta device: tensors that are in no checkpoint (Swin's tables) must be there all the same."
    net = build_backbone(
        built(key).config
        | (dict(mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4]) if "mean" in built(key).config else {})
    )
    model = OneBlockINTR(3, net, dim=16, num_heads=2).eval()
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.config["backbone"] == net.config
    with torch.no_grad():
        assert_close(again(images()).logits, model(images()).logits, rtol=0, atol=0)


@pytest.mark.parametrize("key", ["resnet18", "mobilenetv3 stride 8", "deit", "torchvision's efficientnet"])
def test_copies_and_pickles(key):
    net = built(key)
    with torch.no_grad():
        for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert again(images(1)).equal(net(images(1)))


def test_large_vision_transformer_on_the_meta_device():
    with torch.device("meta"):
        model = INTR(
            200, "vit_huge_patch14_224", encoder_layers=0
        )  # in training nothing looks at numbers, which the meta device has not
        assert model(torch.zeros(1, 3, 448, 448)).logits.shape == (1, 200)
    assert (
        model.backbone.num_channels == 1280
        and model.backbone.stride == 14
        and all(p.is_meta for p in model.parameters())
    )


def test_deit_small_stands_in_for_backbone_and_encoder():
    model = INTR(4, backbone="deit_small_patch16_224", encoder_layers=0, decoder_layers=1).eval()
    assert model.backbone.num_channels == 384
    with torch.no_grad():
        assert model(images(1), attention="last").attention.shape == (1, 8, 4, 4, 6)


def test_names_and_tags():
    assert (
        _library_backbone("efficientnet_b0").func is _TimmBackbone
        and _library_backbone("torchvision/efficientnet_b0").func is _TorchvisionBackbone
    )
    assert (
        isinstance(_library_backbone("torchvision/resnet18")(), ResNet)
        and isinstance(build_backbone("resnet18"), ResNet)
        and _library_backbone("timm/mobilenet_v2") is None
    )
    net = build_backbone("vit_tiny_patch16_224.augreg_in21k")
    assert (
        net.config["name"] == "timm/vit_tiny_patch16_224.augreg_in21k"
        and build_backbone(net.config).config == net.config
    )


@pytest.mark.parametrize(
    "spec, message",
    [
        ("mobilnet_v2", r"backbone='mobilnet_v2': expected one of .*resnet50.*close: mobilenet_v2"),
        ("timm/convnext_attto", r"close: convnext_atto"),
        ("xyzzyplugh", r"a name that timm or torchvision knows, or a module"),
        (dict(name=3), r"backbone=\{'name': 3\}"),
        (
            dict(name="convnext_atto", stride=64),
            r"stride=64 for timm's convnext_atto: expected one of \[4, 8, 16, 32\]",
        ),
        (
            dict(name="mobilenet_v2", stride=64),
            r"stride=64 for torchvision's mobilenet_v2: expected one of \[2, 4, 8, 16, 32\]",
        ),
        (
            dict(name="convnext_atto", weights="IMAGENET1K_V1"),
            r"weights='IMAGENET1K_V1' for timm's convnext_atto: expected True, one of timm's tags \['d2_in1k'",
        ),
        (dict(name="convnext_atto", weights="nowhere.pth"), r"weights='nowhere.pth'.*that exists"),
        (
            dict(name="mobilenet_v2", weights="d2_in1k"),
            r"weights='d2_in1k' for mobilenet_v2: expected one of \['IMAGENET1K_V1'",
        ),
        ("convnext_atto.d3_in1k", r"weights='d3_in1k' for timm's convnext_atto: expected"),
        (
            dict(name="convnext_atto", colour="red"),
            r"timm's convnext_atto can't be built with \{'colour': 'red'\}",
        ),
        ("torchvision/swin_t", r"torchvision's swin_t has no `features`.*take it from timm"),
        ("torchvision/vit_b_16", r"torchvision's vit_b_16 has no `features`"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(spec)


class Squares(nn.Module):
    "Somebody's own backbone"

    num_channels = 3

    def __init__(self, stride=8):
        super().__init__()
        self.stride, self.config = stride, dict(name="squares", stride=stride)

    def forward(self, images):
        return nn.functional.avg_pool2d(images, self.stride)


def test_an_own_backbone_is_registered_in_one_place(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="backbone='squares': expected one of"):
        build_backbone("squares")
    monkeypatch.setitem(BACKBONES, "squares", Squares)
    model = OneBlockINTR(3, dict(name="squares", stride=16), dim=16, num_heads=2).eval()
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert type(again.backbone) is Squares and again.backbone.stride == 16
    assert again(images()).logits.equal(model(images()).logits)


def test_every_registered_name_is_the_name_in_its_config():
    for name in BACKBONES:
        with torch.device("meta"):
            assert build_backbone(name).config["name"] == name


def test_a_module_that_lacks_something():
    with pytest.raises(ValueError, match=r"a Linear as backbone lacks \['num_channels', 'stride'\]"):
        build_backbone(nn.Linear(2, 2))
