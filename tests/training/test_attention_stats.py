"""Attention statistics: known answers, padding, modes and precision."""

import pytest
import torch
import torch.nn.functional as F

from intr_nb.core.tools import evaluating
from intr_nb.models.base import INTROutput
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR
from intr_nb.models.patchnet import PatchNet
from intr_nb.training.attention_stats import (
    _map_entropy,
    _map_peak,
    _mean_cosine,
    _measure,
    _shares,
    attention_statistics,
)
from intr_nb.training.diagnosis import diagnose
from intr_nb.training.history import History


def model(fc=False, seed=0, classes=5, **kw):
    torch.manual_seed(seed)
    return OneBlockINTR(
        classes, backbone=PatchNet(width=8, dim=16, stride=8), dim=16, num_heads=4, fc=fc, **kw
    )


@pytest.fixture
def images():
    return torch.randn(6, 3, 40, 56, generator=torch.Generator().manual_seed(1))


def test_known_maps():
    uniform, hot = torch.full((2, 3, 4, 10), 0.1), torch.eye(4, 10).expand(2, 3, 4, 10)
    assert torch.allclose(_map_entropy(uniform), torch.ones(2, 3)) and torch.equal(
        _map_entropy(hot), torch.zeros(2, 3)
    )
    assert torch.allclose(_map_peak(uniform), torch.full((2, 3), 0.1)) and torch.equal(
        _map_peak(hot), torch.ones(2, 3)
    )
    assert torch.allclose(_mean_cosine(uniform, 2), torch.ones(2, 3)) and torch.allclose(
        _mean_cosine(hot, 2), torch.zeros(2, 3), atol=1e-6
    )
    assert torch.allclose(_mean_cosine(hot, 1), torch.ones(2, 4))  # heads alike, class by class
    half = torch.tensor([[[[0.5, 0.5, 0, 0]]]])
    assert _map_entropy(half).item() == pytest.approx(0.5) and _mean_cosine(half, 2).isnan().all()
    assert _map_entropy(torch.ones(1, 1, 1, 1)).item() == 1  # one cell: nowhere else to look


def test_cosine_is_that_of_all_pairs():
    maps = torch.randn(2, 3, 7, 11, generator=torch.Generator().manual_seed(0)).mul(3).softmax(-1)
    direct = F.cosine_similarity(maps[:, :, :, None], maps[:, :, None], dim=-1)
    assert torch.allclose(_mean_cosine(maps, 2), (direct.sum((2, 3)) - 7) / 42, atol=1e-6)


def test_padding_is_ignored():
    alpha = torch.zeros(2, 1, 3, 8)
    alpha[0, ..., :] = 1 / 8
    alpha[1, ..., :5] = 1 / 5
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[1, 5:] = True
    assert torch.allclose(_map_entropy(alpha, mask), torch.ones(2, 1)) and _map_entropy(alpha)[1] < 0.8


def test_a_padded_image_has_the_health_of_the_image(images):
    m = model()
    m.backbone = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Conv2d(3, 16, 1))  # no cell sees another
    m.backbone.num_channels, m.backbone.stride = 16, 8
    padded, mask = (
        F.pad(images, (0, 24, 0, 16)),
        F.pad(torch.zeros(6, 40, 56, dtype=torch.bool), (0, 24, 0, 16), value=True),
    )
    alone, within = attention_statistics(m, images), attention_statistics(m, padded, mask)
    assert alone.positions == within.positions == 35
    for key in ("entropy", "peak", "similarity", "overlap", "share", "spread"):
        assert torch.allclose(getattr(alone, key), getattr(within, key), atol=1e-5), key


def test_portions_and_outputs_give_the_same(images):
    m = model()
    whole = attention_statistics(m, images, batch_size=6)
    with torch.no_grad():
        given = attention_statistics(m, m.eval()(images, attention="last"))
    for other in (attention_statistics(m, images, batch_size=4), given):
        for key in ("entropy", "peak", "similarity", "overlap", "share", "spread"):
            assert torch.allclose(getattr(whole, key), getattr(other, key), atol=1e-5), key
    assert set(whole.row()) == {"entropy", "peak", "similarity", "share"} and all(
        isinstance(v, float) for v in whole.row().values()
    )


def test_shares_add_up():
    parts = torch.randn(4, 3, 6, dtype=torch.float64)
    s = _shares(parts, parts.sum(1))
    assert s.sum().item() == pytest.approx(1) and torch.allclose(s, _shares(parts, parts.sum(1) + 5))
    assert _shares(torch.cat([parts, torch.ones(4, 1, 6)], 1), parts.sum(1))[-1] == 0
    assert _shares(torch.ones(1, 2, 3), torch.full((1, 3), 7.0)).isnan().all()


def test_one_block_is_all_evidence_and_fc_is_not(images):
    assert attention_statistics(model(score_bound=1.0), images).share.sum().item() == pytest.approx(
        1, abs=1e-4
    )
    fc = model(fc=True)
    with torch.no_grad():
        fc.block.queries.zero_()  # all classes look everywhere: only the presence vectors differ
    health = attention_statistics(fc, images)
    assert health.share.sum().abs() < 1e-4 and health.spread.shape == (4,)
    assert {"uniform", "attention bypassed"} <= set(diagnose(health).names)


def test_spread_is_the_deviation_of_s(images):
    m = model()
    with torch.no_grad():
        s = m.value_scores(m.eval()(images).features).flatten(2)
    assert torch.allclose(attention_statistics(m, images).spread, s.std(2, correction=0).mean(0), atol=1e-6)


def test_layers_of_the_full_model(images):
    torch.manual_seed(0)
    full = INTR(
        5,
        backbone=PatchNet(width=8, stride=8),
        dim=16,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=3,
        ffn_dim=32,
    )
    health = attention_statistics(full, images)
    assert health.entropy.shape == health.peak.shape == health.similarity.shape == (
        3,
        4,
    ) and health.overlap.shape == (3,)
    assert health.share is None and "share" not in health.row() and "residuals" in health.why
    page = health._repr_html_()
    assert "layer 3" in page and "head 3" in page and "share</th>" not in page


def test_the_patient_is_left_as_it_was(images):
    m = model().train()
    m.backbone.eval()
    before, rng = {k: v.clone() for k, v in m.state_dict().items()}, torch.get_rng_state()
    modes = [x.training for x in m.modules()]
    attention_statistics(m, images)
    with pytest.raises(ValueError):
        attention_statistics(m, images[:, :2])
    assert [x.training for x in m.modules()] == modes and torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items()) and all(
        p.grad is None for p in m.parameters()
    )
    with pytest.raises(RuntimeError), evaluating(m):
        raise RuntimeError
    assert [x.training for x in m.modules()] == modes and torch.is_grad_enabled()


def test_numbers_are_float32_under_autocast(images):
    exact = attention_statistics(model(), images)
    with torch.autocast("cpu", torch.bfloat16):
        health = attention_statistics(model(), images)
    for key in ("entropy", "peak", "similarity", "overlap", "share", "spread"):
        assert getattr(health, key).dtype == torch.float32 and torch.allclose(
            getattr(health, key), getattr(exact, key), atol=0.05
        ), key
    m = model()
    with torch.no_grad():
        m.block.queries.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(attention_statistics(m, images).entropy, torch.ones(1, 4), atol=1e-6)


def test_no_pairs_of_classes_are_formed():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, f, types, args=(), kwargs=None):
            out = f(*args, **(kwargs or {}))
            for x in out if isinstance(out, (list, tuple)) else [out]:
                if isinstance(x, torch.Tensor):
                    self.numbers = max(self.numbers, x.numel())
            return out

    alpha = torch.rand(2, 3, 525, 12, 13)
    with Largest() as largest:
        _measure(
            INTROutput(
                torch.rand(2, 525), alpha, torch.rand(2, 16, 12, 13), torch.zeros(2, 12, 13, dtype=torch.bool)
            )
        )
    assert largest.numbers == alpha.numel()  # a table of all pairs would have three times as many numbers


def test_outputs_without_what_is_needed(images):
    m = model().eval()
    with torch.no_grad():
        with pytest.raises(ValueError, match="attention='last'"):
            attention_statistics(m, m(images))
        some = attention_statistics(m, m(images, attention="last", candidates=[1, 3]))
        one = attention_statistics(m, m(images, attention="last", candidates=[2]))
    assert some.share is None and not some.similarity.isnan().any() and one.similarity.isnan().all()
    assert "classes alike" not in diagnose(one).names
    with pytest.raises(ValueError, match="at least one epoch"):
        diagnose(History())
