"""Maps against masks with answers known beforehand."""

import numpy as np
import pytest
import torch

from intr_nb.evaluation.localisation import (
    _peak_pixel,
    _point_mask,
    mass_accuracy,
    part_masks,
    points_at,
    rank_accuracy,
    share_inside,
)

QUARTER = torch.zeros(40, 40, dtype=torch.bool)
QUARTER[:20, :20] = True


def pointing(map, mask, tolerance=0.0):
    "The pointing game, by the edges of pixels"
    return points_at(map, mask, tolerance, to="edge")


def test_peak_is_the_middle_of_its_square():
    m = torch.zeros(24, 24)
    m[3, 10] = 1
    assert _peak_pixel(m, 96) == (13.5, 41.5)


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
    d = _point_mask([[7, 1, 1], [0, 0, 0]], (6, 10), 0.05)
    assert d.nonzero().tolist() == [[1, 7]]
    assert not _point_mask([[7, 1, 0]], (6, 10)).any()
    with pytest.raises(ValueError, match="x, y"):
        _point_mask([1, 2, 3], (6, 10))


def test_bad_masks_are_errors():
    with pytest.raises(ValueError, match="empty"):
        pointing(torch.ones(2, 2), ~torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="bool"):
        mass_accuracy(torch.ones(2, 2), torch.ones(4, 4))


def test_masks_of_named_parts():
    d = part_masks([[30, 20, 1], [5, 5, 0]], ["a", "b"], (64, 96), 1 / 12)
    ys, xs = np.nonzero(d["a"])
    assert (ys.mean(), xs.mean()) == (20, 30) and (xs.max() - xs.min()) == 16 and not d["b"].any()


def test_a_peak_on_an_oblong_picture_is_scaled_in_both_directions():
    mask = np.zeros((20, 40), bool)
    mask[10, 39] = True
    m = torch.zeros(2, 4)
    m[0, 3] = 1  # centre (4.5, 34.5)
    assert _peak_pixel(m, (20, 40)) == (4.5, 34.5)
    assert points_at(m, mask, 0.2) and not points_at(m, mask, 0.1)
    with pytest.raises(ValueError, match="'centre' or 'edge'"):
        points_at(m, mask, to="corner")
