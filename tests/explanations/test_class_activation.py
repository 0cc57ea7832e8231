"""PooledClassifier, CAM, Grad-CAM, rollout and RISE: known answers on toys, bad input, nothing left behind."""

import sys
import weakref

import numpy as np
import pytest
import timm
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import TensorDataset

import intr_nb.explanations.masking as rise_module
from intr_nb.explanations.attention_rollout import _rollout_of, _transformer_in, _watched, rollout
from intr_nb.explanations.class_activation import cam, grad_cam
from intr_nb.explanations.explanation import Explanation
from intr_nb.explanations.masking import _rise_masks, _RiseSums, _Sampled, rise
from intr_nb.explanations.targets import _forward_logits, pose
from intr_nb.models.checkpoints import load, save
from intr_nb.models.hub import from_pretrained, save_pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier
from intr_nb.models.prediction import predict
from intr_nb.training.accuracy import evaluate
from intr_nb.training.features import cache_features
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

NAMES = ["wren", "robin", "tit", "finch", "rook"]
PATCHNET = dict(name="patchnet", width=8, dim=16, stride=8)


def pooled(backbone=PATCHNET, **kw):
    torch.manual_seed(0)
    model = PooledClassifier(5, backbone, **kw).eval()
    with torch.no_grad():
        model.linear.weight.mul_(300)  # an untrained backbone says little
    return model


def one_block():
    torch.manual_seed(0)
    return OneBlockINTR(5, PATCHNET, dim=16, num_heads=2).eval()


def full():
    torch.manual_seed(0)
    return INTR(5, PATCHNET, dim=16, num_heads=2, encoder_layers=1, decoder_layers=2, ffn_dim=16).eval()


def vit(**kw):
    return dict(name="timm/vit_tiny_patch16_224", img_size=64, depth=2, embed_dim=32, num_heads=2) | kw


def picture(height=32, width=48, seed=1):
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


def right_third(height=32, width=48):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[:, width * 2 // 3 :] = True
    return mask


def quick(method, model, x=None, **kw):
    return (
        method(model, picture() if x is None else x, **kw)
        if method is not rise
        else rise(model, picture() if x is None else x, **dict(masks=20) | kw)
    )


# -- the classifier --


@pytest.mark.parametrize(
    "backbone",
    ["resnet18", vit(), "torchvision/mobilenet_v2", PATCHNET],
    ids=lambda b: b if isinstance(b, str) else b["name"],
)
def test_classifier_is_kept(tmp_path, backbone):
    model, x = pooled(backbone, dropout=0.1), picture(64, 64)[None]
    save(model, tmp_path / "a", NAMES)
    save_pretrained(model, tmp_path / "b", NAMES)
    for again in (load(tmp_path / "a"), from_pretrained(tmp_path / "b")):
        assert (
            type(again) is PooledClassifier
            and again.config == model.config
            and torch.equal(again(x).logits, model(x).logits)
        )
    assert "every class has a query" not in (tmp_path / "b" / "README.md").read_text()
    assert predict(again, x[0]).name in NAMES


def test_classifier_learns_and_its_best_weights_are_kept(tmp_path):
    y = torch.arange(48) % 2
    x = torch.randn(48, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + y[:, None, None, None]
    model, data = PooledClassifier(2, PATCHNET, dropout=0.1), TensorDataset(x, y)
    fit(model, (data, data), Recipe(epochs=4, lr=1e-2, batch_size=16), tmp_path, device="cpu", progress=False)
    assert (
        torch.equal(load(tmp_path / "best")(x).logits, model(x).logits)
        and evaluate(model, data)["accuracy"] > 0.9
    )
    kept = cache_features(model.backbone, (data, data), tmp_path / "features", views=1, progress=False)
    assert evaluate(model, kept.train)["accuracy"] == evaluate(model, data)["accuracy"]


def test_classifier_mean_is_over_what_is_no_padding():
    model, x, mask = pooled(), picture()[None], right_third()[None]
    out = model(x, mask)
    assert (
        torch.allclose(out.logits, model.linear(out.features[..., :4].mean((2, 3))), atol=1e-6)
        and out.attention is None
    )
    assert torch.equal(model.from_features(model.backbone(x), mask).logits, out.logits)
    with pytest.raises(ValueError, match="padding all over"):
        model(x, torch.ones_like(mask))
    with pytest.raises(ValueError, match=r"candidates=\[5\].*from 0 to 4"):
        model(x, candidates=[5])


def test_classifier_drops_whole_channels_in_training_only():
    model, f = pooled(dropout=0.5), torch.rand(1, 16, 4, 6) + 1
    torch.manual_seed(0)
    some = model.train().from_features(f).features[0].flatten(1)
    assert ((some == 0).all(1) | (some > 0).all(1)).all() and 0 < (some == 0).all(1).sum() < 16
    assert torch.equal(model.eval().from_features(f).features, f)


@pytest.mark.parametrize(
    "kw, match",
    [
        (dict(num_classes=1), "num_classes=1.*at least 2"),
        (dict(num_classes=3, dropout=1.0), "dropout=1.0"),
        (dict(num_classes=3, backbone="resnet17"), "resnet17"),
    ],
)
def test_classifier_sizes(kw, match):
    with pytest.raises(ValueError, match=match):
        PooledClassifier(**kw)


# -- what all methods share --


@pytest.mark.parametrize("method", [cam, grad_cam, rise], ids=lambda m: m.__name__)
@pytest.mark.parametrize("masked", [False, True])
def test_every_method_fills_an_explanation(method, masked):
    model = pooled()
    model.class_names = NAMES
    e = quick(method, model, classes=["tit", 0], candidates=[0, 2, 4], mask=right_third() if masked else None)
    assert (
        isinstance(e, Explanation)
        and e.evidence.shape == (1, 2, 4, 6)
        and e.classes == [2, 0]
        and e.candidates == [0, 2, 4]
        and e.name(2) == "tit"
    )
    with torch.no_grad():
        out = model(picture()[None], right_third()[None] if masked else None, candidates=[0, 2, 4])
    assert torch.equal(e.candidate_logits, out.logits[0])
    assert (e.mask is not None) == masked and (
        not masked or not e.evidence[..., 4:].any() and e.evidence[..., :4].all()
    )
    assert (
        e.margin(2, 0).total.shape == (4, 6) and e.main_map()[1] is not None and e.source in e._repr_html_()
    )


@pytest.mark.parametrize("method", [cam, grad_cam, rise], ids=lambda m: m.__name__)
def test_pictures_in_every_form(method, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "bird.png")
    a, b, c = (
        quick(method, pooled(), x).evidence for x in (pixels, Image.fromarray(pixels), tmp_path / "bird.png")
    )
    assert torch.equal(a, b) and torch.equal(a, c)


@pytest.mark.parametrize("method", [cam, grad_cam, rise], ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    "kw, match",
    [
        (dict(classes=[5]), "classes: no class 5.*0 to 4"),
        (dict(classes=["rok"], class_names=NAMES), "no class 'rok'.*perhaps 'rook'"),
        (dict(classes=[]), "classes is empty"),
        (dict(candidates=[-1]), "candidates: no class -1"),
        (dict(classes=[3], candidates=[0, 1]), r"classes \[3\] are not among"),
        (dict(class_names=["a"]), "class_names has 1 names"),
        (dict(mask=torch.zeros(4, 6, dtype=torch.bool)), r"mask: got shape \(4, 6\)"),
        (dict(mask=torch.zeros(32, 48)), "torch.bool"),
        (dict(mask=torch.ones(32, 48, dtype=torch.bool)), "padding all over"),
    ],
)
def test_bad_requests(method, kw, match):
    with pytest.raises(ValueError, match=match):
        quick(method, pooled(), **kw)


def test_what_is_no_classifier():
    with pytest.raises(TypeError, match=r"returned \(1, 3, 32, 48\): expected logits"):
        rise(lambda x: x, picture())
    with pytest.raises(TypeError, match="takes no mask"):
        rise(lambda x: x.mean((2, 3)), picture(), mask=right_third())
    with pytest.raises(ValueError, match="one normalised picture"):
        cam(pooled(), picture()[None])


@pytest.mark.parametrize("method", [cam, grad_cam, rise, rollout], ids=lambda m: m.__name__)
def test_the_model_is_left_as_it_was(method):
    model = pooled(vit()).train()
    model.backbone.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    quick(method, model, picture(64, 64))
    assert (
        model.training
        and not model.backbone.training
        and all(p.grad is None and p.requires_grad for p in model.parameters())
    )
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# -- CAM and Grad-CAM --


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_cam_adds_up(masked, dtype, tolerance):
    e = cam(pooled().to(dtype), picture(), mask=right_third() if masked else None)
    assert (
        e.adds_up
        and (e.evidence.sum((0, 2, 3)) + e.residual - e.logits).abs().max() < tolerance
        and e.evidence.abs().max() > 0.01
    )


@pytest.mark.parametrize("masked, factor", [(False, 1), (True, 2 / 3)])
@pytest.mark.parametrize("batch_size", [2, 16])
def test_grad_cam_is_cam_behind_a_mean(masked, factor, batch_size):
    kw = dict(mask=right_third() if masked else None, classes=[3, 0, 1])
    a, b = (
        grad_cam(pooled(), picture(), batch_size=batch_size, **kw).evidence,
        cam(pooled(), picture(), **kw).evidence * factor,
    )
    assert torch.allclose(a, b, atol=1e-6) and (b.amin((0, 2, 3)) < 0).any()
    assert torch.allclose(grad_cam(pooled(), picture(), relu=True, **kw).evidence, b.relu(), atol=1e-6)


def test_grad_cam_at_a_layer_is_grad_cam_at_the_door():
    for model in (pooled(), one_block(), full()):
        a, b = grad_cam(model, picture()), grad_cam(model, picture(), layer=model.backbone)
        assert torch.allclose(a.evidence, b.evidence, atol=1e-7) and a.evidence.abs().max() > 0


def test_grad_cam_by_hand():
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer4 = nn.Identity()

        def forward(self, x):
            return (self.layer4(x) ** 2).sum((2, 3))

    x = picture(8, 8)
    model = Square()
    e = grad_cam(model, x, layer=model.layer4)
    assert torch.allclose(e.evidence[0], 2 * x.mean((1, 2), keepdim=True) * x, atol=1e-6)


def test_grad_cam_of_frozen_and_foreign_models():
    net = timm.create_model("resnet18", num_classes=5).eval().requires_grad_(False)
    assert grad_cam(net, picture(64, 64), classes=[2], layer=net.layer4).evidence.shape == (1, 1, 2, 2)
    with pytest.raises(TypeError, match="ResNet without `backbone`.*layer=model.layer4"):
        grad_cam(net, picture(64, 64))
    with pytest.raises(ValueError, match="layer, a Linear, is no part of this ResNet"):
        grad_cam(net, picture(64, 64), layer=nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layer, a Linear, gives 2 dimensions"):
        grad_cam(net, picture(64, 64), layer=net.fc)
    with pytest.raises(TypeError, match="OneBlockINTR: CAM needs"):
        cam(one_block(), picture())


def test_captum_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r'pip install "intr_nb\[labs\]"'):
        grad_cam(pooled(), picture())


# -- rollout --


def test_rollout_by_hand():
    eye, even = torch.eye(4)[None], torch.full((3, 4, 4), 0.25)
    assert torch.equal(_rollout_of([eye, eye]), eye[0])
    assert torch.allclose(_rollout_of([even, even]), eye[0] / 4 + 0.75 / 4)
    first, second = torch.rand(2, 2, 4, 4).softmax(-1)
    one = torch.eye(4)
    assert torch.allclose(
        _rollout_of([first, second]), (second.mean(0) + one) / 2 @ ((first.mean(0) + one) / 2), atol=1e-6
    )


def test_the_attention_seen_is_that_of_the_fused_kernel():
    model, x = pooled(vit()), picture(64, 64)[None]
    fused = [b.attn.fused_attn for b in _transformer_in(model).blocks]
    plain = model(x).logits
    with torch.no_grad(), _watched(_transformer_in(model)) as seen:
        assert torch.allclose(model(x).logits, plain, atol=1e-5)
    assert len(seen) == 2 and all(torch.allclose(a.sum(-1), torch.ones(1, 2, 17), atol=1e-5) for a in seen)
    assert [b.attn.fused_attn for b in _transformer_in(model).blocks] == fused


def test_rollout_of_a_token_and_of_a_mean():
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=5).eval()
    x = picture(64, 64)
    with torch.no_grad(), _watched(net) as seen:
        net(x[None])
    row = _rollout_of([a[0] for a in seen])[0, 1:]
    e = rollout(net, x, classes=[1, 4])
    assert torch.allclose(e.attention, (row / row.sum()).view(1, 1, 4, 4).expand(1, 2, 4, 4), atol=1e-7)
    with pytest.raises(AttributeError, match="one map for all classes"):
        _ = e.evidence


def test_rollout_leaves_padding_out():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:, 32:] = True
    e = rollout(pooled(vit()), picture(64, 64), mask=mask)
    assert not e.attention[..., 2:].any() and torch.allclose(
        e.attention.sum((0, 2, 3)), torch.ones(5), atol=1e-6
    )


@pytest.mark.parametrize(
    "model",
    [
        pooled,
        one_block,
        lambda: timm.create_model("swin_tiny_patch4_window7_224", num_classes=5),
        lambda: timm.create_model("resnet18"),
    ],
    ids=["patchnet", "intr", "swin", "resnet"],
)
def test_rollout_needs_a_transformer(model):
    with pytest.raises(TypeError, match="rollout needs a vision transformer"):
        rollout(model(), picture(64, 64))


# -- RISE --


def corner(images):
    return torch.stack([images[..., :16, :16].mean((1, 2, 3)), 0 * images[:, 0, 0, 0]], 1)


def test_rise_finds_what_matters():
    e = rise(corner, torch.ones(3, 64, 64), masks=600, score="logit", size=(8, 8))
    assert isinstance(e, _Sampled) and e.unit == "logit units" and not e.adds_up
    assert (
        e.evidence[0, 0, :2, :2].min() > 4 * e.evidence[0, 0, 5:].abs().max() and not e.evidence[0, 1].any()
    )
    assert e.curve[-1][0] == 600 and e.curve[-1][1] > 0.9


def test_rise_sums_are_means_over_masks():
    m, f = (
        torch.rand(40, 6, generator=torch.Generator().manual_seed(0)),
        torch.rand(40, 2, generator=torch.Generator().manual_seed(1)),
    )
    a, b = _RiseSums(), _RiseSums()
    a.add(m[:13], f[:13])
    b.add(m[13:], f[13:])
    expected = (f[:, :, None] * m[:, None]).sum(0) / m.sum(0) - f.mean(0)[:, None]
    assert torch.allclose((a + b).maps().float(), expected, atol=1e-6) and torch.allclose(
        (a + b).maps([1])[0].float(), expected[1], atol=1e-6
    )


@pytest.mark.parametrize("n", [1, 7, 33])
def test_rise_depends_on_the_seed_not_on_the_batch(n):
    x = picture(30, 41)
    a, b, c = (
        rise(pooled(), x, masks=33, batch_size=size, seed=seed) for size, seed in ((16, 0), (n, 0), (16, 1))
    )
    assert (
        torch.allclose(a.evidence, b.evidence, atol=1e-6)
        and a.curve[-1] == pytest.approx(b.curve[-1], abs=1e-4)
        and not torch.allclose(a.evidence, c.evidence, atol=1e-3)
    )


def test_rise_leaves_the_global_seed_alone():
    model, before = pooled(), torch.get_rng_state()
    rise(model, picture(), masks=8)
    assert torch.equal(before, torch.get_rng_state())


def test_rise_masks_show_the_share_asked_for():
    for keep in (0.2, 0.7):
        m = torch.stack(list(_rise_masks(300, (32, 48), keep=keep)))
        assert (
            m.shape == (300, 32, 48)
            and m.min() >= 0
            and m.max() <= 1
            and abs(m.mean() - keep) < 0.03
            and (m.mean(0) - keep).abs().max() < 0.15
        )


def test_rise_forgets_masks(monkeypatch):
    alive, most, real = [], [], _rise_masks

    def counted(*a, **k):
        for m in real(*a, **k):
            m = m.clone()
            alive.append(weakref.ref(m))
            yield m

    def evaluator(images):
        most.append(sum(r() is not None for r in alive))
        return images.mean((2, 3))

    monkeypatch.setattr(rise_module, "_rise_masks", counted)
    rise(evaluator, picture(), masks=200, batch_size=10)
    assert max(most) <= 20 and len(alive) == 200


def test_rise_takes_any_model():
    for model in (one_block(), full(), timm.create_model("resnet18", num_classes=5).eval()):
        e = rise(model, picture(64, 64), masks=8, classes=[1, 2])
        assert e.evidence.shape[1:] == (2, 8, 8) and e.margin(1, 2).total.isfinite().all()


@pytest.mark.parametrize(
    "kw, match",
    [
        (dict(masks=0), "masks=0"),
        (dict(cells=1), "cells=1"),
        (dict(keep=1.0), "keep=1.0"),
        (dict(score="margin"), "score='margin'"),
    ],
)
def test_rise_arguments(kw, match):
    with pytest.raises(ValueError, match=match):
        rise(pooled(), picture(), **kw)


def test_question_and_ask():
    q = pose(one_block(), picture(), candidates=[4, 1])
    assert (
        q.cells == (4, 6)
        and q.candidates == [4, 1]
        and torch.allclose(q.logits, one_block()(picture()[None], candidates=[4, 1]).logits[0])
    )
    assert _forward_logits(corner, picture(16, 16)[None], candidates=[1])[0].shape == (1, 1)
