"""Curves whose areas are known, for every stand-in, and the errors that a wrong map or option gets."""

import pytest
import torch

from intr_nb.evaluation.perturbation import (
    BLANKS,
    _fill_in,
    evaluator_logits,
    first_pixels,
    hide_pixels,
    insertion_deletion,
    pixel_order,
)

REGION = torch.zeros(16, 16, dtype=torch.bool)
REGION[4:8, 4:12] = True  # an eighth
ONES = torch.ones(3, 16, 16)


def evaluator(images):
    return torch.stack([images[:, 0, REGION].mean(1), torch.zeros(len(images))], 1)


def areas(map, **kw):
    c = insertion_deletion(evaluator, ONES, map, 0, blank="zero", **{"steps": 32, "unit": "logit"} | kw)
    return c.area("insertion").item(), c.area("deletion").item()


def test_perfect_and_worst_maps_have_their_known_areas():
    assert areas(REGION.float()) == pytest.approx((15 / 16, 1 / 16))
    assert areas(-REGION.float()) == pytest.approx((1 / 16, 15 / 16))


def test_both_ends_are_included_and_scores_are_exact_there():
    c = insertion_deletion(evaluator, ONES, REGION.float(), 0, steps=3, blank="zero", unit="logit")
    assert c.fraction.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert c.insertion[[0, -1]].tolist() == [0, 1] and c.deletion[[0, -1]].tolist() == [1, 0]
    p = insertion_deletion(evaluator, ONES, REGION.float(), 0, blank="zero")
    assert p.deletion[0].item() == pytest.approx(torch.tensor([1.0, 0.0]).softmax(0)[0].item())
    assert (
        insertion_deletion(evaluator, ONES, REGION.float(), 1, blank="zero", unit="margin").deletion[0].item()
        == -1
    )


def test_a_constant_map_gives_a_random_order_that_the_seed_decides():
    a, b = areas(torch.ones(4, 4)), areas(torch.ones(4, 4), seed=1)
    assert abs(a[1] - 0.5) < 0.15 and a == areas(torch.ones(4, 4)) and a != b
    assert sorted(pixel_order(torch.ones(4, 4), (16, 16)).tolist()) == list(range(256))


def test_the_batch_size_changes_nothing():
    assert areas(REGION.float(), batch=1) == areas(REGION.float(), batch=1000)


def test_shown_pixels_are_never_changed_and_hidden_ones_never_leak():
    g = torch.Generator().manual_seed(0)
    image, seen = torch.randn(3, 20, 30, generator=g), torch.rand(2, 1, 20, 30, generator=g) < 0.5
    for blank in BLANKS:
        out = hide_pixels(image, seen, blank)
        assert out.shape == (2, 3, 20, 30) and torch.equal(
            out[seen.expand_as(out)], image.expand_as(out)[seen.expand_as(out)]
        )
    for blank in ("zero", "inpaint"):  # the others average over all pixels
        other = torch.where(seen[:1, 0], image, torch.full_like(image, 99.0))
        assert torch.allclose(hide_pixels(image, seen[:1], blank), hide_pixels(other, seen[:1], blank))


def test_fill_in_is_exact_on_a_constant_and_zero_on_nothing():
    seen = torch.zeros(1, 1, 17, 9, dtype=torch.bool)
    assert not _fill_in(torch.ones(1, 3, 17, 9), seen).any()
    seen[..., 3, 4] = True
    assert torch.allclose(_fill_in(torch.full((1, 3, 17, 9), 2.0), seen), torch.tensor(2.0))


def test_errors_name_what_was_expected():
    with pytest.raises(ValueError, match="height, width"):
        pixel_order(torch.ones(2, 4, 4), (8, 8))
    with pytest.raises(ValueError, match="NaN"):
        pixel_order(torch.full((4, 4), torch.nan), (8, 8))
    with pytest.raises(ValueError, match="'inpaint'"):
        hide_pixels(ONES, REGION[None, None], "black")
    with pytest.raises(ValueError, match="1 to 4"):
        first_pixels(torch.arange(4), (2, 2), 5)
    with pytest.raises(ValueError, match="2 classes"):
        insertion_deletion(evaluator, ONES, REGION.float(), 2)
    with pytest.raises(ValueError, match="probability, logit, margin"):
        insertion_deletion(evaluator, ONES, REGION.float(), 0, unit="loss")


def test_a_judge_may_return_an_output_or_logits():
    class Out:
        def __init__(self, x):
            self.logits = evaluator(x)

    assert torch.equal(evaluator_logits(Out, ONES[None]), evaluator_logits(evaluator, ONES[None]))
