"""Parts on toys whose effects are known, and the maps of a bird."""

import numpy as np
import pytest
import torch

from intr_nb.core.images import normalise
from intr_nb.data.birds import Aviary
from intr_nb.data.species import ATTRIBUTES
from intr_nb.evaluation.part_removal import (
    _NEUTRAL,
    _chimera,
    _exchanged,
    _important,
    _sceneries,
    _without,
    background_independence,
    completeness,
    contrastivity,
    part_correlation,
    part_effects,
    part_importance,
)

BIRDS = Aviary(20, seed=2)
BIRD = BIRDS.bird(8)
THROAT = torch.as_tensor(BIRD.masks["throat"])


def throat_only(images):
    return torch.stack([images[:, :, THROAT].mean((1, 2)), torch.zeros(len(images))], 1)


def test_only_the_part_that_counts_has_an_effect():
    for how in ("exchange", "remove"):
        effects = part_effects(throat_only, BIRD, 0, how)
        residual = [abs(v) for a, v in effects.items() if a != "throat"]
        assert abs(effects["throat"]) > 0.1 and max(residual) < 0.5 * abs(effects["throat"])
    assert part_effects(throat_only, BIRD, 0, over=1)["throat"] == pytest.approx(
        part_effects(throat_only, BIRD, 0)["throat"]
    )
    assert part_effects(throat_only, BIRD, 0, over="mean")["throat"] == pytest.approx(
        part_effects(throat_only, BIRD, 0)["throat"] / 2
    )  # of two classes, one always 0
    with pytest.raises(ValueError, match="'remove'"):
        part_effects(throat_only, BIRD, 0, "delete")
    with pytest.raises(ValueError, match="'mean' or None"):
        part_effects(throat_only, BIRD, 0, over="all")


def test_exchange_draws_every_other_value_and_without_draws_the_neutral_one():
    assert all(len(_exchanged(BIRD, a)) == len(v) - 1 for a, v in ATTRIBUTES.items())
    assert set(_NEUTRAL) == {"eye_ring", "wing_pattern", "breast", "tail_band"}
    assert torch.equal(_without(BIRD, ["wing_pattern"]), normalise(BIRD.swap("wing_pattern", "plain").image))
    changed = (_without(BIRD, ["throat"]) != normalise(BIRD.image)).any(0)
    assert changed.any() and not changed[~THROAT].any()
    assert torch.equal(_without(BIRD, []), normalise(BIRD.image))


def test_importance_sums_the_map_on_the_part():
    mask = np.zeros((8, 8), bool)
    mask[:, :2] = True
    assert part_importance(
        torch.tensor([[3.0, 1.0], [-1.0, 9.0]]), dict(left=mask, none=np.zeros((8, 8), bool)), 0
    ) == {"left": pytest.approx(1.0)}
    assert part_importance(torch.tensor([[4.0, 0.0], [0.0, 0.0]]), dict(left=mask), 2 / 8) == {
        "left": pytest.approx(4.0)
    }
    both = part_importance(torch.tensor([[4.0, 0.0], [0.0, 0.0]]), dict(a=~mask | mask, b=~mask | mask), 0)
    assert both == {"a": pytest.approx(2.0), "b": pytest.approx(2.0)}  # a cell is counted once


def test_correlation_is_one_for_the_truth_and_minus_one_for_its_opposite():
    e = dict(a=3.0, b=1.0, c=-2.0)
    assert part_correlation(e, e) == pytest.approx(1) and part_correlation(
        {k: -v for k, v in e.items()}, e
    ) == pytest.approx(-1)
    assert part_correlation(dict(a=9.0, b=2.0, c=1.0), e) == pytest.approx(1) and part_correlation(
        dict(a=9.0, b=2.0, c=1.0), e, ranks=False
    ) == pytest.approx(np.corrcoef([9, 2, 1], [3, 1, -2])[0, 1])
    assert all(
        np.isnan(part_correlation(dict(a=1.0, b=1.0, c=1.0), e, ranks)) for ranks in (True, False)
    ) and np.isnan(part_correlation({}, e, ranks=False))


def test_important_is_the_smallest_set():
    assert (
        _important(dict(a=8, b=1, c=1, d=-5)) == ["a"]
        and _important(dict(a=7, b=2, c=1)) == ["a", "b"]
        and _important(dict(a=-1)) == []
    )


def test_completeness_of_a_true_and_a_false_map():
    whole = throat_only(normalise(BIRD.image)[None])[0, 0]
    gone = throat_only(_without(BIRD, ["throat"])[None])[0, 0]

    def model(images):
        return torch.stack(
            [
                (throat_only(images)[:, 0] - (whole + gone) / 2) * (1 if whole > gone else -1),
                torch.zeros(len(images)),
            ],
            1,
        )

    effects = part_effects(model, BIRD, 0)
    true, false = ({a: float(a == name) for a in BIRD.masks} for name in ("throat", "tail"))
    assert (
        completeness(model, BIRD, true, effects)["deletion"]
        == completeness(model, BIRD, true, effects)["preservation"]
        == 1
    )
    assert completeness(model, BIRD, false, effects)["deletion"] == 0


def test_contrastivity_of_a_map_that_knows_and_of_one_that_does_not():
    other, d, c = BIRDS.species[0], 0, BIRDS.label(8)
    mixture, own, taken = _chimera(BIRD, other, 0)
    assert (
        own
        and taken
        and not set(own) & set(taken)
        and all(mixture.species.attributes[a] == other.attributes[a] for a in taken)
    )
    inside = {k: np.logical_or.reduce([BIRD.masks[a] for a in part]) for k, part in ((c, own), (d, taken))}

    def knows(model, image, k):
        return torch.as_tensor(inside[k] & ~inside[d if k == c else c]).float()

    assert contrastivity(None, lambda m, i, k: torch.ones(4, 4), BIRD, c, other, d) == 0.5
    assert contrastivity(None, knows, BIRD, c, other, d) > 0.7
    with pytest.raises(ValueError, match="2 at least"):
        _chimera(BIRD, BIRDS.species[9])


def test_sceneries_leave_the_bird_alone():
    assert len(_sceneries(BIRD)) == 7 and all(
        s.species is BIRD.species and not np.array_equal(s.image, BIRD.image) for s in _sceneries(BIRD)[:4]
    )
    assert (
        background_independence(throat_only, BIRD, 0, dict(throat=100.0)) == 1
        and background_independence(lambda x: x.mean((2, 3)), BIRD, 0, dict(a=0.0)) == 0
    )


def test_effects_are_measured_in_evaluation_and_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.AvgPool2d(8),
        torch.nn.BatchNorm2d(3),
        torch.nn.Flatten(),
        torch.nn.Dropout(),
        torch.nn.Linear(432, 2),
    )
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = part_effects(model, BIRD, 0)
    assert all(m.training for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert found == part_effects(model.eval(), BIRD, 0)
