"""What the base of all browsers does where something goes wrong; the notebooks 00 to 06 show the rest."""

import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from intr_nb.browsers.browser import Browser, T, W
from intr_nb.browsers.cache import _cached
from intr_nb.browsers.canvas import Canvas
from intr_nb.browsers.scene import Scene, _data_uri, _element, _tint
from intr_nb.browsers.standalone import _page, _plain

ROOT = Path(__file__).resolve().parents[2]
NASTY = '<img src=x onerror="alert(1)">&"\''


class Counter(Browser):
    number = T.Int(0, min=0, max=9).tag(view=True)
    kind = T.Any(None, allow_none=True).tag(view=True)
    unseen = T.Int(0)
    drawn = 0

    @_cached("number", size=2)
    def square(self, extra=0):
        return self.number**2 + extra

    def draw(self):
        self.drawn += 1
        if self.number == 7:
            raise RuntimeError(f"seven {NASTY}")
        scene = Scene(100, 40, f"number {self.number}")
        scene.text(5, 20, f"{self.number} {self.kind}")
        scene.panel(0, 0, 100, 40, "panel", dict(value=np.arange(6.0).reshape(2, 3), missing=None))
        return scene

    def scenes(self):
        return dict(main=self.draw)

    def key(self, name):
        self.number += 1

    def click(self, name, row=None, column=None):
        self.number = 10 * row + column

    def build(self):
        self.slider = self.bind(W.IntSlider(max=20), "number")
        self.menu = self.bind(
            W.Dropdown(),
            "kind",
            lambda: [("none", None), ("a", "a"), (f"n{self.number}", "n")],
            lambda: self.number < 5,
        )
        return [self.slider, self.menu, self.canvas()]


@pytest.fixture
def counter():
    counter = Counter()
    counter.view()
    return counter


def send(counter, **message):
    counter.canvas()._handle_custom_msg(message, [])


def told(counter):
    return next(c for c in counter.view().children if "intr-nb-error" in c._dom_classes).value


def test_drawn_once_for_each_state(counter):
    assert counter.drawn == 1
    counter.unseen = 3
    counter.number = 0
    counter.refresh()
    assert counter.drawn == 1
    with counter.hold_trait_notifications():
        counter.number, counter.kind = 2, "a"
    assert counter.drawn == 2 and "2 a" in counter.canvas().svg


def test_kept_forgets_the_oldest_and_knows_arguments(counter):
    assert [counter.square(), counter.square(1), counter.square()] == [0, 1, 0] and counter.counts[
        "square"
    ] == 2
    counter.number = 3
    assert counter.square() == 9 and counter.counts["square"] == 3
    counter.number = 0
    assert counter.square() == 0 and counter.counts["square"] == 3
    assert counter.square(1) == 1 and counter.counts["square"] == 4, "only the last two answers are kept"


def test_controls_and_traits_follow_each_other(counter):
    counter.slider.value = 4
    assert counter.number == 4 and "4 None" in counter.canvas().svg and ("n4", "n") in counter.menu.options
    counter.menu.value = "a"
    assert counter.kind == "a"
    counter.menu.value = ""
    assert counter.kind is None, "a menu's '' is None"
    assert counter.menu.layout.display != "none"
    counter.number = 6
    assert counter.slider.value == 6 and counter.menu.layout.display == "none"


def test_a_refused_value_is_told_and_the_control_goes_back(counter):
    counter.slider.value = 12
    assert (
        counter.number == 0
        and counter.slider.value == 0
        and "TraitError" in told(counter)
        and isinstance(counter.exception, T.TraitError)
    )
    counter.slider.value = 3
    assert counter.number == 3 and counter.error == "" and told(counter) == ""


def test_an_error_while_drawing_shows_no_old_picture_and_is_escaped(counter):
    counter.number = 6
    send(counter, type="key", name="ArrowRight")
    assert (
        counter.number == 7
        and counter.error.startswith("RuntimeError: seven")
        and "nothing to show" in counter.canvas().svg
    )
    assert (
        "<img" not in told(counter)
        and "&lt;img" in told(counter)
        and 'role="alert"' in told(counter)
        and "in draw" in told(counter)
    )
    send(counter, type="key", name="ArrowRight")
    assert counter.number == 8 and not counter.error and "8 None" in counter.canvas().svg


def test_an_error_in_a_click_is_told(counter):
    send(counter, type="click", name="panel", row=3, column=1)
    assert "TraitError" in told(counter) and counter.number == 0
    send(counter, type="nonsense")
    assert "AttributeError" in told(counter)
    send(counter, type="click", name="panel", row=0, column=2)
    assert counter.number == 2 and not counter.error


def test_traits_set_by_hand_raise_as_always(counter):
    with pytest.raises(T.TraitError):
        counter.number = 10


def test_text_is_escaped_everywhere():
    scene = Scene(100, 100, NASTY)
    scene.text(0, 0, NASTY)
    scene.add("rect", data_click=NASTY, fill=NASTY)
    scene.panel(0, 0, 9, 9, NASTY, {NASTY: np.zeros((2, 2))}, NASTY)
    for text in scene.svg(), scene.file():
        assert "<img" not in text and 'onerror="' not in text
    assert scene.panels[0]["title"] == NASTY  # the page shows it as text
    assert _element("b", title=NASTY).count('"') == 2
    assert "<" not in _plain(NASTY) and "<title>&lt;img" in _page(
        __import__("plotly.graph_objects").graph_objects.Figure(), NASTY
    )


def test_the_canvas_reads_its_files_and_sets_text_as_text():
    canvas = Canvas()
    assert "export default { render }" in canvas._esm and ".intr-nb-tip" in canvas._css
    assert canvas._esm.count("innerHTML") == 1, "the SVG alone, whose texts are escaped"
    assert "tip.textContent" in canvas._esm


def test_panels_tell_their_numbers(counter):
    (panel,) = counter.canvas().panels
    assert (panel["rows"], panel["columns"], [v["name"] for v in panel["values"]]) == (2, 3, ["value"])
    assert np.frombuffer(panel["values"][0]["data"], "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_tint_is_clear_at_nothing_and_full_at_the_limit():
    signed, other = (
        _tint(np.array([[-2.0, -1.0, 0.0, 1.0]]), 1.0, True),
        _tint(np.array([[0.0, 1.0, 9.0]]), 1.0, False, 0.5),
    )
    assert (signed[0, 0] == signed[0, 1]).all() and signed[0, 2, 3] < 12 and signed[0, 3, 3] == 255
    assert signed[0, 3, 0] > signed[0, 3, 2] and signed[0, 0, 0] < signed[0, 0, 2], "orange for, blue against"
    assert other[0, :, 3].tolist() == [0, 128, 128]
    assert _tint(np.zeros((2, 2)), 0.0, True)[..., 3].max() < 12, (
        "a map of nothing has no scale and no colour"
    )


def test_maps_are_png_and_photographs_jpeg():
    assert _data_uri(np.zeros((4, 4, 4), np.uint8)).startswith("data:image/png") and _data_uri(
        np.zeros((4, 4, 3), np.uint8)
    ).startswith("data:image/jpeg")


@pytest.mark.parametrize("ending, start", [(".png", b"\x89PNG"), (".svg", b"<svg"), (".PNG", b"\x89PNG")])
def test_save(counter, tmp_path, ending, start):
    path = counter.save(tmp_path / "new" / f"view{ending}")
    assert path.read_bytes().startswith(start) and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_png_has_its_text(counter):
    drawn = np.asarray(Image.open(io.BytesIO(counter.main().png())).convert("L"))
    assert drawn.min() < 80 and drawn.max() == 255, "dark text on white"


def test_save_refuses_and_keeps_what_was_there(counter, tmp_path):
    for name in "view.gif", "view":
        with pytest.raises(ValueError, match=r"Expected one of \.png, \.svg, \.html"):
            counter.save(tmp_path / name)
    path = counter.save(tmp_path / "view.png")
    before = path.read_bytes()
    counter.number = 7
    with pytest.raises(RuntimeError, match="seven"):
        counter.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(NotImplementedError, match="to_figure"):
        counter.save(tmp_path / "view.html")


def test_displayed_with_a_still_picture(counter, monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda x, **more: shown.append(x))
    counter._ipython_display_()
    live, still = shown
    assert "application/vnd.jupyter.widget-view+json" in live
    assert f"intr-nb-snapshot-{counter.id}" in still.data and 'alt="number 0"' in still.data
    assert f".intr-nb-snapshot-{counter.id} {{ display: none; }}" in counter.view().children[-1].value
    counter.number = 7
    counter._ipython_display_()  # what can't be drawn is told by the widget, not raised
    assert counter.error


def test_a_browser_without_scenes_says_so():
    with pytest.raises(NotImplementedError, match=r"Browser draws nothing: give it a method scenes\(\)"):
        Browser().save("x.png")


def test_live_widgets_are_taken_out_of_notebooks(tmp_path):
    import stills

    output = nbformat.v4.new_output
    outputs = [
        output("display_data", {stills.VIEW: {}, "text/plain": "x"}),
        output("display_data", {"text/html": "still"}),
    ]
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell("b", outputs=outputs)],
            metadata=dict(widgets={stills.KIND + "state+json": {}}),
        ),
        tmp_path / "a.ipynb",
    )
    stills.main([tmp_path / "a.ipynb"])
    assert [list(o.data) for o in nbformat.read(tmp_path / "a.ipynb", 4).cells[0].outputs] == [["text/html"]]
    assert stills.KIND not in (tmp_path / "a.ipynb").read_text() and len(list(tmp_path.iterdir())) == 1


def test_no_notebook_keeps_a_live_widget():
    import stills

    kept = [
        path.name
        for path in (ROOT / "nbs").rglob("[!.]*.ipynb")
        if stills.KIND in path.read_text(encoding="utf-8")
    ]
    assert not kept, f"{kept}: run python tools/stills.py"
