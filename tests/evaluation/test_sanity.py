"""Shuffled models, and maps that must or must not follow them."""

import pytest
import torch
from torch import nn

from intr_nb.evaluation.sanity import _cascade, _map_similarity, _variants, cascade_similarity, stability

torch.manual_seed(0)
NET = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
)
IMAGE = torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(1))


def features(model, image, c):
    return model[2](model[1](model[0](image[None])))[0, c].detach()


def blind(model, image, c):
    return image[0]


def test_the_cascade_runs_from_the_top_keeps_the_numbers_and_spares_the_model():
    before = {k: v.clone() for k, v in NET.state_dict().items()}
    names = [(n, torch.equal(m[0].weight, NET[0].weight)) for n, m in _cascade(NET)]
    assert names == [("2", True), ("0", False)]
    *_, (_, broken) = _cascade(NET)
    for k, v in broken.state_dict().items():
        assert torch.equal(NET.state_dict()[k], before[k]) and torch.equal(
            v.flatten().sort().values, before[k].flatten().sort().values
        )
    assert not torch.equal(broken[2].weight, NET[2].weight)
    with pytest.raises(ValueError, match="no parameters"):
        list(_cascade(nn.ReLU()))


def test_the_seed_decides():
    a, b, c = (cascade_similarity(NET, features, IMAGE, 0, seed) for seed in (0, 0, 1))
    assert a == b != c


def test_a_blind_map_stays_and_one_of_the_model_does_not():
    assert list(cascade_similarity(NET, blind, IMAGE, 0).values()) == pytest.approx([1, 1])
    assert min(cascade_similarity(NET, features, IMAGE, 0).values()) < 0.9


def test_similarity_ignores_scale_and_checks_sizes():
    m = torch.rand(8, 8)
    assert _map_similarity(m, 3 * m + 1) == pytest.approx(1) and _map_similarity(m, -m) == pytest.approx(-1)
    with pytest.raises(ValueError, match="same size"):
        _map_similarity(m, torch.rand(4, 4))
    with pytest.raises(ValueError, match="'ssim'"):
        _map_similarity(m, m, "cosine")
    pytest.importorskip("torchmetrics")
    assert _map_similarity(m, m, "ssim") == pytest.approx(1) and _map_similarity(m, -m, "ssim") < 0


def test_stability_counts_only_variants_with_the_same_prediction():
    assert stability(NET, blind, IMAGE, 0, noise=1e-6) == pytest.approx(1, abs=1e-3)
    assert _variants(IMAGE).shape == (6, 3, 12, 12)

    def fickle(images):
        return torch.tensor([[1.0, 0.0]] + [[0.0, 1.0]] * (len(images) - 1))

    assert stability(fickle, blind, IMAGE, 0) != stability(fickle, blind, IMAGE, 0)  # nan
