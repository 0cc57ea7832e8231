"""Finer-CAM, the [CLS] heads and captum's methods: known answers, and what can't be meant."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from intr_nb.explanations.attention_rollout import cls_attention
from intr_nb.explanations.class_activation import finer_cam, grad_cam
from intr_nb.explanations.library_methods import integrated_gradients, lime, occlusion
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.pooled import PooledClassifier

VIT = dict(name="timm/vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=32, num_heads=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return OneBlockINTR(4, dict(name="patchnet", width=8, dim=16, stride=8), dim=16, num_heads=2).eval()


def picture(h=32, w=40):
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(1))


def linear(h=32, w=40):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * h * w, 3)).eval()


# -- known answers --


def test_finer_cam_of_no_strength_is_grad_cam(model):
    plain = grad_cam(model, picture())
    assert_close(finer_cam(model, picture(), strength=0).evidence, plain.evidence)
    assert not torch.allclose(finer_cam(model, picture()).evidence, plain.evidence)


def test_finer_cam_compares_with_candidates_alone(model):
    e = finer_cam(model, picture(), [1], candidates=[1, 3])
    g = grad_cam(model, picture(), candidates=[1, 3])
    assert_close(e.evidence[0, 0], g.evidence[0, 0] - g.evidence[0, 1])


def test_a_linear_model_is_told_exactly():
    m, x = linear(), picture()
    given = (m[1].weight.view(3, 3, 32, 40) * x).sum(1)
    tiles = given.unfold(1, 8, 8).unfold(2, 8, 8).sum((3, 4)).detach()  # (3, 4, 5)
    assert_close(integrated_gradients(m, x, steps=2, size=(4, 5)).evidence[0], tiles)
    covered = occlusion(m, x, width=8, step=8, size=(4, 5))
    assert_close(covered.evidence[0], tiles, atol=1e-5, rtol=0)
    tall = lime(linear(32, 32), picture(32, 32), cells=4, samples=300)
    given = (linear(32, 32)[1].weight.view(3, 3, 32, 32) * picture(32, 32)).sum(1)
    tiles = given.unfold(1, 8, 8).unfold(2, 8, 8).sum((3, 4)).detach()
    assert torch.corrcoef(torch.stack([tall.evidence.flatten(), tiles.flatten()]))[0, 1] > 0.999
    assert "with 100%" in tall.note


def test_padding_gets_nothing(model):
    mask = torch.zeros(32, 40, dtype=torch.bool)
    mask[:, 24:] = True
    for method in (integrated_gradients, occlusion, finer_cam):
        e = method(model, picture(), [1], mask=mask)
        assert e.evidence[..., 3:].abs().max() == 0 and e.evidence.abs().sum() > 0


def test_lime_is_repeated_by_its_seed_and_leaves_the_generator_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = (lime(model, picture(), samples=40, cells=4, seed=s).evidence for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.rand(3), expected)


def test_the_cls_tokens_heads_are_the_last_blocks():
    torch.manual_seed(0)
    e = cls_attention(PooledClassifier(3, VIT), picture(32, 32), [2, 0])
    assert e.attention.shape == (2, 2, 2, 2) and e.attention[:, 0].sum((1, 2)).max() < 1
    assert torch.equal(e.attention[:, 0], e.attention[:, 1]) and not e.has("evidence")
    assert not torch.equal(e.attention[0], e.attention[1])


# -- what can't be meant --


def test_finer_cam_needs_somebody_to_compare_with(model):
    with pytest.raises(ValueError, match="candidates=\\[2\\].*at least two"):
        finer_cam(model, picture(), candidates=[2])
    with pytest.raises(ValueError, match="similar=0"):
        finer_cam(model, picture(), similar=0)


@pytest.mark.parametrize(
    "method, wrong",
    [
        (integrated_gradients, dict(steps=1)),
        (occlusion, dict(width=33)),
        (occlusion, dict(width=8, step=9)),
        (lime, dict(cells=1)),
        (lime, dict(cells=33)),
        (lime, dict(samples=1)),
    ],
)
def test_numbers_out_of_range_are_named(model, method, wrong):
    name, value = list(wrong.items())[-1]
    with pytest.raises(ValueError, match=f"{name}={value}: expected a whole number"):
        method(model, picture(), [0], **wrong)


def test_a_transformer_without_cls_token_says_so():
    bare = PooledClassifier(3, VIT | dict(class_token=False, global_pool="avg"))
    with pytest.raises(TypeError, match="without .CLS. token.*rollout"):
        cls_attention(bare, picture(32, 32))
