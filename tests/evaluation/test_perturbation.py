"""Curves whose areas are known, for every stand-in, and the errors that a wrong map or option gets."""

import copy

import pytest
import torch

from intr_nb.evaluation import perturbation
from intr_nb.evaluation.localisation import pixel_order
from intr_nb.evaluation.perturbation import (
    BLANKS,
    _fill_in,
    _method_map,
    evaluator_logits,
    first_pixels,
    hide_pixels,
    insertion_deletion,
)
from intr_nb.evaluation.sanity import stability

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
    with pytest.raises(ValueError, match="'probability', 'logit' or 'margin'"):
        insertion_deletion(evaluator, ONES, REGION.float(), 0, unit="loss")


def test_a_judge_may_return_an_output_or_logits():
    class Out:
        def __init__(self, x):
            self.logits = evaluator(x)

    assert torch.equal(evaluator_logits(Out, ONES[None]), evaluator_logits(evaluator, ONES[None]))


# modes and memory


def trembling():
    "A network with batch norm and dropout, as it stands in the middle of training"
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
    )
    model = torch.nn.Sequential(body, torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 4))
    body[1].eval()  # one part frozen by hand
    return model


def snapshot(model):
    return [m.training for m in model.modules()], [v.clone() for v in model.state_dict().values()]


def same(a, b):
    return a[0] == b[0] and all(map(torch.equal, a[1], b[1]))


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, image: insertion_deletion(model, image, REGION.float(), 0).insertion.tolist(),
        lambda model, image: evaluator_logits(model, image[None]).tolist(),
        lambda model, image: stability(model, gradient, image, 0),
        lambda model, image: _method_map(gradient, model, image, 0).tolist(),
    ],
    ids=["insertion_deletion", "evaluator_logits", "stability", "method_map"],
)
def test_a_model_in_training_is_measured_in_evaluation_and_left_as_it_was(ask):
    model, image = trembling(), torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
    for frozen in (True, False):
        model[0][1].train(not frozen)
        before = snapshot(model)
        found = [ask(model, image) for _ in range(2)]
        assert same(snapshot(model), before)
        assert found == [ask(copy.deepcopy(model).eval(), image)] * 2


def gradient(model, image, c):
    "A method that needs gradients, and a model that stands still"
    assert not any(m.training for m in model.modules())
    x = image[None].clone().requires_grad_()
    model(x)[0, c].backward()
    return x.grad[0].abs().sum(0)


def test_copies_are_made_batch_by_batch():
    sizes = []

    def small(images):
        sizes.append(len(images))
        return evaluator(images)

    for blank in BLANKS:
        whole = insertion_deletion(evaluator, ONES, REGION.float(), 0, blank=blank, batch=1000)
        parts = insertion_deletion(small, ONES, REGION.float(), 0, blank=blank, batch=7)
        assert torch.equal(whole.insertion, parts.insertion) and torch.equal(whole.deletion, parts.deletion)
    assert max(sizes) == 7 and sum(sizes) == 4 * 50


def test_no_more_than_a_batch_of_copies_is_ever_there(monkeypatch):
    made, hide = [], perturbation._hide
    monkeypatch.setattr(perturbation, "_hide", lambda *a: made.append(len(a[1])) or hide(*a))
    insertion_deletion(evaluator, ONES, REGION.float(), 0, batch=16)
    assert made == [16, 16, 16, 2]
