"""Maps against masks with answers known beforehand."""

import pytest
import torch

from intr_nb.evaluation.localisation import mass_accuracy, point_mask, pointing, rank_accuracy

QUARTER = torch.zeros(40, 40, dtype=torch.bool)
QUARTER[:20, :20] = True


def test_perfect_opposite_and_flat():
    for score in (mass_accuracy, rank_accuracy):
        assert score(QUARTER.float(), QUARTER) == 1 and score((~QUARTER).float(), QUARTER) == 0
    assert mass_accuracy(torch.ones(10, 10), QUARTER) == pytest.approx(0.25)
    assert abs(rank_accuracy(torch.ones(10, 10), QUARTER) - 0.25) < 0.07


def test_mass_ignores_negative_values_and_rank_does_not():
    m = torch.tensor([[1.0, -9.0], [-9.0, 1.0]]).repeat_interleave(20, 0).repeat_interleave(20, 1)
    assert mass_accuracy(m, QUARTER) == pytest.approx(0.5)
    assert rank_accuracy(torch.where(QUARTER, -1.0, -2.0), QUARTER) == 1


def test_pointing_with_tolerance_on_an_oblong_image():
    mask = torch.zeros(20, 40, dtype=torch.bool)
    mask[0, 0] = True
    m = torch.zeros(20, 40)
    m[0, 4] = 1
    assert not pointing(m, mask) and pointing(m, mask, 0.1) and not pointing(m, mask, 0.08)
    m[0, 0] = 2
    assert pointing(m, mask) and not pointing(torch.zeros(20, 40), mask)


def test_discs_count_visible_points_only_and_in_x_y():
    d = point_mask([[7, 1, 1], [0, 0, 0]], (6, 10), 0.05)
    assert d.nonzero().tolist() == [[1, 7]]
    assert not point_mask([[7, 1, 0]], (6, 10)).any()
    with pytest.raises(ValueError, match="x, y"):
        point_mask([1, 2, 3], (6, 10))


def test_bad_masks_are_errors():
    with pytest.raises(ValueError, match="empty"):
        pointing(torch.ones(2, 2), ~torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="bool"):
        mass_accuracy(torch.ones(2, 2), torch.ones(4, 4))
