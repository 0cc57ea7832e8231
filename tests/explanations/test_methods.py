"""Maps that know nothing, and what a method may return."""

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.explanations.explainer import explain
from intr_nb.explanations.explanation import Explanation
from intr_nb.explanations.methods import (
    as_map,
    attention_map,
    centre_map,
    contrast_map,
    edge_map,
    evidence_map,
    margin_map,
    other_class,
    random_map,
    smoothed,
)
from intr_nb.models.checkpoints import pretrained

MODEL, (IMAGE, LABEL) = pretrained("aviary16"), Aviary(20, seed=2)[8]


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


def test_spreading_averages_over_neighbours():
    def one(model, image, c):
        return torch.eye(5)[2].expand(5, 5) * torch.eye(5)[2][:, None]

    assert torch.allclose(
        smoothed(one, 3)(None, None, 0), torch.nn.functional.pad(torch.full((3, 3), 1 / 9), [1] * 4)
    )
