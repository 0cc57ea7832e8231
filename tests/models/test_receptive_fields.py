"""What a position has seen: stages are checked, tiles see their window alone, radii are measured."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from intr_nb.explanations.evidence_plots import plot_margin
from intr_nb.explanations.explainer import explain
from intr_nb.models.backbones import build_backbone
from intr_nb.models.checkpoints import load, save
from intr_nb.models.hub import from_pretrained, save_pretrained
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.models.receptive_fields import receptive_field
from intr_nb.models.stages import _pick_stages
from intr_nb.models.tiles import _TileBackbone

# -- stages --


@pytest.mark.parametrize("stage", [50, -60, 1.0, True, "3", [], [3, 90], [None]])
@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "torchvision/vgg11"])
def test_a_stage_that_the_network_lacks_names_those_it_has(name, stage):
    with pytest.raises(ValueError, match=r"stage=.*expected a number or a list of numbers of 0: stride"):
        build_backbone(dict(name=name, stage=stage))


def test_stages_whose_strides_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"strides \[4, 6\] can't be joined"):
        _pick_stages([(4, 8), (6, 8)], None, [0, 1], "a net")


def test_stride_and_stage_must_agree():
    with pytest.raises(ValueError, match="positions of that stage are 16 pixels apart"):
        build_backbone(dict(name="mobilenetv3_small_050", stage=3, stride=32))
    assert build_backbone(dict(name="mobilenetv3_small_050", stage=3, stride=16)).stride == 16


@pytest.mark.parametrize("size", [(64, 64), (65, 33), (70, 96), (33, 48)])
def test_joined_maps_have_the_finer_grid_at_any_size(size):
    net = build_backbone(dict(name="mobilenetv3_small_050", stage=[3, 4])).eval()
    H, W = size
    assert net(torch.randn(1, 3, H, W)).shape == (1, 24 + 288, -(-H // 16), -(-W // 16))


def test_a_part_that_changes_its_input_in_place_does_not_change_a_joined_map():
    torch.manual_seed(0)
    joined = build_backbone(dict(name="torchvision/vgg11", stage=[0, 1])).eval()
    first = build_backbone(dict(name="torchvision/vgg11", stage=0)).eval()
    first.load_state_dict(joined.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert_close(joined(x)[:, :64], first(x))
    assert first(x).min() < 0


# -- receptive fields --


class Deaf(nn.Module):
    num_channels, stride = 2, 8

    def forward(self, images):
        return torch.zeros(len(images), 2, images.shape[2] // 8, images.shape[3] // 8, requires_grad=True)


class Shut(Deaf):
    def forward(self, images):
        return super().forward(images).detach()


def test_networks_without_gradients_are_refused():
    with pytest.raises(ValueError, match="Shut have no gradient: expected a backbone"):
        receptive_field(Shut(), 64)
    with pytest.raises(ValueError, match="no pixel moves the features of this Deaf"):
        receptive_field(Deaf(), 64)


@pytest.mark.parametrize("shares", [(0,), (0.5, 1.5)])
def test_shares_are_checked(shares):
    with pytest.raises(ValueError, match="expected shares of the influence"):
        receptive_field(PatchNet(), 64, shares)


def test_a_model_is_asked_for_its_backbone_also_where_gradients_are_off():
    model = OneBlockINTR(2, PatchNet(dim=16), dim=16, num_heads=2).requires_grad_(False).train()
    with torch.no_grad():
        field = receptive_field(model, 64)
    assert field.radii == receptive_field(model.backbone, 64).radii and model.training
    assert 0 < field.radii[0.5] < field.radii[0.95] <= field.reach


def test_later_stages_see_farther():
    torch.manual_seed(0)
    stages = [build_backbone(dict(name="tf_efficientnet_lite0", stage=s)) for s in (1, 2, 3)]
    fields = [receptive_field(stage, 128) for stage in stages]
    assert fields[0].reach < fields[1].reach < fields[2].reach
    assert fields[0].radii[0.95] < fields[2].radii[0.95] / 2


# -- tiles --


def test_tiles_see_their_window_and_no_pixel_more():
    torch.manual_seed(0)
    tiles = _TileBackbone(build_backbone("mobilenetv3_small_050"), window=64, stride=32).eval()
    image = torch.randn(1, 3, 128, 160)
    other = torch.full_like(image, 7.0)
    other[..., 16:80, 48:112] = image[..., 16:80, 48:112]
    assert_close(tiles(other)[..., 1, 2], tiles(image)[..., 1, 2])
    assert not torch.allclose(tiles(other)[..., 1, 1], tiles(image)[..., 1, 1], atol=1e-4)
    field = receptive_field(tiles, 160)
    assert field.reach <= 31.5 * 2**0.5 + 1e-6


def test_tiles_do_not_depend_on_how_many_run_at_a_time():
    torch.manual_seed(0)
    body = build_backbone("mobilenetv3_small_050")
    few, all_at_once = (_TileBackbone(body, 64, 32, batch=b).eval() for b in (3, 1000))
    images = torch.randn(2, 3, 70, 100)
    assert few(images).shape == (2, body.num_channels, 3, 4)
    assert_close(few(images), all_at_once(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [dict(window=16, stride=32), dict(window=33), dict(window=0), dict(stride=1.5), dict(batch=0)]
)
def test_tiles_check_their_geometry(wrong):
    with pytest.raises(ValueError, match="expected a w"):
        _TileBackbone(PatchNet(), **wrong)


# -- positions hidden in training --


@pytest.mark.parametrize("value", [-0.1, 1, 1.5])
def test_patch_dropout_is_a_share_that_leaves_some(value):
    with pytest.raises(ValueError, match="patch_dropout=.*share of the positions"):
        OneBlockINTR(2, PatchNet(dim=16), dim=16, num_heads=2, patch_dropout=value)


def test_patch_dropout_hides_in_training_and_nowhere_else(tmp_path):
    torch.manual_seed(0)
    model = OneBlockINTR(3, PatchNet(dim=16), dim=16, num_heads=2, patch_dropout=0.75)
    seen = []
    model.block.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    images = torch.randn(2, 3, 32, 32)
    model(images)
    model(images, attention="last")
    model.eval()(images)
    assert seen == [16, 64, 64]
    save(model, tmp_path / "model")
    assert load(tmp_path / "model").patch_dropout == 0.75


def test_padding_is_hidden_first():
    torch.manual_seed(0)
    model = OneBlockINTR(3, PatchNet(dim=16), dim=16, num_heads=2, patch_dropout=0.75).train()
    images, mask = torch.randn(2, 3, 32, 32), torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[1, :, 8:] = True  # a quarter is image: as many positions as stay
    seen = []
    model.block.register_forward_pre_hook(lambda module, args: seen.append(args[2]))
    model(images, mask)
    assert seen[0].shape == (2, 16) and not seen[0].any()


@pytest.mark.parametrize("name", ["tiles", "windows"])
@pytest.mark.parametrize("padded", [False, True])
def test_windows_that_are_hidden_are_not_computed(name, padded):
    torch.manual_seed(0)
    of = dict(name="patchnet", width=8, dim=16) if name == "tiles" else "mobilenetv3_small_050"
    window, stride = (32, 16) if name == "tiles" else (64, 32)
    backbone = dict(name=name, of=of, window=window, stride=stride)
    model = OneBlockINTR(3, backbone, dim=16, num_heads=2, patch_dropout=0.75).train()
    model.backbone.eval()
    images, mask = torch.randn(2, 3, 4 * stride, 6 * stride), None
    if padded:
        mask = torch.zeros(2, 4 * stride, 6 * stride, dtype=torch.bool)
        mask[1, :, 3 * stride :] = True
    net, counts = model.backbone.body, []
    last = net if name == "tiles" else [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    hook = last.register_forward_pre_hook(lambda module, args: counts.append(len(args[0])))
    torch.manual_seed(3)
    some = model(images, mask).logits
    hook.remove()
    assert counts == [2 * 6]  # a quarter of 24 windows, in each of two images
    torch.manual_seed(3)
    assert_close(some, model.from_features(model.backbone(images), mask).logits, rtol=1e-4, atol=1e-5)
    some.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# -- windows --


def test_windows_are_refused_where_a_network_cannot_be_taken_in_two():
    for of in (
        dict(name="vit_tiny_patch16_224", stage=[3, 11]),
        dict(name="mobilenetv3_small_050", stage=[2, 4]),
    ):
        with pytest.raises(ValueError, match="no single stage behind a finer one"):
            build_backbone(dict(name="windows", of=of))
    with pytest.raises(ValueError, match="PatchNet has no single stage|patchnet.* has no single stage"):
        build_backbone(dict(name="windows", of="patchnet"))
    with pytest.raises(ValueError, match="a position every 16 pixels, expected a multiple"):
        build_backbone(dict(name="windows", of="mobilenetv3_small_050", window=40))
    with pytest.raises(ValueError, match="at least as large as the stride"):
        build_backbone(dict(name="windows", of="mobilenetv3_small_050", window=16))
    with pytest.raises(ValueError, match="stride=24: the map .* a position every 16 pixels"):
        build_backbone(dict(name="windows", of="vit_tiny_patch16_224", window=64, stride=24))


@pytest.mark.parametrize(
    "name", ["convnext_atto", "timm/resnet18", "torchvision/mobilenet_v2", "efficientnet_b0"]
)
def test_windows_have_the_networks_own_grid(name):
    torch.manual_seed(0)
    whole = build_backbone(name)
    windows = build_backbone(dict(name="windows", of=whole.config, window=64))
    windows.body.load_state_dict(whole.state_dict())
    images = torch.randn(1, 3, 70, 100)
    assert windows.eval()(images).shape == whole.eval()(images).shape == (1, whole.num_channels, 3, 4)


def test_windows_cut_what_a_position_sees():
    torch.manual_seed(0)
    whole = build_backbone("torchvision/mobilenet_v2")
    windows = build_backbone(dict(name="windows", of=whole.config, window=64))
    narrow, broad = (receptive_field(net, 320).radii[0.95] for net in (windows, whole))
    assert narrow < 0.8 * broad


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_a_transformers_windows_see_no_pixel_beyond(name):
    torch.manual_seed(0)
    options = dict(name="windows", of=dict(name=name, stage=2), window=64, stride=32)
    windows = build_backbone(options).eval()
    assert build_backbone(windows.config).stride == 32
    image = torch.randn(1, 3, 160, 128)
    other = torch.randn_like(image) * 5
    other[..., 48:112, 16:80] = image[..., 48:112, 16:80]
    a, b = windows(image), windows(other)
    assert a.shape == (1, 192, 5, 4)
    assert_close(a[..., 2, 1], b[..., 2, 1], rtol=0, atol=1e-5)
    assert not torch.allclose(a[..., 2, 2], b[..., 2, 2], atol=1e-2)


def test_building_windows_leaves_the_generator_alone():
    torch.manual_seed(0)
    build_backbone("mobilenetv3_small_050")
    expected = torch.rand(1)
    torch.manual_seed(0)
    build_backbone(dict(name="windows", of="mobilenetv3_small_050"))
    assert torch.equal(torch.rand(1), expected)


# -- what it is good for --


def test_a_models_card_says_how_far_its_positions_see(tmp_path):
    model = OneBlockINTR(2, PatchNet(dim=16), dim=16, num_heads=2)
    text = (save_pretrained(model, tmp_path / "model", image_size=64) / "README.md").read_text()
    reach = receptive_field(model, 64).reach
    assert f"none from beyond {reach:.0f} (of 64)" in text
    assert from_pretrained(tmp_path / "model").metadata["receptive_field"]["reach"] == reach


def test_a_plot_draws_the_discs_around_the_peak():
    model = OneBlockINTR(3, PatchNet(dim=16), dim=16, num_heads=2).eval()
    why = explain(model, torch.randn(3, 64, 64))
    figure = plot_margin(why, field=receptive_field(model, 64))
    discs = figure.axes[0].patches
    row, column = divmod(int(why.margin().total.argmax()), 16)
    assert [d.center for d in discs] == [((column + 0.5) * 4, (row + 0.5) * 4)] * 2
    assert discs[0].radius < discs[1].radius and not plot_margin(why).axes[0].patches
