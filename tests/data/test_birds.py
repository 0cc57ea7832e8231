"""Drawn birds: the same everywhere, exact counterfactuals, masks where the change is, clear errors."""

import numpy as np
import pytest
import torch

from intr_nb.core.images import denormalise, normalise
from intr_nb.data.birds import Aviary, Bird, draw_birds, to_hf
from intr_nb.data.scenes import LEVELS, make_scene
from intr_nb.data.species import ATTRIBUTES, Species, make_species, twins


def widen(mask):
    m = np.pad(mask, 1)
    return np.logical_or.reduce([m[y : y + len(mask), x : x + len(mask)] for y in range(3) for x in range(3)])


def test_scene_numbers_are_the_same_on_every_machine():
    scene = make_scene(3, 5)
    assert scene["flip"] == -1 and scene["background"] == 85
    assert scene["scale"] == pytest.approx(0.8455, abs=1e-4) and scene["turn"] == pytest.approx(
        4.3102, abs=1e-4
    )


def test_pixels_are_the_same_on_every_machine():
    aviary = Aviary(4, seed=3)
    assert [float(aviary.bird(i).image.mean()) for i in range(4)] == pytest.approx(
        [131.2, 156.0, 138.5, 135.6], abs=0.1
    )
    assert all(np.array_equal(aviary.bird(i).image, Aviary(16, seed=3).bird(i).image) for i in range(4))


@pytest.mark.parametrize("level", LEVELS)
def test_a_counterfactual_changes_only_its_attribute(level):
    species = make_species()
    for i in range(8):
        bird = Bird(species[2 * i], make_scene(7, i, level))
        for attribute, values in ATTRIBUTES.items():
            for value in values:
                if value == bird.species.attributes[attribute]:
                    continue
                change = np.abs(bird.image.astype(int) - bird.swap(attribute, value).image).sum(-1)
                inside = change[widen(bird.masks[attribute])].sum() / max(1, change.sum())
                assert inside > 0.9, (attribute, value, inside)


def test_every_attribute_stays_visible():
    for level in LEVELS:
        for i in range(150):
            masks = Bird(make_species()[0], make_scene(11, i, level)).masks
            assert min(m.sum() for m in masks.values()) >= 4, (
                level,
                i,
                {a: int(m.sum()) for a, m in masks.items()},
            )


def test_two_hundred_species_are_distinct_and_have_twins():
    species = make_species(200)
    assert len({tuple(s.attributes.values()) for s in species}) == len({s.name for s in species}) == 200
    assert all(len(p) >= 2 for p in twins(species).values())
    assert [s.attributes for s in make_species(200)] == [s.attributes for s in species]
    assert [s.attributes for s in make_species(200, seed=1)[16:]] != [s.attributes for s in species[16:]]


@pytest.mark.parametrize("size", [64, 96, 131, 512])
def test_sizes(size):
    bird = Aviary(1, size=size).bird(0)
    assert (
        bird.image.shape == (size, size, 3)
        and bird.masks["belly"].shape == (size, size)
        and bird.masks["belly"].sum() > 0.01 * size**2
    )


def test_seeds_and_indices_give_other_birds():
    a, b = Aviary(32, seed=0), Aviary(32, seed=1)
    assert not np.array_equal(a.bird(0).image, b.bird(0).image) and not np.array_equal(
        a.bird(0).image, a.bird(16).image
    )
    assert np.array_equal(a.bird(5).image, Aviary(6, seed=0).bird(5).image)


def test_drawing_at_once_is_drawing_one_by_one():
    aviary = Aviary(20)
    images, labels = draw_birds(aviary, progress=False).tensors
    assert labels.tolist() == [i % 16 for i in range(20)]
    assert all(torch.equal(normalise(images[i]), aviary[i][0]) for i in range(20))
    assert torch.allclose(denormalise(aviary[3][0]) * 255, images[3].float(), atol=1e-3)


def test_hugging_face_table():
    datasets = pytest.importorskip("datasets")
    aviary = Aviary(3)
    table = to_hf(aviary)
    assert (
        isinstance(table.features["label"], datasets.ClassLabel)
        and table.features["label"].names == aviary.class_names
    )
    for i, row in enumerate(table):
        assert np.array_equal(np.asarray(row["image"]), aviary.bird(i).image) and row["label"] == i
        assert all(
            np.array_equal(np.asarray(row[f"{a}_mask"]).astype(bool), aviary.bird(i).masks[a])
            for a in ATTRIBUTES
        )


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: make_species(10), "multiple of 4"),
        (lambda: Aviary(4, level="harder"), "easy, default, hard"),
        (lambda: Aviary(4, size=32), "64 to 512"),
        (lambda: Species("x", {}), "no value for crown"),
        (lambda: make_species()[0].swap("hat", "red"), "unknown attribute 'hat'"),
        (lambda: make_species()[0].swap("crown", "plaid"), "crown can't be 'plaid'"),
    ],
)
def test_bad_requests_say_what_there_is(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_bird_that_is_not_there():
    with pytest.raises(IndexError, match="this aviary has 4"):
        Aviary(4).bird(4)


def test_names_from_data_are_escaped():
    bird = Bird(Species("<img onerror=x>", make_species()[0].attributes), make_scene(0, 0))
    assert "<img onerror" not in bird._repr_html_()
