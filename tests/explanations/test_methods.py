"""Maps that know nothing, and what a method may return."""

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.explanation import Explanation
from intr_nb.explanations.masking import rise
from intr_nb.explanations.methods import (
    BASELINES,
    METHODS,
    READINGS,
    Method,
    as_map,
    attention_map,
    centre_map,
    contrast_map,
    edge_map,
    energy_map,
    evidence_map,
    margin_map,
    methods_for,
    other_class,
    random_map,
    rise_map,
    smoothed,
)
from intr_nb.models.base import ImageSearch
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.pooled import PooledClassifier

PATCHNET = dict(name="patchnet", width=8, dim=16, stride=8)
VIT = dict(name="timm/vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=32, num_heads=2)
MODEL, (IMAGE, LABEL) = pretrained("aviary16"), Aviary(20, seed=2)[8]
GRADIENT = ["Grad-CAM", "Finer-CAM", "integrated gradients"]
SCORES, TRANSFORMER = ["occlusion", "LIME", "RISE"], ["rollout", "[CLS] heads"]


def test_random_maps_depend_on_seed_image_and_class_only():
    a = random_map()(MODEL, IMAGE, 1)
    assert torch.equal(a, random_map()(None, IMAGE.clone(), 1))
    assert not any(
        torch.equal(a, b)
        for b in (
            random_map(seed=1)(MODEL, IMAGE, 1),
            random_map()(MODEL, IMAGE + 0.1, 1),
            random_map()(MODEL, IMAGE, 2),
        )
    )


def test_intrs_maps_are_those_of_explain():
    e = explain(MODEL, IMAGE)
    assert torch.allclose(evidence_map(MODEL, IMAGE, 3), e.evidence[:, 3].sum(0), atol=1e-6)
    assert torch.allclose(attention_map(MODEL, IMAGE, 3), e.attention[:, 3].mean(0), atol=1e-6)
    assert torch.allclose(margin_map(MODEL, IMAGE, LABEL), e.margin(LABEL).total, atol=1e-6)
    assert torch.allclose(
        contrast_map(MODEL, IMAGE, LABEL),
        sum(e.margin(LABEL, c).total for c in range(16) if c != LABEL) / 16,
        atol=1e-5,
    )
    assert torch.allclose(
        other_class(evidence_map)(MODEL, IMAGE, LABEL), evidence_map(MODEL, IMAGE, e.runner_up(LABEL))
    )


def test_as_map_takes_arrays_and_explanations():
    assert as_map(np.ones((2, 3)), 0).shape == (2, 3)
    e = Explanation(
        torch.zeros(2),
        torch.zeros(3, 8, 8),
        attention=torch.stack([torch.full((2, 4, 4), 0.1), torch.full((2, 4, 4), 0.3)]),
    )
    assert torch.allclose(as_map(e, 1), torch.tensor(0.2))
    with pytest.raises(ValueError, match="Sum over heads"):
        as_map(torch.ones(3, 4, 4), 0)
    with pytest.raises(ValueError, match="NaN"):
        as_map(torch.full((4, 4), torch.nan), 0)


def test_the_centre_is_the_highest_place_and_edges_follow_the_image():
    c = centre_map(None, torch.zeros(3, 9, 9), 0)
    assert int(c.argmax()) == 40
    step = torch.zeros(3, 8, 12)
    step[:, :, 6:] = 1
    e = edge_map(None, step, 0)
    assert e.shape == (8, 12) and e[:, 5].min() > 0 and e[:, 0].max() < 1e-6


def test_energy_is_the_squared_length_of_the_features_for_every_class_alike():
    model = pretrained("aviary16").train()
    e, features = energy_map(model, IMAGE, 0), MODEL.backbone(IMAGE[None])[0].detach()
    assert model.training and torch.allclose(e, (features**2).sum(0)) and e.std() > 0
    assert torch.equal(e, energy_map(model, IMAGE, 5))
    with pytest.raises(TypeError, match="Linear without `backbone`.*methods_for"):
        energy_map(torch.nn.Linear(2, 2), IMAGE, 0)


def test_spreading_averages_over_neighbours():
    def one(model, image, c):
        return torch.eye(5)[2].expand(5, 5) * torch.eye(5)[2][:, None]

    assert torch.allclose(
        smoothed(one, 3)(None, None, 0), torch.nn.functional.pad(torch.full((3, 3), 1 / 9), [1] * 4)
    )


# -- the registry --


def small(kind):
    torch.manual_seed(0)
    if kind == "decoder":
        return INTR(5, PATCHNET, dim=16, num_heads=2, encoder_layers=0, decoder_layers=2, ffn_dim=16).eval()
    return PooledClassifier(5, VIT if kind == "vit" else PATCHNET).eval()


def picture():
    return torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_registry_is_complete_and_in_order():
    assert list(READINGS) == ["evidence", "margin", "contrast", "attention"]
    assert list(METHODS) == [*READINGS, *GRADIENT, *SCORES, "CAM", "similarity", *TRANSFORMER, *BASELINES]
    assert list(BASELINES) == ["random", "centre", "edges", "energy"]
    for name, m in METHODS.items():
        assert m.name == name and m.baseline == (name in BASELINES)
        assert (m.passes == 0) == (m.baseline and not m.needs)  # who asks the model for nothing costs nothing
    with pytest.raises(AttributeError):
        METHODS["edges"].passes = 1


def test_a_method_stays_callable():
    m = Method("mine", lambda model, image, c: torch.full((2, 2), float(c)))
    assert torch.equal(m(None, IMAGE, 3), torch.full((2, 2), 3.0)) and "0x" not in repr(m)


@pytest.mark.parametrize("kind", ["decoder", "pooled", "vit"])
def test_methods_keep_their_price(kind):
    "`passes` is how many images go through the backbone; they are said for birds of 96 pixels"
    model, seen, x = small(kind), [], torch.nn.functional.interpolate(picture()[None], size=(96, 96))[0]
    model.backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    asked = methods_for(model)
    assert {"RISE", *BASELINES} <= set(asked)
    asked = {name: m for name, m in asked.items() if m.passes < 50 or kind == "pooled"}  # once is enough
    for m in asked.values():
        seen.clear()
        assert as_map(m(model, x if m.name == "occlusion" else picture(), 1), 1).dim() == 2
        assert sum(seen) == m.passes, m.name


def test_methods_for_knows_who_can_answer():
    others = [*GRADIENT, *SCORES]
    assert list(methods_for(MODEL)) == list(methods_for(small("decoder"))) == [*READINGS, *others, *BASELINES]
    assert list(methods_for(small("pooled"))) == [*others, "CAM", *BASELINES]
    assert list(methods_for(small("vit"))) == [*others, "CAM", *TRANSFORMER, *BASELINES]
    assert list(methods_for(torch.nn.Linear(2, 2))) == [*SCORES, "random", "centre", "edges"]


def test_evidence_is_not_offered_where_a_model_has_none():
    class OnlyAttention(ImageSearch):
        pass

    offered = methods_for(OnlyAttention())
    assert "attention" in offered and not {"evidence", "margin", "contrast"} & set(offered)


def test_the_other_class_is_another_for_methods_of_all_classes():
    x, m = picture(), small("decoder")
    c = int(m(x[None]).logits.argmax())
    all_at_once = rise_map(20)
    other = as_map(other_class(all_at_once)(m, x, c), c)
    assert not torch.equal(other, as_map(all_at_once(m, x, c), c))


def test_rise_explains_all_classes_at_once():
    e = rise_map(8, seed=3)(small("pooled"), picture(), 1)
    assert e.classes == list(range(5))
    assert torch.equal(as_map(e, 1), rise(small("pooled"), picture(), masks=8, seed=3).evidence[0, 1])
