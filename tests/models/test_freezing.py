"""Frozen modules stand still, copies of them too; groups of parameters; warnings about backbones that never
learned."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

from intr_nb.models.backbones import build_backbone
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
from intr_nb.models.one_block import OneBlockINTR


def images(n=2, size=(64, 96), seed=1):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))


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
        ("rest", 1e-3, 0.02),
    ]
    assert [id(p) for g in groups for p in g["params"]] == [id(p) for p in model.backbone.parameters()] + [
        id(p) for k, p in model.named_parameters() if not k.startswith("backbone.")
    ]
    assert [g["lr"] for g in param_groups(model, 1e-3)] == [1e-3, 1e-3]
    freeze(model.backbone)
    assert [g["name"] for g in param_groups(model, 1e-3)] == ["rest"]
    with pytest.raises(ValueError, match="every parameter of this OneBlockINTR is frozen.*unfreeze"):
        param_groups(freeze(model), 1e-3)
