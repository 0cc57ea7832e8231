"""Recipes: what can't be meant is refused, the paper's table is the paper's, and every image is taken once."""

import pytest

from intr_nb.training.recipe import RECIPES, Recipe, _micro_batches, _steps_of


@pytest.mark.parametrize(
    "field, value",
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", True),
        ("lr", -1),
        ("lr", float("inf")),
        ("backbone_lr", -1),
        ("label_smoothing", 1.0),
        ("schedule", "linear"),
        ("precision", "fp16"),
        ("micro_batch", 0),
        ("clip_norm", 0),
        ("erase", -1),
        ("mixup", -1),
    ],
)
def test_recipes_that_cannot_be_meant(field, value):
    with pytest.raises(ValueError, match=f"{field}="):
        Recipe(**{field: value})


def test_recipes_of_the_paper():
    table = dict(
        bird=(5e-5, 16, 140),
        cub=(1e-4, 12, 140),
        butterflies=(1e-4, 12, 100),
        fish=(1e-4, 16, 140),
        dog=(1e-4, 16, 170),
        pet=(1e-4, 12, 100),
        car=(1e-4, 12, 140),
        aircraft=(1e-4, 12, 140),
    )
    assert {k: (RECIPES[k].lr, RECIPES[k].batch_size, RECIPES[k].epochs) for k in table} == table
    assert all(
        (RECIPES[k].schedule, RECIPES[k].drop_epoch, RECIPES[k].backbone_lr, RECIPES[k].clip_norm)
        == ("step", 80, 1e-5, 0.1)
        for k in table
    )


@pytest.mark.parametrize("field, value", [("mixup", True), ("compile", "yes"), ("gradient_checkpointing", 1)])
def test_a_recipe_of_other_kinds(field, value):
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        Recipe(**{field: value})


def test_every_image_is_in_one_micro_batch():
    for size, world, micro in ((12, 1, None), (12, 3, 2), (7, 2, 3), (5, 5, 1)):
        parts = [part for rank in range(world) for part in _micro_batches(size, rank, world, micro)]
        assert sorted(i for part in parts for i in part) == list(range(size))
    seen = [i for step in _steps_of(50, 8, 0, 3) for i in step]
    assert len(seen) == len(set(seen)) == 48 and len(_steps_of(5, 8, 0, 0)[0]) == 5
