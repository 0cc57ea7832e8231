"""Nothing asks the network unless it was told to, nothing from data leaves its folder, and text stays text."""

import html
import importlib
import os
import random
import re
import socket
import sys
from html.parser import HTMLParser

import pytest

from intr_nb.browsers.attribute_study import AttributeStudy
from intr_nb.browsers.bird_editor import BirdEditor
from intr_nb.browsers.candidate_browser import CandidateBrowser
from intr_nb.browsers.edit_browser import EditBrowser
from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.browsers.method_browser import MethodBrowser
from intr_nb.browsers.paint_editor import PaintEditor
from intr_nb.core.report import Report
from intr_nb.data.birds import Aviary, draw_birds
from intr_nb.data.species import Species, make_species
from intr_nb.evaluation.user_study import bird_examples
from intr_nb.explanations.explainer import explain
from intr_nb.models.checkpoints import pretrained
from intr_nb.models.prediction import predict
from intr_nb.training.accuracy import evaluate
from intr_nb.training.loop import fit
from intr_nb.training.recipe import Recipe

BIRDS, PARTS = (
    Aviary(8, seed=2),
    ["<", ">", '"', "'", "&", "&lt;", "</script>", "<!--", "]]>", "onload=", "=", " "],
)
PAGE = set("html head meta title body main h1 div script".split())  # of a standalone figure
CODE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}",
    "${x}",
    "\\u003cb",
]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **more):
        pytest.fail(f"asked the network: {args}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def fuzzed(seed):
    "Sixteen names that a page must show and never do"
    chance = random.Random(seed)
    names = [
        "".join(chance.choices(PARTS + CODE + list("aé中🐦\\"), k=chance.randint(2, 6))) for _ in range(16)
    ]
    return [f"{name}{i}" for i, name in enumerate(names)]


def model_of(names):
    model = pretrained("aviary16")
    model.class_names = list(names)
    return model


def species_of(names):
    return [Species(name, s.attributes) for name, s in zip(names, make_species(16))]


def study(names, path):
    birds = Aviary(32, species=species_of(names), seed=2)
    return AttributeStudy(model_of(names), bird_examples(birds, 2, 1), names[0], path / "a.jsonl")


MAKERS = {
    "heads": lambda names, _: HeadBrowser(model_of(names), Aviary(1, seed=2)),
    "evidence": lambda names, _: EvidenceBrowser(model_of(names), BIRDS),
    "candidates": lambda names, _: CandidateBrowser(model_of(names), BIRDS),
    "methods": lambda names, _: MethodBrowser(
        model_of(names), BIRDS, methods={n: _evidence for n in names[:2]}
    ),
    "edits": lambda names, _: BirdEditor(model_of(names), Aviary(2, species=species_of(names), seed=2)),
    "paint": lambda names, _: PaintEditor(model_of(names), BIRDS),
    "study": study,
}


def _evidence(model, image, c):
    return explain(model, image).evidence[:, c].sum(0)


def test_every_browser_is_here():
    "Seven: what an EditBrowser shows is what its two editors do"
    assert len(MAKERS) == 7 and issubclass(BirdEditor, EditBrowser) and issubclass(PaintEditor, EditBrowser)


class Tags(HTMLParser):
    "What a page is made of, and what it would load or run"

    def __init__(self, page):
        super().__init__()
        self.kinds, self.count, self.attributes, self.loads = set(), 0, set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.kinds.add(tag)
        self.count += tag in ("script", "img", "image", "iframe", "a")
        self.attributes |= {k for k, _ in attrs}
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data") and v]


def check(page, plain):
    "A page with fuzzed names is built as the same page with plain names, and loads nothing"
    a, b = Tags(page), Tags(plain)
    assert a.kinds == b.kinds and a.count == b.count and a.attributes == b.attributes
    assert all(v.startswith(("data:image/png;base64,", "#", "data:image/jpeg")) for v in a.loads)


def texts(value):
    "Every text in a figure"
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in texts(v)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("kind", MAKERS)
def test_class_names_are_text_in_every_browser(kind, no_network, tmp_path):
    names = fuzzed(sum(map(ord, kind)))
    shown, plain = (MAKERS[kind](n, tmp_path) for n in (names, [f"class {i}" for i in range(16)]))
    check(*(b.save(tmp_path / f"{i}.svg").read_text() for i, b in enumerate((shown, plain))))
    figure = shown.to_figure()
    shown.to_figure = lambda: figure  # made once
    page = shown.save(tmp_path / "a.html").read_text()
    outside = Tags(re.sub(r"(<script[^>]*>).*?</script>", r"\1</script>", page, flags=re.S))
    assert outside.kinds == PAGE and not outside.loads
    assert not [t for t in texts(figure.to_plotly_json()) if re.search(r"<(?!/?(br|b|i|span|extra)\b)", t)]


@pytest.mark.parametrize("seed", range(3))
def test_reports_cards_and_tables_show_names_as_text(seed):
    names, plain = fuzzed(seed), [f"class {i}" for i in range(16)]
    pages = []
    for some in (names, plain):
        model = model_of(some)
        page = Report(some[0])
        page.add(some[1], some[2], explain(model, BIRDS[0][0]), predict(model, [BIRDS[0][0]]), alt=some[3])
        pages.append(str(page))
    check(*pages)
    assert html.escape(names[2]) in pages[0]


# -- the network --


def test_learning_and_explaining_touch_no_network(no_network, tmp_path):
    model = pretrained("aviary16-full")
    explain(model, BIRDS[0][0], [0, 1])
    birds = draw_birds(Aviary(16), progress=False)
    fit(pretrained(), (birds, birds), Recipe(epochs=1), tmp_path, "cpu", progress=False)
    assert evaluate(pretrained(), birds)["accuracy"] > 0.5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="imports all modules anew, in a copy of this process")
def test_importing_touches_no_network(no_network):
    ours = [name for name in sys.modules if name.partition(".")[0] == "intr_nb"]
    child = os.fork()
    if not child:
        failed = 1
        try:
            for name in ours:
                del sys.modules[name]
            for name in ours:
                importlib.import_module(name)
            failed = 0
        finally:
            os._exit(failed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and len(ours) > 60


# -- paths --


def test_a_browsers_file_stays_where_it_is_told(tmp_path, monkeypatch):
    "A student's name is no path, and neither is a class's"
    monkeypatch.chdir(tmp_path)
    s = AttributeStudy(pretrained(), bird_examples(Aviary(32, seed=2), 2, 1), "../../Ada")
    s.answer(None)
    outside = [p for p in tmp_path.parent.glob("*Ada*")] + [p for p in tmp_path.parent.parent.glob("*Ada*")]
    assert not outside and len(list(tmp_path.rglob("*Ada*"))) == 1
