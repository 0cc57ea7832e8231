"""EvidenceBrowser: the sum ends at the logit for every kind of model.

And: bad input; names that would like to be HTML; nothing is asked twice.
"""

import re

import pytest
import torch

from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.browsers.evidence_figures import _words
from intr_nb.browsers.evidence_state import _ORDERS, _sequence
from intr_nb.core.images import Batch
from intr_nb.data.birds import Aviary
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

SIZES = dict(backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=4)
NASTY = '<img src=x onerror=alert(1)>'


def models():
    torch.manual_seed(0)
    full = dict(encoder_layers=1, decoder_layers=2, ffn_dim=32)
    made = dict(
        one=OneBlockINTR(16, **SIZES),
        fc=OneBlockINTR(16, **SIZES, fc=True),
        full=INTR(16, **SIZES, **full),
        pre=INTR(16, **SIZES, **full, pre_norm=True),
    )
    for m in made.values():
        m.double().eval()
        with torch.no_grad():
            for p in m.parameters():
                p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.1))
    return made


MODELS = models()
IMAGES = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double()
MASK = torch.zeros(3, 64, 96, dtype=torch.bool)
MASK[1, 48:] = True
NAMES = [NASTY] + [f"bird {k}" for k in range(1, 16)]


def explorer(name="one", **state):
    return EvidenceBrowser(MODELS[name], Batch(IMAGES, MASK, torch.tensor([0, 1, 2])), NAMES, **state)


def tell(b, **message):
    b.canvas()._handle_custom_msg(message, [])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("reference", ["raw", "mean"])
def test_the_sum_ends_at_the_logit(name, reference):
    b = explorer(name, reference=reference)
    for b.index in (0, 1):
        with torch.no_grad():
            logits = MODELS[name](IMAGES[b.index][None], MASK[b.index][None]).logits[0]
        for b.target in (None, 3, NASTY):
            for b.order in _ORDERS:
                torch.testing.assert_close(b.running()[-1], logits[b.chosen()], atol=1e-9, rtol=0)
                assert (
                    b.step
                    == len(b.terms()[0])
                    == (
                        4 * (2 if name in ("full", "pre") else 1)
                        if b.order == "head by head"
                        else 8 * 12 - (24 if b.index == 1 else 0)
                    )
                )


def test_orders_are_what_they_say():
    e = torch.randn(4, 5, 6)
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[:, 5] = True
    total = e.sum(0).double()
    for order in _ORDERS[:3]:
        at, gives = _sequence(e, order, mask)
        assert sorted(at.tolist()) == (~mask.flatten()).nonzero()[:, 0].tolist()
        torch.testing.assert_close(gives, total.flatten()[at])
    assert (_sequence(e, _ORDERS[0])[1].abs().diff() <= 0).all() and (
        _sequence(e, _ORDERS[1])[1].diff() <= 0
    ).all()
    assert _sequence(e, _ORDERS[2], mask)[0].diff().min() > 0


def test_what_is_added_is_what_is_shown():
    b = explorer(index=1)
    for b.order in _ORDERS:
        n = len(b.terms()[0])
        for b.step in (0, 2, n):
            now, waiting = b.added()
            torch.testing.assert_close(now.sum() + b.running()[0], b.running()[b.step])
            assert not waiting[6:].any()  # padding does not wait


@pytest.mark.parametrize("name", ["one", "fc", "full"])
def test_factors_are_those_of_the_position(name):
    b = explorer(name, position=(2, 3), target=5)
    s, alpha, evidence = b.factors()
    k = b.shown().index(5)
    if s is not None:
        torch.testing.assert_close(s * alpha[:, k], evidence[:, k])
    assert (s is None) == (name == "full")
    assert ("No s here" in " ".join(_words(b))) == (name == "full")


def test_nothing_is_asked_twice():
    model, count = MODELS["one"], []
    hook = model.backbone.register_forward_hook(lambda *a: count.append(1))
    b = explorer()
    b.view()
    count.clear()
    for b.order in _ORDERS:
        pass
    for b.step in (3, 1, 2):
        pass
    b.position, b.target = (1, 1), 4
    tell(b, type="key", name="ArrowDown")
    assert b.position == (2, 1) and not count
    b.index = 2
    hook.remove()
    assert len(count) == 1 and b.position is None


def test_wrong_states_are_told():
    b = explorer(index=1)
    for wrong in (
        dict(step=73),
        dict(step=-2),
        dict(position=(8, 0)),
        dict(position=(7, 0)),
        dict(position="top"),
        dict(index=3),
        dict(target="bird 99"),
        dict(order="up"),
    ):
        with pytest.raises(Exception, match=next(iter(wrong))):
            setattr(b, *next(iter(wrong.items())))
    with pytest.raises(TypeError, match="colour"):
        explorer(colour=1)
    b.view()
    tell(b, type="click", name="position", row=7, column=0)
    assert "padding" in b.error and b.position is None
    tell(b, type="click", name="position", row=1, column=0)
    assert not b.error and b.position == (1, 0)
    tell(b, type="click", name="class", row=2, column=0)
    assert b.target == b.shown()[2]


def test_a_model_without_evidence():
    class Looks(torch.nn.Module):
        "Attention, and nothing more"

        num_classes = 16

        def __init__(self):
            super().__init__()
            self.inner = MODELS["one"]

        def forward(self, images, mask=None, attention=None, candidates=None):
            return self.inner(images, mask, attention, candidates)

    with pytest.raises(TypeError, match="nothing to add up"):
        EvidenceBrowser(Looks(), IMAGES)


def test_names_stay_text(tmp_path):
    b = explorer(target=0, step=5)
    b.view()
    assert "<img" not in b.main().svg() and "&lt;img" in b.main().svg()
    for ending in "png", "svg", "html":
        assert b.save(tmp_path / f"view.{ending}").stat().st_size > 1000
    assert NASTY not in (tmp_path / "view.html").read_text().replace("\\u003c", "<").replace("\\u003e", ">")


@pytest.mark.parametrize("order", _ORDERS)
def test_the_standalone_figure_holds_the_same_sums(order):
    b = explorer(index=1, order=order, step=2)
    figure = b.to_figure()
    steps = figure.layout.sliders[0].steps
    assert steps[-1].label.endswith(f"{b.running()[-1]:+.3f}") and steps[
        figure.layout.sliders[0].active
    ].label.startswith("2:")
    assert figure.data[3].x[0] == 2 and b.target is None and b.step == 2
    assert len(figure.layout.updatemenus[0].buttons) == 6


def test_many_classes():
    torch.manual_seed(0)
    b = EvidenceBrowser(OneBlockINTR(525, **SIZES), IMAGES.float(), target=524)
    assert len(b.shown()) in (16, 17) and 524 in b.shown()
    b.view()
    assert len(b.main().svg()) < 300_000


def test_the_player_takes_steps_that_fit():
    b = EvidenceBrowser(pretrained("aviary16"), Aviary(16, seed=2), index=8)
    b.view()
    player = next(c for c, t, *_ in b._bound if t == "step" and hasattr(c, "interval"))
    assert (player.step, player.max) == (9, 576)
    b.order = "head by head"
    assert (player.step, player.max) == (1, 8)
    b.reference = "median"
    assert re.search(r"logit [+-][\d.]+ = [+-]\d+\.\d{3} residual \+ Σ", _words(b)[0]), _words(b)[0]
