"""MethodBrowser: its curves are those of insertion_deletion.

And: nothing is asked twice; bad input; names that would like to be HTML; methods that fail.
"""

import numpy as np
import pytest
import torch

from intr_nb.browsers.method_browser import MethodBrowser
from intr_nb.browsers.method_figures import _coarse, _look_of
from intr_nb.browsers.method_state import _COMPARED
from intr_nb.browsers.scene import _data_uri
from intr_nb.core.display import to_pixels
from intr_nb.core.images import Batch
from intr_nb.data.birds import Aviary
from intr_nb.evaluation.perturbation import BLANKS, UNITS, hide_pixels, insertion_deletion
from intr_nb.explanations.class_activation import grad_cam
from intr_nb.explanations.masking import rise
from intr_nb.explanations.methods import BASELINES, attention_map, evidence_map, rise_map
from intr_nb.models.intr import INTR
from intr_nb.models.one_block import OneBlockINTR

SIZES = dict(backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=4)
NASTY = '<img src=x onerror=alert(1)>'


def models():
    torch.manual_seed(0)
    made = dict(
        one=OneBlockINTR(16, **SIZES),
        other=OneBlockINTR(16, **SIZES),
        full=INTR(16, **SIZES, encoder_layers=1, decoder_layers=2, ffn_dim=32),
    )
    for m in made.values():
        m.eval()
        with torch.no_grad():
            for p in m.parameters():
                p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.1))
    return made


MODELS = models()
IMAGES = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(3, 64, 96, dtype=torch.bool)
MASK[1, 48:] = True
NAMES = [NASTY] + [f"bird {k}" for k in range(1, 16)]
METHODS = _COMPARED | {"RISE": rise_map(40)}


def browser(name="one", methods=METHODS, **state):
    return MethodBrowser(
        MODELS[name], Batch(IMAGES, MASK, torch.tensor([5, 1, 2])), methods, NAMES, steps=6, **state
    )


def tell(b, **message):
    b.canvas()._handle_custom_msg(message, [])


@pytest.fixture
def asked():
    "How many images each model was asked about"
    count = dict.fromkeys(MODELS, 0)

    def counting(name):
        return lambda m, given, out: count.update({name: count[name] + len(given[0])})

    hooks = [m.register_forward_hook(counting(n)) for n, m in MODELS.items()]
    yield count
    for h in hooks:
        h.remove()


@pytest.mark.parametrize("name", ["one", "full"])
def test_maps_are_those_of_the_methods(name):
    b = browser(name, classes=["bird 3", 7])
    b.compute()
    for c in (3, 7):
        torch.testing.assert_close(b.map_of("evidence", c), evidence_map(MODELS[name], IMAGES[0], c))
        torch.testing.assert_close(b.map_of("attention", c), attention_map(MODELS[name], IMAGES[0], c))
        torch.testing.assert_close(
            b.map_of("Grad-CAM", c), grad_cam(MODELS[name], IMAGES[0], classes=[c]).evidence[0, 0]
        )
        torch.testing.assert_close(
            b.map_of("RISE", c), rise(MODELS[name], IMAGES[0], masks=40, classes=[c]).evidence[0, 0]
        )
        torch.testing.assert_close(b.map_of("random", c), BASELINES["random"](None, IMAGES[0], c))


@pytest.mark.parametrize("evaluator", [None, "other"])
@pytest.mark.parametrize("blank", BLANKS)
def test_areas_are_those_of_insertion_deletion(evaluator, blank):
    b = browser(
        methods={k: METHODS[k] for k in ("evidence", "RISE", "edges")},
        classes=[0, 4],
        blank=blank,
        evaluator=evaluator and MODELS[evaluator],
    )
    b.compute()
    for b.unit in UNITS:
        for name in b.columns():
            for c in b.rows():
                expected, known = (
                    insertion_deletion(
                        MODELS[evaluator or "one"], IMAGES[0], b.map_of(name, c), c, 6, blank, b.unit
                    ),
                    b.curve(name, c),
                )
                for which in "insertion", "deletion":
                    torch.testing.assert_close(known.area(which), expected.area(which), atol=1e-5, rtol=1e-5)
    assert b.counts["scored"] == 6


def test_the_evaluator_is_asked_not_the_model(asked):
    b = browser(methods={"centre": METHODS["centre"]}, evaluator=MODELS["other"], classes=[1])
    b.logits(0, 0)
    asked.update(one=0, other=0)
    b.compute()
    assert asked["one"] == 0 and asked["other"] == 2 * 7
    assert "another network" in b.main().svg() and "the model itself" in browser().main().svg()


def test_nothing_is_asked_twice(asked):
    b = browser()
    b.view()
    assert b.map_of("RISE", 0) is None and b.counts["scored"] == 0, "slow methods and curves wait"
    b._button.click()
    assert not b.error and b._button.disabled
    assert (
        b.counts["RISE"] == 1
        and b.counts["scored"] == 3 * len(METHODS)
        and all(b.counts[k] == 3 for k in METHODS if k != "RISE")
    )
    asked.update(one=0)
    for b.unit in UNITS:
        pass
    for b.own_scale in (True, False):
        pass
    b.opacity, b.method, b.focus, b.seen, b.shown = (
        0.5,
        "RISE",
        b.rows()[1],
        ("insertion", 2),
        ["RISE", "edges"],
    )
    b.shown = None
    b.compute()
    assert asked["one"] == 0 and not b.error
    b.index = 2
    assert 0 < asked["one"] and b.waiting()[1]
    asked.update(one=0)
    b.index = 0
    assert asked["one"] == 0 and b.waiting() == ([], [])
    b.blank = "zero"
    b.compute()
    assert asked["one"] == 3 * len(METHODS) * 14 and b.counts["RISE"] == 1, (
        "another filling needs the evaluator, and only the evaluator"
    )


def test_rows_by_themselves():
    b = browser()
    ranked = b.logits(0, 0).argsort(descending=True).tolist()
    others = [c for c in ranked if c != 5]
    assert ranked[0] != 5 and b.rows() == [ranked[0], 5, others[1]] and b.focused() == ranked[0]
    b.focus = 5
    b.classes = [NASTY, "bird 2"]
    assert b.rows() == [0, 2] and b.focused() == 0
    b.add(12)
    assert b.rows() == [0, 2, 12] and b.focused() == 12
    assert MethodBrowser(MODELS["one"], IMAGES, METHODS).names is None


def test_padding_is_cut_off():
    b = browser(index=1, methods={"evidence": evidence_map, "edges": METHODS["edges"]}, classes=[3])
    assert b.sized(0, 1)[0].shape == (3, 48, 96) and b.map_of("edges", 3).shape == (48, 96)
    torch.testing.assert_close(b.map_of("evidence", 3), evidence_map(MODELS["one"], IMAGES[1, :, :48], 3))
    b.compute()
    assert b.main().panels and not b.error


def test_what_the_evaluator_saw():
    b = browser(methods={"edges": METHODS["edges"]}, classes=[3], blank="zero")
    for which, step in ("insertion", 2), ("deletion", 2), ("insertion", 0), ("deletion", 6):
        b.map_of("edges", 3)
        shown = b.first("edges", 3)[step if which == "insertion" else 7 + step]
        assert shown.sum() == 64 * 96 * (step if which == "insertion" else 6 - step) // 6
        assert b.seen_by_evaluator(0, "edges", 3, 0, "zero", which, step) == _data_uri(
            to_pixels(hide_pixels(IMAGES[0], shown[None], "zero")[0])
        )
    b.view()
    tell(b, type="click", name="deletion", row=0, column=3)
    assert b.seen == ("deletion", 3) and "deletion by edges: 50%" in " ".join(b.main().svg().split())
    tell(b, type="click", name="deletion", row=0, column=3)
    assert b.seen is None and not b.error


def test_a_method_that_fails():
    calls = []

    def broken(model, image, c):
        calls.append(c)
        if len(calls) < 3:
            raise RuntimeError(f"{NASTY} is missing")
        return torch.ones(2, 2)

    b = browser(
        methods={
            "broken": broken,
            "stack": lambda m, x, c: torch.ones(2, 3, 3),
            "nan": lambda m, x, c: torch.full((2, 2), torch.nan),
            "centre": METHODS["centre"],
        },
        classes=[1, 2],
    )
    b.view()
    b._button.click()
    assert not b.error and b.waiting() == ([], []) and calls == [1, 2] and b.counts["scored"] == 2
    svg = " ".join(b.canvas().svg.split())
    assert (
        "RuntimeError: &lt;img" in svg
        and "shape (2, 3, 3)" in svg
        and "NaN" in svg
        and "error" in svg
        and "<img" not in svg
    )
    assert isinstance(b.curve("broken", 1), RuntimeError) and b.curve("centre", 1).insertion.shape == (7,)
    tell(b, type="click", name="again 0 1", row=0, column=0)
    assert (
        calls == [1, 2, 1]
        and b.map_of("broken", 1).sum() == 4
        and isinstance(b.map_of("broken", 2), RuntimeError)
    )
    b.to_figure()


def test_an_evaluator_that_fails():
    def evaluator(images):
        if len(images) > 1:
            raise MemoryError("no room")
        return torch.zeros(len(images), 16)

    b = browser(methods={"centre": METHODS["centre"]}, evaluator=evaluator, classes=[1])
    b.compute()
    assert isinstance(b.curve("centre", 1), MemoryError) and torch.is_tensor(b.map_of("centre", 1))
    assert "centre: MemoryError: no room" in b.main().svg()


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(index=3), "3 images"),
        (dict(index=-1), "3 images"),
        (dict(classes=[16]), "classes"),
        (dict(classes=["bird 99"]), "bird 99"),
        (dict(classes=[]), "classes"),
        (dict(focus=15, classes=[1]), "one of the rows"),
        (dict(shown=["LIME"]), "LIME"),
        (dict(shown=[]), "one or several"),
        (dict(shown=["RISE", "RISE"]), "twice"),
        (dict(method="LIME"), "LIME"),
        (dict(method=["RISE", "edges"]), "expected one of"),
        (dict(seen=3), "seen"),
        (dict(seen=("insertion", 7)), "0 to 6"),
        (dict(seen=("up", 1)), "seen"),
        (dict(blank="pink"), "pink"),
        (dict(unit="odds"), "odds"),
        (dict(opacity=2), "opacity"),
        (dict(colour=1), "colour"),
        (dict(methods={}), "methods"),
        (dict(methods={"a": 3}), "methods"),
        (dict(methods=[evidence_map]), "methods"),
        (dict(slow=["LIME"]), "LIME"),
        (dict(slow="LIME"), "'LIME'"),
        (dict(evaluator=lambda x: torch.zeros(len(x), 4)), "evaluator has 4"),
    ],
)
def test_wrong_states_are_told(wrong, words):
    with pytest.raises(Exception, match=words):
        browser(**wrong)


def test_wrong_names_are_told():
    with pytest.raises(ValueError, match="class_names has 2 names"):
        MethodBrowser(MODELS["one"], IMAGES, class_names=["a", "b"])


def test_clicks_keys_and_controls():
    b = browser(classes=[1, 2, 3])
    b.view()
    shown = b.canvas().svg
    tell(b, type="click", name="map 0 2", row=1, column=1)
    assert (b.focus, b.method) == (2, "evidence") and b.canvas().svg != shown
    tell(b, type="key", name="ArrowDown")
    tell(b, type="key", name="ArrowDown")
    assert b.focus == 1
    tell(b, type="key", name="ArrowLeft")
    assert b.index == 0
    tell(b, type="key", name="ArrowRight")
    assert b.index == 1 and b.rows() == [1, 2, 3]
    tell(b, type="click", name="drop 1")
    assert b.rows() == [2, 3] and b.focused() == 2
    tell(b, type="click", name="method 0")
    assert b.method is None
    b._boxes["edges"].value = False
    assert "edges" not in b.columns() and "edges" not in b.canvas().svg
    b.shown = ["edges"]
    b._boxes["edges"].value = False
    assert "the last method" in b.error and b._boxes["edges"].value and b.shown == ("edges",)
    tell(b, type="click", name="again 4 2", row=0, column=0)  # one map, not one column in view
    assert not b.error and torch.is_tensor(b.map_of("RISE", 2)) and b.counts["scored"] == 0


def test_an_answer_with_one_class_is_asked_again():
    b = browser(methods={"RISE": lambda m, x, c: rise(m, x, masks=8, classes=[c])}, classes=[1, 2])
    b.compute()
    assert b.counts["RISE"] == 2


@pytest.mark.parametrize("many", [1, 4, 7])
def test_names_stay_text(tmp_path, many):
    b = browser(
        classes=[0, 1],
        methods={NASTY: evidence_map} | {k: METHODS[k] for k in list(METHODS)[1:many]},
        seen=("insertion", 1),
    )
    b.view()
    b.compute()
    assert "<img" not in b.main().svg() and "&lt;img" in b.main().svg() and "<img" not in b._label.value
    for ending in "png", "svg", "html":
        assert b.save(tmp_path / f"view.{ending}").stat().st_size > 1000
    assert NASTY not in (tmp_path / "view.html").read_text().replace("\\u003c", "<").replace("\\u003e", ">")


def test_the_standalone_figure_holds_what_was_computed():
    b = browser(classes=[1, 2], method="RISE", focus=2)
    assert "not computed" in str(b.to_figure().data[-1].name)
    b.compute()
    figure, n = b.to_figure(), len(METHODS)
    classes, methods = figure.layout.updatemenus
    assert (
        len(figure.data) == 3 * n
        and len(classes.buttons) == 2
        and classes.active == 1
        and methods.buttons[methods.active].label == "method: RISE"
    )
    for k, c in enumerate((1, 2)):
        change = classes.buttons[k].args[0]
        for j, name in enumerate(METHODS):
            np.testing.assert_allclose(
                np.array(change["z"][j]),
                _coarse(b.map_of(name, c)).numpy(),
                atol=2e-3 * b.map_of(name, 1).abs().max().item()
                + 2e-3 * b.map_of(name, 2).abs().max().item(),
            )
            np.testing.assert_allclose(change["y"][n + j], b.curve(name, c).insertion, atol=1e-4)
            np.testing.assert_allclose(change["y"][2 * n + j], b.curve(name, c).deletion, atol=1e-4)
    assert [t.opacity for t in figure.data[n:]] == [1.0 if name == "RISE" else 0.25 for name in METHODS] * 2


def test_the_scale_of_a_column():
    maps = {1: torch.tensor([[1.0, 0], [0, 0]]), 2: torch.tensor([[4.0, 0], [0, -1]])}
    b = browser(methods={"own": lambda m, x, c: maps[c]}, classes=[1, 2])
    assert _look_of(b, "own") == ({1: 4, 2: 4}, True)
    b.own_scale = True
    assert _look_of(b, "own") == ({1: 1, 2: 4}, True)


def test_progress_is_told():
    said, b = [], browser(classes=[0, 1])
    b.view()
    b._label.observe(lambda change: said.append(change["new"]), "value")
    b.compute()  # from another cell: the view must follow
    n = 2 + 2 * len(METHODS)  # RISE's maps of two classes, then everybody's curves
    assert (
        said[0].startswith(f"1 of {n}: map of RISE, &lt;img")
        and f"1 of {n}: map of RISE, &lt;img src=x onerror=alert(1)&gt;, batch 3" in said
    ), said[:5]
    assert (
        any(s.startswith(f"{n} of {n}: curves of edges, bird 1") for s in said)
        and said[-1] == ""
        and b._button.disabled
        and "not computed" not in b.canvas().svg
    )


def test_steps_are_checked():
    for steps in (0, -1, 2.5, "many"):
        with pytest.raises(ValueError, match="steps="):
            MethodBrowser(MODELS["one"], IMAGES, METHODS, steps=steps)


def test_any_network_and_many_classes():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 525),
    ).eval()
    b = MethodBrowser(net, IMAGES, {"RISE": rise_map(8), **BASELINES}, steps=4)
    b.view()
    b._button.click()
    assert not b.error and b.waiting() == ([], []) and len(b.rows()) == 3 and len(b.main().svg()) < 300_000
    b.add(524)
    assert b.rows()[-1] == 524 and b.waiting()[0] == [], "RISE held all classes"


def test_an_interruption_keeps_what_was_found():
    calls = []

    def stop(model, image, c):
        calls.append(c)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return torch.ones(2, 2)

    b = browser(methods={"stop": stop}, slow=["stop"], classes=[1, 2])
    with pytest.raises(KeyboardInterrupt):
        b.compute()
    assert torch.is_tensor(b.map_of("stop", 1)) and b._label.value == "" and b.waiting()[0] == [("stop", 2)]
    b.compute()
    assert b.waiting() == ([], []) and not MODELS["one"]._forward_pre_hooks


def test_an_image_that_cannot_be_read():
    b = MethodBrowser(MODELS["one"], [IMAGES[0], "lost.jpg", IMAGES[2]], METHODS, NAMES)
    b.view()
    tell(b, type="key", name="ArrowRight")
    assert "lost.jpg" in b.error and "nothing to show" in b.canvas().svg
    tell(b, type="key", name="ArrowRight")
    assert not b.error and b.index == 2 and "nothing to show" not in b.canvas().svg


def test_drawn_birds_as_they_are():
    from intr_nb.models.checkpoints import pretrained

    b = MethodBrowser(pretrained("aviary16"), Aviary(8, seed=2))
    assert b.names[0] == Aviary(8, seed=2).class_names[0] and b.class_name(b.rows()[0]) in b.main().alt
