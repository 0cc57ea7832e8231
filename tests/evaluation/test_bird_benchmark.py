"""The exam's questions on toys with a known answer, and on models that must fail."""

import numpy as np
import pytest
import torch

from intr_nb.data.birds import Aviary
from intr_nb.evaluation.bird_benchmark import peak_pixel, points_at, run_bird_benchmark, share_inside
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import OneBlockINTR


def test_peak_is_the_middle_of_its_cell():
    m = torch.zeros(24, 24)
    m[3, 10] = 1
    assert peak_pixel(m, 96) == (13.5, 41.5)


def test_tolerance_is_four_pixels_at_96():
    m, mask = torch.zeros(24, 24), np.zeros((96, 96), bool)
    m[3, 10] = 1  # at (13.5, 41.5)
    mask[17, 42] = True
    assert points_at(m, mask)
    mask[:] = False
    mask[18, 42] = True
    assert not points_at(m, mask) and points_at(m, mask, tolerance=5 / 96)


def test_an_empty_mask_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        points_at(torch.ones(2, 2), np.zeros((8, 8), bool))


def test_share_counts_positive_evidence_only():
    m, mask = torch.tensor([[4.0, -100.0], [0.0, 4.0]]), np.zeros((8, 8), bool)
    mask[:4, :2] = True  # half of the first cell
    assert share_inside(m, mask) == pytest.approx(0.25)
    assert np.isnan(share_inside(-torch.ones(2, 2), mask))
    with pytest.raises(ValueError, match="whole pixels"):
        share_inside(torch.ones(3, 3), mask)


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
