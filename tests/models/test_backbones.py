"""Backbones of every library keep one contract; weights from files; folding, freezing, groups. (PatchNet and the ResNet's parity: test_model.py, test_parity.py.)"""

import copy
import json
import os
import pickle
import urllib.error
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torchvision.ops import FrozenBatchNorm2d

from intr_nb.core.images import MEAN, STD
from intr_nb.models.backbones import (
    FoldedConv,
    FoldedNorm,
    ResNet,
    _fit_part,
    build_backbone,
    fold_norms,
    stored_tensors,
)
from intr_nb.models.checkpoints import load, save
from intr_nb.models.freezing import (
    _folded,
    _untrained,
    freeze,
    freeze_norms,
    param_groups,
    unfreeze,
    warn_folded,
    warn_untrained,
)
from intr_nb.models.intr import INTR, OneBlockINTR
from intr_nb.models.library_backbones import TimmBackbone, TorchvisionBackbone, _renormalise, library_backbone

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
    "A map of a shifted image is a shifted map, away from the border, where the network has no sense of place; a wrong stride would not shift so."
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


# -- what they compute is what the libraries compute --


@pytest.mark.parametrize(
    "name, at, stride",
    [
        ("mobilenetv3_small_050", 2, 8),
        ("convnext_atto", 1, 8),
        ("resnet18", 4, 32),
        ("swin_tiny_patch4_window7_224", 1, 8),
    ],
)
def test_map_is_timms_own(name, at, stride):
    options = dict(dynamic_img_size=True) if "swin" in name else {}
    theirs = timm.create_model(name, features_only=True, out_indices=[at], **options).eval()
    ours = TimmBackbone(name, stride=stride, mean=MEAN, std=STD).eval()
    for mine, other in zip(ours.parameters(), theirs.parameters()):  # theirs may keep more than it needs
        assert mine.shape == other.shape
        mine.data = other.data
    with torch.no_grad():
        expected = theirs(images())[0]
    if theirs.feature_info.channels()[0] == expected.shape[-1]:
        expected = expected.movedim(-1, 1)
    with torch.no_grad():
        assert_close(ours(images()), expected)


def test_patch_tokens_are_timms_own_without_their_prefix():
    net = built("deit distilled")
    given = net(images(1, (224, 224)))
    tokens = timm.create_model("deit_tiny_distilled_patch16_224").eval()
    tokens.load_state_dict(net.body.state_dict(), strict=False)
    expected = tokens.forward_features(
        _renormalise(images(1, (224, 224)), net.config["mean"], net.config["std"])
    )
    assert expected.shape == (1, 2 + 196, 192)
    assert_close(given, expected[:, 2:].transpose(1, 2).reshape(1, 192, 14, 14))


def test_fixed_size_is_said():
    net = build_backbone(dict(name="levit_128s", stride=16)).eval()
    assert net(images(1, (224, 224))).shape == (1, net.num_channels, 14, 14)
    with pytest.raises(
        ValueError, match=r"images of 64 x 96 pixels for timm/levit_128s, which takes 224 x 224 only: resize"
    ):
        net(images())


# -- normalisation --


def test_renormalise():
    pixels = torch.rand(2, 3, 5, 7, dtype=torch.float64)

    def normal(mean, std):
        return (pixels - torch.tensor(mean, dtype=torch.float64)[:, None, None]) / torch.tensor(
            std, dtype=torch.float64
        )[:, None, None]

    house = normal(MEAN, STD)
    assert_close(
        _renormalise(house, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)),
        normal((0.5, 0.4, 0.3), (0.5, 0.6, 0.7)),
        rtol=0,
        atol=1e-12,
    )
    assert _renormalise(house, list(MEAN), list(STD)) is house


def test_networks_get_their_own_normalisation():
    vit = built("vit")
    assert vit.config["mean"] == vit.config["std"] == [0.5] * 3 and built("deit").config["mean"] == list(MEAN)
    plain = TimmBackbone("vit_tiny_patch16_224", mean=MEAN, std=STD).eval()
    plain.load_state_dict(vit.state_dict())
    with torch.no_grad():
        assert_close(vit(images(1)), plain(_renormalise(images(1), (0.5,) * 3, (0.5,) * 3)))
        assert not torch.allclose(vit(images(1)), plain(images(1)), atol=1e-2)


# -- weights from files --


def shaken(net):
    "Norms that are not the identity, as a trained network has them"
    torch.manual_seed(3)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            (
                nn.init.normal_(m.running_mean, std=0.1),
                nn.init.uniform_(m.running_var, 0.8, 1.2),
                nn.init.uniform_(m.weight, 0.8, 1.2),
            )
    return net.eval()


@pytest.fixture(scope="module")
def mobile():
    return shaken(torchvision.models.mobilenet_v2())


@pytest.mark.parametrize(
    "form", ["whole", "features", "bare names", "wrapped", "half precision", "no counters", "safetensors"]
)
def test_torchvision_file(form, mobile, tmp_path):
    state, path = {k: v for k, v in mobile.state_dict().items()}, tmp_path / "w.pth"
    if form == "features":
        state = {k: v for k, v in state.items() if k.startswith("features.")}
    if form == "bare names":
        state = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    if form == "half precision":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    if form == "no counters":
        state = {k: v for k, v in state.items() if "num_batches" not in k}
    if form == "wrapped":
        state = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    if form == "safetensors":
        path = tmp_path / "w.safetensors"
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    for stride, end in ((32, 19), (16, 14)):
        net = build_backbone(dict(name="mobilenet_v2", weights=path, stride=stride)).eval()
        assert {p.dtype for p in net.parameters()} == {torch.float32}
        with torch.no_grad():
            assert_close(
                net(images(1)),
                mobile.features[:end](images(1)),
                atol=1e-2 if "half" in form else 1e-5,
                rtol=1e-2 if "half" in form else 1e-4,
            )


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
@pytest.mark.parametrize("classifier", [True, False])
def test_timm_file(name, classifier, tmp_path):
    options = dict(depths=(1, 1, 1, 1)) if "swin" in name else {}
    donor = shaken(timm.create_model(name, num_classes=7, **options))
    state = (
        donor.state_dict()
        if classifier
        else {
            k: v
            for k, v in donor.state_dict().items()
            if not k.startswith(("classifier", "head", "conv_head"))
        }
    )
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    net = build_backbone(
        dict(name=name, weights=tmp_path / "m.safetensors", mean=MEAN, std=STD, **options)
    ).eval()
    own = net.body.state_dict()
    assert own and all(v.equal(donor.state_dict()[k]) for k, v in own.items())


def test_position_codes_of_another_size_are_resampled(tmp_path):
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "160.pth")
    net = build_backbone(dict(name="test_vit", weights=tmp_path / "160.pth", img_size=320)).eval()
    assert net.body.pos_embed.shape[1] == 1 + 400 and net(images(1, (320, 320))).shape[2:] == (20, 20)
    assert build_backbone(net.config).config == net.config


def test_files_that_do_not_fit_say_what(mobile, tmp_path):
    state = mobile.state_dict()
    for name, change, message in [
        ("missing", lambda s: s.pop("features.3.conv.0.0.weight"), r"1 missing \(3.conv.0.0.weight\)"),
        ("unknown", lambda s: s.update({"features.99.weight": torch.ones(1)}), r"1 unknown \(99.weight\)"),
        (
            "shape",
            lambda s: s.update({"features.0.0.weight": torch.ones(32, 1, 3, 3)}),
            r"1 of another shape \(0.0.weight \(32, 1, 3, 3\), not \(32, 3, 3, 3\)\)",
        ),
    ]:
        changed = dict(state)
        change(changed)
        torch.save(changed, tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=rf"{name}.pth' does not fit this .*{message}"):
            build_backbone(dict(name="mobilenet_v2", weights=tmp_path / f"{name}.pth"))
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth' does not fit this .*\d+ missing .*; \d+ unknown"):
        build_backbone(dict(name="convnext_atto", weights=tmp_path / "other.pth"))


def test_half_precision_resnet_becomes_single(tmp_path):
    theirs = shaken(torchvision.models.resnet18())
    torch.save(theirs.half().state_dict(), tmp_path / "r.pth")
    net = ResNet("resnet18", weights=tmp_path / "r.pth")
    assert {v.dtype for v in net.state_dict().values()} == {torch.float32}


FILE = os.environ.get("INTR_NB_WEIGHTS")


@pytest.mark.skipif(not FILE, reason="INTR_NB_WEIGHTS names no folder with mobilenet_v2_imagenet.safetensors")
def test_trained_mobilenet():
    "Trained features tell photographs from noise: most of their numbers are zero or small, some are large."
    net = build_backbone(
        dict(
            name="mobilenet_v2",
            weights=Path(FILE) / "mobilenet_v2_imagenet.safetensors",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        )
    ).eval()
    with torch.no_grad():
        out = net(images(1, (224, 224)))
    assert (
        out.shape == (1, 1280, 7, 7) and 0 <= out.min() and out.max() <= 6 and (out == 0).float().mean() > 0.5
    )


# -- weights by name, offline --


def test_offline_torchvision_says_what_to_fetch(monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    for name, weights, file in (
        ("resnet50", "IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
        ("mobilenet_v2", True, "mobilenet_v2-7ebf99e0.pth"),
    ):
        with pytest.raises(
            OSError,
            match=rf"weights .* of {name} can't be downloaded .*no network.*get https://\S+{file} and copy it into .*checkpoints",
        ):
            build_backbone(dict(name=name, weights=weights))


def test_offline_timm_says_what_to_fetch(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for weights in (True, "d2_in1k"):
        with pytest.raises(
            OSError,
            match=r"timm's weights for convnext_atto.d2_in1k can't be downloaded.*model.safetensors of timm/convnext_atto.d2_in1k.*weights='path",
        ):
            build_backbone(dict(name="convnext_atto", weights=weights, cache_dir=str(tmp_path)))


def test_names_and_tags():
    assert (
        library_backbone("efficientnet_b0").func is TimmBackbone
        and library_backbone("torchvision/efficientnet_b0").func is TorchvisionBackbone
    )
    assert (
        library_backbone("torchvision/resnet18").func is ResNet
        and isinstance(build_backbone("resnet18"), ResNet)
        and library_backbone("timm/mobilenet_v2") is None
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


# -- folding --


def unfolded(net):
    "The same ResNet with its norms at work"
    plain = copy.deepcopy(net)
    for m in plain.modules():
        if isinstance(m, FoldedConv):
            m.__class__ = nn.Conv2d
        if isinstance(m, FoldedNorm):
            m.__class__ = FrozenBatchNorm2d
    return plain


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_folding_changes_neither_map_nor_gradient(name):
    net = ResNet(name).double()
    for m in net.modules():
        if isinstance(m, FrozenBatchNorm2d):
            (
                nn.init.uniform_(m.running_var, 0.5, 2),
                nn.init.normal_(m.running_mean),
                nn.init.uniform_(m.weight, 0.5, 1),
                nn.init.normal_(m.bias),
            )
    plain, x = unfolded(net), images(1).double()
    assert (
        sum(isinstance(m, FoldedConv) for m in net.modules())
        == sum(isinstance(m, FrozenBatchNorm2d) for m in net.modules())
        == {"resnet18": 20, "resnet50": 53}[name]
    )
    a, b = net(x), plain(x)
    assert_close(a, b, rtol=1e-9, atol=1e-9)
    a.square().mean().backward(), b.square().mean().backward()
    for (k, p), q in zip(net.named_parameters(), plain.parameters()):
        assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-9, msg=k)
    assert list(net.state_dict()) == list(plain.state_dict())


def test_folding_follows_the_weights():
    net = ResNet("resnet18").eval()
    with torch.no_grad():
        before = net(images(1))
        net.body.layer4[1].bn2.bias += 1
        net.body.conv1.weight *= 1.1
        assert not torch.allclose(net(images(1)), before) and net(images(1)).equal(
            copy.deepcopy(net)(images(1))
        )
        assert_close(net(images(1)), unfolded(net)(images(1)), atol=1e-3, rtol=1e-3)


def test_only_frozen_norms_right_behind_a_convolution_are_folded():
    def kinds(*parts):
        return [type(m) for m in fold_norms(nn.Sequential(*parts))]

    conv, norm = (lambda bias=False: nn.Conv2d(3, 3, 1, bias=bias)), (lambda: FrozenBatchNorm2d(3))
    assert kinds(conv(), norm()) == [FoldedConv, FoldedNorm]
    assert kinds(conv(), nn.ReLU(), norm()) == [nn.Conv2d, nn.ReLU, FrozenBatchNorm2d]
    assert kinds(conv(), nn.BatchNorm2d(3)) == [nn.Conv2d, nn.BatchNorm2d] and kinds(conv(True), norm()) == [
        nn.Conv2d,
        FrozenBatchNorm2d,
    ]


# -- freezing and groups --


def state_of(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def test_frozen_backbone_stands_still_while_the_rest_learns():
    torch.manual_seed(0)
    model = OneBlockINTR(3, build_backbone(dict(name="mobilenet_v2", stride=8)), dim=16, num_heads=2)
    freeze(model.backbone)
    before = state_of(model)
    optimizer = torch.optim.AdamW(param_groups(model, lr=0.1, backbone_lr=0.1))
    for _ in range(2):
        model.train()(images()).logits.logsumexp(1).sum().backward()
        optimizer.step()
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not v.equal(before[k])}
    assert (
        model.training
        and not any(m.training for m in model.backbone.modules())
        and changed == {"input_proj", "norm", "block"}
    )
    unfreeze(model.backbone).train()(images())
    assert all(m.training for m in model.backbone.modules()) and all(
        p.requires_grad for p in model.parameters()
    )
    assert not model.backbone.state_dict()["body.0.1.running_mean"].equal(
        before["backbone.body.0.1.running_mean"]
    )


def test_frozen_dropout_does_not_drop():
    net = freeze(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))).train()
    assert net(torch.ones(1, 4)).equal(net(torch.ones(1, 4)))


def test_stem_of_a_resnet():
    model = INTR(3, "resnet18", dim=16, num_heads=2, encoder_layers=1, decoder_layers=1, ffn_dim=16)
    freeze(model.backbone.stem)
    model.train()(images()).logits.sum().backward()
    frozen = {k.split(".")[2] for k, p in model.named_parameters() if not p.requires_grad}
    assert (
        frozen == {"conv1", "layer1"}
        and model.backbone.body.conv1.weight.grad is None
        and model.backbone.body.layer2[0].conv1.weight.grad.abs().sum() > 0
    )
    assert not model.backbone.body.layer1.training and model.backbone.body.layer2.training


def test_a_frozen_backbone_that_never_learned_is_noticed():
    for name in ("resnet18", "mobilenetv3_small_050", dict(name="vit_tiny_patch16_224", img_size=32)):
        net = build_backbone(name)
        assert _untrained(net)
        with pytest.warns(UserWarning, match="random weights.*weights=True"):
            warn_untrained(net)
        norm = next(
            m
            for m in net.modules()
            if "norm" in type(m).__name__.lower() and getattr(m, "bias", None) is not None
        )
        norm.bias.data[0] = 0.1
        assert not _untrained(net)
    assert not _untrained(nn.Linear(2, 2))  # nothing to tell by


def test_norms_that_were_folded_are_noticed_before_they_forget():
    net = build_backbone("mobilenetv3_small_050")
    assert (
        not _folded(net) and not _folded(build_backbone("resnet18")) and not _folded(nn.Linear(2, 2))
    )  # new, frozen from the start, none
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.bias.data.fill_(0.3)
    with pytest.warns(UserWarning, match=r"folded.*freeze_norms\(model.backbone\)"):
        warn_folded(net)
    before = net.eval()(images())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_folded(freeze_norms(net))
    assert torch.equal(net.train()(images()), before) and any(p.requires_grad for p in net.parameters())
    assert {type(m).__name__ for m in net.modules() if not m.training} & {
        "BatchNorm2d",
        "BatchNormAct2d",
    } and net.training
    norm = next(m for m in unfreeze(net).modules() if isinstance(m, nn.BatchNorm2d))
    norm.running_mean[0] = 0.1
    assert not _folded(net)


def test_copies_of_frozen_modules_are_frozen_themselves():
    net = freeze(nn.Sequential(nn.BatchNorm2d(3)))
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert again.train()[0].training is False and again[0].train.args[0] is again[0]
        unfreeze(again)
        assert again.train()[0].training and not net.train()[0].training


def test_freezing_is_not_saved(tmp_path):
    model = OneBlockINTR(
        3, build_backbone(dict(name="mobilenetv3_small_050", stride=8)), dim=16, num_heads=2
    ).eval()
    freeze(model.backbone)
    assert not [k for k in model.state_dict() if "train" in k]
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert all(p.requires_grad for p in again.parameters()) and again.train().backbone.training


def test_param_groups():
    model = OneBlockINTR(3, "patchnet", dim=16, num_heads=2)
    groups = param_groups(model, 1e-3, backbone_lr=1e-4, weight_decay=0.02)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("backbone", 1e-4, 0.02),
        ("residual", 1e-3, 0.02),
    ]
    assert [id(p) for g in groups for p in g["params"]] == [id(p) for p in model.backbone.parameters()] + [
        id(p) for k, p in model.named_parameters() if not k.startswith("backbone.")
    ]
    assert [g["lr"] for g in param_groups(model, 1e-3)] == [1e-3, 1e-3]
    freeze(model.backbone)
    assert [g["name"] for g in param_groups(model, 1e-3)] == ["residual"]
    with pytest.raises(ValueError, match="every parameter of this OneBlockINTR is frozen.*unfreeze"):
        param_groups(freeze(model), 1e-3)


# -- files --


def test_stored_tensors(tmp_path):
    tensor = torch.ones(2)
    for wrapped in (
        {"a": tensor},
        {"model": {"a": tensor}},
        {"state_dict": {"module.a": tensor}},
        {"model": {"module.a": tensor}, "epoch": 1},
    ):
        torch.save(wrapped, tmp_path / "f.pth")
        assert stored_tensors(tmp_path / "f.pth")["a"].equal(tensor)


def test_fit_part_forgives_only_what_it_is_told():
    part = nn.Sequential(nn.BatchNorm2d(2))
    state = {f"0.{k}": torch.full((2,), 3.0) for k in ("weight", "bias", "running_mean", "running_var")}
    assert (
        _fit_part(part, state | {"fc": tensor_of(9)}, "f", {"fc"})[0].running_mean.tolist() == [3, 3]
        and part[0].num_batches_tracked == 0
    )
    with pytest.raises(ValueError, match=r"f does not fit this Sequential: 1 unknown \(fc\)"):
        _fit_part(part, state | {"fc": tensor_of(9)}, "f")
    with pytest.raises(ValueError, match=r"1 missing \(0.bias\)"):
        _fit_part(part, {k: v for k, v in state.items() if k != "0.bias"}, "f")


def tensor_of(n):
    return torch.zeros(n)
