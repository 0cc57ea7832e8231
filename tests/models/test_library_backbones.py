"""timm's and torchvision's networks compute what the libraries compute, with weights from files and by name."""

import os
import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from intr_nb.core.images import MEAN, STD
from intr_nb.models.backbones import build_backbone
from intr_nb.models.library_backbones import _TimmBackbone
from intr_nb.models.stages import _renormalise


def images(n=2, size=(64, 96), seed=1):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))


def built(name):
    torch.manual_seed(0)
    return build_backbone(name).eval()


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
    ours = _TimmBackbone(name, stride=stride, mean=MEAN, std=STD).eval()
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
    net = built("deit_tiny_distilled_patch16_224")
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
    vit = built("vit_tiny_patch16_224")
    assert vit.config["mean"] == vit.config["std"] == [0.5] * 3 and built("deit_tiny_patch16_224").config[
        "mean"
    ] == list(MEAN)
    plain = _TimmBackbone("vit_tiny_patch16_224", mean=MEAN, std=STD).eval()
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


def test_a_file_of_another_library_names_its_network(mobile, tmp_path):
    torch.save(mobile.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"\d+ unknown.*tensors of torchvision/mobilenet_v2: ask for") as e:
        build_backbone(dict(name="mobilenetv2_100", weights=tmp_path / "weights.pth"))
    assert "timm/" not in str(e.value)
    told = dict(name="torchvision/mobilenet_v2", weights=tmp_path / "weights.pth")
    assert repr(told["name"]) in str(e.value) and build_backbone(told).num_channels == 1280
    timms = (
        tmp_path / "mobilenetv3_small_050.lamb_in1k.pth"
    )  # the file's name helps where no network is known
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), timms)
    with pytest.raises(ValueError, match=r"tensors of timm/mobilenetv3_small_050: ask"):
        build_backbone(dict(name="mobilenet_v3_small", weights=timms))


def test_a_nearly_fitting_file_is_not_searched_for(mobile, tmp_path, monkeypatch):
    monkeypatch.setattr("intr_nb.models.state_dicts._fitting_networks", lambda *_: pytest.fail("searched"))
    state = mobile.state_dict()
    state.pop("features.3.conv.0.0.weight")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"1 missing"):
        build_backbone(dict(name="mobilenet_v2", weights=tmp_path / "w.pth"))


# -- normalisation noted in a file --

HALF = dict(mean="[0.5, 0.5, 0.5]", std="[0.5, 0.5, 0.5]")


def test_mean_and_std_of_a_file_are_taken(mobile, tmp_path):
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(mobile.state_dict(), ours, metadata=HALF)
    safetensors.torch.save_file(
        timm.create_model("mobilenetv3_small_050").state_dict(), theirs, metadata=HALF
    )
    for name, path in (("mobilenet_v2", ours), ("mobilenetv3_small_050", theirs)):
        net = build_backbone(dict(name=name, weights=path))
        assert net.config["mean"] == net.config["std"] == [0.5] * 3
        assert build_backbone(net.config).config == net.config
        given = build_backbone(dict(name=name, weights=path, mean=MEAN, std=STD))
        assert given.config["mean"] == list(MEAN) and given.config["std"] == list(STD)
    safetensors.torch.save_file(mobile.state_dict(), ours)
    assert build_backbone(dict(name="mobilenet_v2", weights=ours)).config["mean"] == list(MEAN)
    residual = tmp_path / "r.safetensors"
    safetensors.torch.save_file(torchvision.models.resnet18().state_dict(), residual, metadata=HALF)
    with pytest.raises(
        ValueError, match=r"r.safetensors' notes mean \[0.5.*ask for dict\(name='timm/resnet18'"
    ):
        build_backbone(dict(name="resnet18", weights=residual))
    assert build_backbone(dict(name="timm/resnet18", weights=residual)).config["std"] == [0.5] * 3


@pytest.mark.parametrize(
    "notes",
    [
        {"mean": "[0.5, 0.5, 0.5]"},
        HALF | {"std": "[1, 1]"},
        HALF | {"std": "[0, 1, 1]"},
        HALF | {"mean": "x"},
    ],
)
def test_notes_that_are_no_normalisation(notes, mobile, tmp_path):
    path = tmp_path / "n.safetensors"
    safetensors.torch.save_file(mobile.state_dict(), path, metadata=notes)
    with pytest.raises(ValueError, match=r"n.safetensors' says .* in its metadata: expected three numbers"):
        build_backbone(dict(name="mobilenet_v2", weights=path))


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
            match=rf"weights .* of {name} can't be downloaded .*no network.*"
            rf"get https://\S+{file} and copy it into .*checkpoints",
        ):
            build_backbone(dict(name=name, weights=weights))


def test_offline_timm_says_what_to_fetch(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for weights in (True, "d2_in1k"):
        with pytest.raises(
            OSError,
            match=r"timm's weights for convnext_atto.d2_in1k can't be downloaded.*"
            r"model.safetensors of timm/convnext_atto.d2_in1k.*weights='path",
        ):
            build_backbone(dict(name="convnext_atto", weights=weights, cache_dir=str(tmp_path)))


def test_offline_timm_answers_at_once(monkeypatch, tmp_path):
    "The hub's client pauses before each of its five further tries; here nobody answers, and it must not."
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # refuses every connection
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited {seconds} s to try again"))
    with pytest.raises(OSError, match=r"timm's weights for convnext_atto.d2_in1k can't be downloaded"):
        build_backbone(dict(name="convnext_atto", weights=True, cache_dir=str(tmp_path)))
    assert constants.HF_HUB_OFFLINE is False


# -- networks that can't be read as a map --


@pytest.mark.parametrize(
    "spec, words",
    [
        (
            "levit_128",
            r"levit_128' can't be read as a map: for an image of 224 x 224 it fails \(RuntimeError",
        ),
        ("hiera_tiny_224", "fails .AssertionError normalization of features not supported"),
        ("crossvit_tiny_240", r"240 x 240 it gives \(1, 192, 14, 14\) where \(1, 192, 15, 15\) is expected"),
        (dict(name="timm/resnet18", in_chans=1), "to have 1 channels, but got 3.*another network"),
        ("torchvision/regnet_y_400mf", "torchvision's regnet_y_400mf has no `features`"),
    ],
)
def test_a_network_that_gives_no_map_is_refused_when_built(spec, words):
    with pytest.raises(ValueError, match=words):
        build_backbone(spec)


def test_a_network_that_takes_one_size_says_so_before_its_assertion():
    net = built("halonet26t")
    assert net.size == (256, 256)
    with pytest.raises(
        ValueError, match="images of 224 x 224 pixels for timm/halonet26t.*takes 256 x 256 only"
    ):
        net(images(1, (224, 224)))
