"""CandidateBrowser: the answers are the model's own.

And: bad input; names that would like to be HTML; nothing is asked twice; many classes.
"""

import pytest
import torch

from intr_nb.browsers.candidate_browser import CandidateBrowser
from intr_nb.core.images import Batch
from intr_nb.data.birds import Aviary
from intr_nb.experiments.ablation import intervene
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

SIZES = dict(backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=4)
FULL = dict(encoder_layers=1, decoder_layers=2, ffn_dim=32)
NASTY = '<img src=x onerror=alert(1)>'


def models():
    torch.manual_seed(0)
    made = dict(
        one=OneBlockINTR(16, **SIZES),
        fc=OneBlockINTR(16, **SIZES, fc=True),
        full=INTR(16, **SIZES, **FULL),
        pre=INTR(16, **SIZES, **FULL, pre_norm=True),
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


def browser(name="full", **state):
    return CandidateBrowser(MODELS[name], Batch(IMAGES, MASK, torch.tensor([0, 1, 2])), NAMES, **state)


def tell(b, **message):
    b.canvas()._handle_custom_msg(message, [])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["absent", "zero"])
def test_the_answers_are_the_models(name, form):
    b, picked = browser(name, form=form, candidates=["bird 9", 4, 1], layer=None), [1, 4, 9]
    for b.index in (0, 1):
        x, mask = IMAGES[b.index][None], MASK[b.index][None]
        with torch.no_grad():
            if form == "absent":
                logits = MODELS[name](x, mask, candidates=picked).logits[0]
            else:
                with intervene(MODELS[name], queries=[c for c in range(16) if c not in picked]):
                    logits = MODELS[name](x, mask).logits[0, picked]
        said = b.answers(b.index, b.candidates, form)
        assert list(said) == picked
        torch.testing.assert_close(
            torch.tensor(list(said.values()), dtype=torch.float64), logits, atol=1e-9, rtol=0
        )
        c, r = b.pair()
        e = b.both()[1]
        assert c == picked[int(logits.argmax())] and e.candidates == picked and e.adds_up
        assert e.margin(c, r).value == pytest.approx(said[c] - said[r], abs=1e-9)


def test_ticks_keys_and_buttons():
    b = browser()
    b.view()
    before = b.answers(0, None, "absent")
    ranked = sorted(before, key=before.get, reverse=True)
    tell(b, type="click", name=f"tick {ranked[5]}")
    assert set(b.candidates) == set(range(16)) - {ranked[5]}
    svg = b.canvas().svg
    tell(b, type="key", name="ArrowUp")
    assert b.candidates is None and b.canvas().svg != svg
    tell(b, type="key", name="ArrowDown")
    assert set(range(16)) - set(b.candidates) == {ranked[-1]}
    b.keep(2)
    assert set(b.candidates) == set(ranked[:2]) and b.pair() == tuple(
        sorted(b.candidates, key=b.answers(0, b.candidates, "absent").get, reverse=True)
    )
    tell(b, type="key", name="ArrowRight")
    assert b.index == 1 and b.candidates is not None and not b.error


def test_one_candidate_alone_is_refused_in_the_widget():
    b = browser(candidates=[3, 4])
    b.view()
    for message in dict(type="click", name="tick 3"), dict(type="key", name="ArrowDown"):
        tell(b, **message)
        assert "at least two classes" in b.error and b.candidates == (3, 4)
    tell(b, type="click", name="tick 5")
    assert not b.error and b.candidates == (3, 4, 5)


def test_a_target_that_leaves():
    b = browser(target=3, runner_up="bird 4")
    assert b.pair() == (3, 4)
    b.candidates = [4, 5, 6]
    assert 3 not in b.pair() and b.pair()[1] in (4, 5, 6)
    b.view()
    assert not b.error


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(candidates=[3]), "at least two"),
        (dict(candidates=[3, 3]), "twice"),
        (dict(candidates=["bird 99", 1]), "bird 99"),
        (dict(index=3), "3 images"),
        (dict(layer=2), "2 layers"),
        (dict(form="gone"), "gone"),
        (dict(target=16), "target"),
        (dict(colour=1), "colour"),
    ],
)
def test_wrong_states_are_told(wrong, words):
    with pytest.raises(Exception, match=words):
        browser(**wrong)


def test_other_models_are_refused():
    class Looks(torch.nn.Module):
        "Attention, and nothing more"

        num_classes = 16

        def __init__(self):
            super().__init__()
            self.inner = MODELS["one"]

        def forward(self, images, mask=None, attention=None, candidates=None):
            return self.inner(images, mask, attention, candidates)

    with pytest.raises(
        TypeError, match="model is a Looks: expected an INTR, a OneBlockINTR or another ImageSearch"
    ):
        CandidateBrowser(Looks(), IMAGES)


def test_nothing_is_asked_twice():
    model, count = MODELS["full"], dict(backbone=0, decoder=0)

    def counting(name):
        return lambda *a: count.update({name: count[name] + 1})

    hooks = [getattr(model, n).register_forward_hook(counting(n)) for n in count]
    b = browser()
    b.view()
    count.update(backbone=0, decoder=0)
    b.what, b.layer = "attention", 0
    assert count == dict(backbone=0, decoder=0)
    b.candidates = [1, 2, 3]
    assert count["backbone"] == 0 < count["decoder"] <= 4
    again = count["decoder"]
    b.candidates = None
    b.candidates = [1, 2, 3]
    for h in hooks:
        h.remove()
    assert count["decoder"] == again


def test_names_stay_text(tmp_path):
    b = browser(target=0, runner_up=1)
    b.view()
    assert "<img" not in b.main().svg() and "&lt;img" in b.main().svg()
    for ending in "png", "svg", "html":
        assert b.save(tmp_path / f"view.{ending}").stat().st_size > 1000
    assert NASTY not in (tmp_path / "view.html").read_text().replace("\\u003c", "<").replace("\\u003e", ">")


def test_the_standalone_figure_holds_the_answers():
    b = browser(candidates=[2, 5, 7], index=1)
    figure, c = b.to_figure(), b.pair()[0]
    slider = figure.layout.sliders[0]
    assert [s.label for s in slider.steps][:1] == ["16"] and slider.steps[
        slider.active
    ].label == "3, as ticked"
    names = [k for k in b.rows(16)[:16][::-1]]
    shown = figure.data[2].x[names.index(c)]
    assert shown == pytest.approx(b.answers(1, (2, 5, 7), "absent")[c], abs=1e-3) and b.what == "margin"
    assert figure.data[3].x[names.index(c)] == pytest.approx(b.answers(1, (2, 5, 7), "zero")[c], abs=1e-3)


def test_many_classes():
    torch.manual_seed(0)
    b = CandidateBrowser(INTR(525, **SIZES, **FULL).eval(), IMAGES.float())
    b.view()
    assert len(b.rows()) == 20 and "505 weaker classes not listed" in b.main().svg()
    weakest = min(b.answers(0, None, "absent"), key=b.answers(0, None, "absent").get)
    b.keep(30)
    b.finder().children[0].value = f"class {weakest}"
    assert weakest in b.candidates and len(b.candidates) == 31 and not b.error
    assert len(b.main().svg()) < 400_000


def test_the_field_only_adds_and_nobody_is_the_runner_up_of_itself():
    b = CandidateBrowser(pretrained("aviary16-full"), Aviary(16, seed=2), index=8, candidates=[0, 8])
    b.join(5)
    assert b.candidates == (0, 5, 8)
    for c in 0, 8:
        with pytest.raises(ValueError, match="is a candidate already"):
            b.join(c)
    assert b.candidates == (0, 5, 8)
    b.target, b.runner_up = 8, 8
    b.view()
    assert (
        not b.error
        and b.pair()[1] != 8
        and "the class itself" in str(b.choices("the strongest", 8, b.pair()[0]))
    )
    b.runner_up = None
    assert 8 not in [c for _, c in b.choices("the strongest", None, b.pair()[0])]
