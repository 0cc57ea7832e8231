"""The paper's backbone: torchvision's numbers, folded norms, weights from files. (Parity: test_parity.py.)"""

import copy

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torchvision.ops import FrozenBatchNorm2d

from intr_nb.models.freezing import freeze
from intr_nb.models.intr import INTR
from intr_nb.models.resnet import ResNet, _fold_norms, _FoldedConv, _FoldedNorm


def images(n=2, size=(64, 96), seed=1):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))


# -- backbones and the package --


def test_resnet_from_a_file(tmp_path):
    theirs = torchvision.models.resnet18().eval()
    for m in theirs.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean), nn.init.uniform_(m.running_var, 0.5, 1.5)
    (
        torch.save(theirs.state_dict(), tmp_path / "r18.pth"),
        safetensors.torch.save_file(theirs.state_dict(), tmp_path / "r18.safetensors"),
    )
    expected = nn.Sequential(*list(theirs.children())[:-2])(images(seed=0))
    for ending in ("pth", "safetensors"):
        assert_close(
            ResNet("resnet18", weights=tmp_path / f"r18.{ending}")(images(seed=0)),
            expected,
            atol=1e-3,
            rtol=1e-3,
        )
    with pytest.raises(ValueError, match=r"r18.pth' does not fit this Sequential: \d+ missing \(layer1.2"):
        ResNet("resnet34", weights=tmp_path / "r18.pth")


def test_half_precision_resnet_becomes_single(tmp_path):
    theirs = torchvision.models.resnet18()
    torch.save(theirs.half().state_dict(), tmp_path / "r.pth")
    net = ResNet("resnet18", weights=tmp_path / "r.pth")
    assert {v.dtype for v in net.state_dict().values()} == {torch.float32}


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


# -- folding --


def unfolded(net):
    "The same ResNet with its norms at work"
    plain = copy.deepcopy(net)
    for m in plain.modules():
        if isinstance(m, _FoldedConv):
            m.__class__ = nn.Conv2d
        if isinstance(m, _FoldedNorm):
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
        sum(isinstance(m, _FoldedConv) for m in net.modules())
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
        return [type(m) for m in _fold_norms(nn.Sequential(*parts))]

    conv, norm = (lambda bias=False: nn.Conv2d(3, 3, 1, bias=bias)), (lambda: FrozenBatchNorm2d(3))
    assert kinds(conv(), norm()) == [_FoldedConv, _FoldedNorm]
    assert kinds(conv(), nn.ReLU(), norm()) == [nn.Conv2d, nn.ReLU, FrozenBatchNorm2d]
    assert kinds(conv(), nn.BatchNorm2d(3)) == [nn.Conv2d, nn.BatchNorm2d] and kinds(conv(True), norm()) == [
        nn.Conv2d,
        FrozenBatchNorm2d,
    ]
