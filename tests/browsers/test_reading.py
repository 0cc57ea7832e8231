"""What all reading browsers do alike: code that makes them again, names that stay apart, fields that answer."""

import ast
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intr_nb.browsers.candidate_browser import CandidateBrowser
from intr_nb.browsers.controls import _as_written
from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.browsers.head_figures import _share_words
from intr_nb.browsers.method_browser import MethodBrowser
from intr_nb.data.birds import Aviary
from intr_nb.explanations.decomposition import Share
from intr_nb.explanations.methods import METHODS
from intr_nb.explanations.panels import _short_names
from intr_nb.models.checkpoints import pretrained

FEW = {name: METHODS[name] for name in ("evidence", "edges")}
ALL = [HeadBrowser, EvidenceBrowser, CandidateBrowser, MethodBrowser]


@pytest.fixture(scope="module")
def model():
    return pretrained("aviary16")


@pytest.fixture(scope="module")
def images():
    return Aviary(20, seed=2)


# -- copy as code --

STATES = [
    (HeadBrowser, dict(what="attention", head=3, order="peak", opacity=0.5, compare="image", second=4)),
    (HeadBrowser, dict(what="margin", target=2, runner_up=5, own_scale=True, grid=True)),
    (EvidenceBrowser, dict(step=0)),
    (EvidenceBrowser, dict(target=4, position=(3, 7), order="row by row", step=40, reference="raw")),
    (CandidateBrowser, dict(candidates=(1, 2, 9, 11), form="zero", target=9, runner_up=1, what="evidence")),
    (MethodBrowser, dict(classes=(3, 1), shown=("edges", "evidence"), focus=1, method="edges", unit="logit")),
    (MethodBrowser, dict(seen=("deletion", 5), blank="zero", own_scale=True, opacity=0.3)),
]


@pytest.mark.parametrize("made, state", STATES, ids=lambda x: getattr(x, "__name__", ""))
def test_the_code_makes_the_same_view_again(made, state, model, images):
    more = dict(methods=FEW) if made is MethodBrowser else {}
    browser = made(model, images, index=7, **more)
    browser.view()
    browser.index = 3
    for name, value in state.items():
        setattr(browser, name, value)
    assert not browser.error
    here = dict(model=model, images=images, methods=FEW)
    cell = ast.parse(browser.code())
    cell.body[-1] = ast.Assign([ast.Name("again", ast.Store())], cell.body[-1].value)
    exec(compile(ast.fix_missing_locations(cell), "pasted", "exec"), here)
    assert here["again"].state() == browser.state()
    assert here["again"].main_scene().parts == browser.main_scene().parts


def test_the_code_of_a_whole_sum_and_of_the_first_view_is_short(model, images):
    assert EvidenceBrowser(model, images).code().endswith("\nEvidenceBrowser(model, images)")
    assert "step" not in EvidenceBrowser(model, images, index=2).code()


def test_the_code_says_what_it_has_no_name_for(model, images):
    code = MethodBrowser(model, images, dict(edges=METHODS["edges"])).code()
    assert (
        "# model, images, methods: no variable holds it" in code
        and "MethodBrowser(model, images, methods)" in code
    )


def test_the_code_repeats_what_the_cell_wrote():
    known = dict(pretrained=1, birds=2)
    cell = 'b = browsers.HeadBrowser(pretrained("aviary16"), birds, labels=birds[:3])'
    assert _as_written("HeadBrowser", cell, known) == {0: "pretrained('aviary16')", "labels": "birds[:3]"}
    assert _as_written("HeadBrowser", cell, dict(birds=2)) == {"labels": "birds[:3]"}, (
        "load is not known here"
    )
    assert _as_written("HeadBrowser", f"{cell}\n{cell}", known) == {}, "which of the two?"
    assert _as_written("HeadBrowser", "HeadBrowser(*both)", known) == {}
    assert _as_written("HeadBrowser", "no (python", known) == {}


# -- names among their likes --

WORD = st.sampled_from("black white red crowned banded backed finch throated-and-very-long-word".split())
NAME = st.lists(WORD, min_size=1, max_size=9).map(" ".join) | st.text(max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(NAME, max_size=30), st.integers(8, 50))
def test_different_names_stay_different(names, width):
    short = _short_names(tuple(names), width)
    assert len(short) == len(names) and all(len(s) <= width for s in short)
    assert len(set(short)) == len(set(names))
    assert [a == b for a in short for b in short] == [a == b for a in names for b in names]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORD, min_size=3, max_size=8), st.data())
def test_no_cut_goes_through_the_word_that_tells_twins_apart(words, data):
    k = data.draw(st.integers(0, len(words) - 1))
    twins = [" ".join([*words[:k], other, *words[k + 1 :]]) for other in ("streaked", "spotted")]
    for short, other in zip(_short_names(tuple(twins), 20), ("streaked", "spotted")):
        assert other in short, short


def test_a_name_that_fits_is_as_it_is():
    names = ("Grey heron", "Black-crowned white-banded finch", "Black-crowned white-backed finch")
    assert _short_names(names, 40) == names
    assert _short_names(names, 22) == ("Grey heron", "Black-…banded finch", "Black-…backed finch")
    middle = [f"{'x' * 40}{k}{'x' * 40}" for k in (1, 2)]
    assert _short_names((*middle, *middle), 12) == ("xxxxxxxx…[0]", "xxxxxxxx…[1]") * 2


TWINS = [
    f"Long-tailed {colour}-throated and very generously streaked hill {kind} of the north"
    for colour in ("orange", "yellow", "red", "blue")
    for kind in ("sunbird", "barbet", "shrike", "finch")
]


@pytest.mark.parametrize("made", ALL)
def test_twins_can_be_told_apart_on_the_screen(made, model, images):
    more = dict(methods=FEW) if made is MethodBrowser else {}
    browser = made(model, images, class_names=TWINS, **more)
    view = browser.view()
    for width in 12, 20, 34:
        assert len({browser.short_class(c, width) for c in range(16)}) == 16
    for control, *_ in browser._bound:
        texts = [option[0] for option in getattr(control, "options", ()) if isinstance(option, tuple)]
        assert len(set(texts)) == len(texts)
    svg = browser.main_scene().svg()
    shown = [t for t in re.findall(r">(Long[^<>]*…[^<>]*)<", svg)]
    assert all(any(c in t for c in ("orange", "yellow", "red", "blue")) for t in shown), shown
    assert view is browser.view() and not browser.error


# -- fields that answer --


def field(browser, name):
    "Box, list and note of a search field"
    found, todo = None, [browser.view()]
    while todo:
        widget = todo.pop()
        if f"intr-nb-{name}" in getattr(widget, "_dom_classes", ()):
            found = widget
        todo += getattr(widget, "children", ())
    return found


MORE = {CandidateBrowser: dict(candidates=(0, 1)), MethodBrowser: dict(methods=FEW)}
FIELDS = [
    (HeadBrowser, "search-target", lambda b: b.target),
    (EvidenceBrowser, "search-target", lambda b: b.target),
    (CandidateBrowser, "find", lambda b: max(set(b.candidates) - {0, 1})),
    (MethodBrowser, "add", lambda b: b.focus),
]


@pytest.mark.parametrize("made, name, result", FIELDS)
def test_a_search_lists_its_hits_and_says_where_there_are_none(made, name, result, model, images):
    browser = made(model, images, **MORE.get(made, {}))
    box, listed, note = field(browser, name).children
    before = browser.state()
    box.value = "sunbird"
    assert browser.state() == before and listed.layout.display is None, "nothing is chosen in silence"
    assert [c for _, c in listed.options[1:]] == browser.find("sunbird") and len(listed.options) == 5
    assert listed.options[0][0] == "4 found: choose one" and box.value == ""
    listed.value = 14
    assert result(browser) == 14 and listed.layout.display == "none"
    box.value = "penguin"
    assert (
        "no class has &#x27;penguin&#x27; in its name; there are 16 classes, numbered from 0 to 15"
        in note.value
    )
    assert result(browser) == 14 and box.value == "" and "intr-nb-refused" in note._dom_classes
    box.value = browser.class_name(12).upper()
    assert result(browser) in (12, 14) and not note.value and not browser.error
    if made is not CandidateBrowser:
        assert result(browser) == 12


@pytest.mark.parametrize("made", ALL)
def test_an_image_number_out_of_range_is_refused_in_words(made, model, images):
    browser = made(model, images, index=4, **MORE.get(made, {}))
    browser.view()
    number = next(c for c, trait, *_ in browser._bound if trait == "index")
    note = field(browser, "refused")
    assert number.description == "image, 0 to 19"
    for wrong in 99, -1:
        number.value = wrong
        assert browser.index == number.value == 4 and "intr-nb-wrong" in number._dom_classes
        assert note.value == f"index={wrong}: there are 20 images, numbered from 0 to 19"
    number.value = 5
    assert browser.index == 5 and note.value == ""


# -- rows and columns, numbers below the maps --


def test_rows_and_columns_count_from_0_as_in_code(model, images):
    browser = EvidenceBrowser(model, images, position=(0, 5))
    assert "This position: row 0 of 0 to 23, column 5 of 0 to 23" in browser.main_scene().svg()
    assert "row 0 of 0 to 23, column 5 of 0 to 23" in browser.main_scene().alt
    first = browser.to_figure().data[0]
    assert first.text[0][5].startswith("row 0, column 5: ")
    heads = HeadBrowser(model, images).to_figure([0], 1)
    assert heads.data[0].x[0] == heads.data[0].y[0] == 0 and heads.layout.xaxis2.range[0] == -0.5


def test_each_view_of_heads_has_its_own_numbers(model, images):
    browser = HeadBrowser(model, images, index=4, what="attention")
    e, c = browser.explanation(), browser.pair(0, 4)[0]
    weights = e.attention[:, e.at(c)].flatten(1)
    svg = browser.main_scene().svg()
    assert all(f">{w:.3f}<" in svg for w in weights.amax(1)) and "carry" not in svg and "residual" not in svg
    browser.head = 3
    spread = -(weights[3] * weights[3].clamp_min(1e-30).log()).sum()
    svg = " ".join(re.findall(r">([^<>]+)</text", browser.main_scene().svg()))
    assert f"entropy {spread:.2f} nats" in svg and f"even look at {spread.exp():.0f} positions" in svg
    browser.what = "value_scores"
    svg = " ".join(re.findall(r">([^<>]+)<", browser.main_scene().svg()))
    s = browser.maps(e, c, 0)[3]
    assert f"s from {s.min():+.2f} to {s.max():+.2f}" in svg and "carry" not in svg


def test_a_share_above_all_is_put_into_words():
    said = _share_words(Share(1.89, 0.7), "logit")
    assert said == "maps carry 189% of the logit, more than all: the residual takes some of it back"
    assert _share_words(Share(-0.2, 0.7), "margin").startswith("maps go against the margin (-20% of it)")
    assert _share_words(Share(0.91, 0.9), "logit") == "maps carry 91% of the sum, 90% of the absolute size"


def test_all_measure_s_from_the_mean(model, images):
    assert EvidenceBrowser(model, images).reference == HeadBrowser(model, images).reference == "mean"


def test_a_saved_picture_has_a_margin(model, images, tmp_path):
    from PIL import Image

    picture = np.asarray(Image.open(HeadBrowser(model, images).save(tmp_path / "heads.png")).convert("L"))
    edges = picture[:20], picture[-20:], picture[:, :20], picture[:, -20:]
    assert all(edge.min() == 255 for edge in edges) and picture.min() < 80
