"""The benchmark of a model that must pass, of one that must fail, and what it leaves behind."""

import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.evaluation.bird_benchmark import run_bird_benchmark
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.one_block import OneBlockINTR


def test_the_shipped_model_passes_and_an_untrained_one_fails():
    birds = Aviary(48, seed=2)
    good = run_bird_benchmark(pretrained("aviary16"), birds, progress=False)
    assert (
        good["accuracy"] >= 0.95
        and good["follows"] >= 0.95
        and good["points"] >= 0.9
        and good["share"] >= 0.8
        and good.gap < 1e-4
    )
    assert good["points"] > good["alpha"] + 0.2
    torch.manual_seed(0)
    bad = run_bird_benchmark(OneBlockINTR(16), birds, progress=False)
    assert bad["accuracy"] < 0.3 and bad["points"] < 0.6 and bad.gap < 1e-4
    assert len(good.by_attribute()) == 16 and "accuracy" in good._repr_html_()


def test_other_species_are_an_error():
    with pytest.raises(ValueError, match="16 classes and the aviary 4 species"):
        run_bird_benchmark(pretrained("aviary16"), Aviary(8, species=4), progress=False)


def test_a_model_in_training_is_measured_in_evaluation_and_left_as_it_was():
    torch.manual_seed(0)
    birds, model = Aviary(4, seed=2), OneBlockINTR(16, dropout=0.5)
    expected = run_bird_benchmark(model.eval(), birds, progress=False).answers
    model.train().backbone.eval()
    modes, state = (
        [m.training for m in model.modules()],
        {k: v.clone() for k, v in model.state_dict().items()},
    )
    assert run_bird_benchmark(model, birds, progress=False).answers == expected
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
