"""The browsers, worked by mouse and keys in a real JupyterLab. Slow (two minutes): `pytest
tests/browsers/test_in_jupyter.py`.

INTR_NB_SCREENSHOTS=folder keeps the screenshots; tests/lab.py says how to write another test.
"""

import os
import re

import pytest

SETUP = """
from intr_nb.data.birds import Aviary
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.models.checkpoints import pretrained
model, birds = pretrained("aviary16"), Aviary(64, seed=2)
"""
NASTY = "<img src=x onerror=alert(1)>"


def test_head_browser_is_worked(lab):
    page = lab.open_widget(SETUP + "HeadBrowser(model, birds)")
    shown, strip = page.picture(), page.picture("thumbnails")
    assert "predicted: Black-crowned white-banded" in page.text() and "head 7" in page.text()
    assert page.chosen("target").startswith("prediction: Black-crowned white-banded finch")
    page.shot("head_browser_light")

    # keys: images and heads
    page.press("ArrowRight")
    shown, strip = page.wait_changed(shown), page.wait_changed(strip, "thumbnails")
    assert "image 1" in page.text()
    page.press("ArrowDown")
    shown = page.wait_changed(shown)
    assert page.chosen("head") == "head 0" and "head 0 alone" in page.text()
    page.shot("head_browser_large")
    page.click_panel(0)
    shown = page.wait_changed(shown)
    assert "alone" not in page.text()

    # mouse: a thumbnail, the numbers under it
    page.click_panel(4, canvas="thumbnails")
    shown = page.wait_changed(shown)
    assert "image 4" in page.text()
    tip = page.hover(3, 0.52, 0.3)
    assert (
        tip.startswith(
            "head 3, White-eyed streaked-breasted barbet\nrow 7 of 0 to 23, column 12 of 0 to 23\nα "
        )
        and "\ns " in tip
        and "\nevidence, logit units " in tip
    )
    assert page.canvas().locator(".intr-nb-position").count() == 8, "the same place is marked on all heads"
    assert tip != page.hover(3, 0.8, 0.8)
    page.shot("head_browser_hover")

    # controls
    for what in "attention", "value_scores", "margin":
        page.choose("what", what)
        shown = page.wait_changed(shown)
    assert "margin of White-eyed streaked-breasted barbet over" in page.text()
    page.type_in(css=".intr-nb-search-runner_up", text="sunbird")
    hits = page.tab.locator(".intr-nb-search-runner_up select").last
    said = re.compile(r"4\sfound: choose one".replace(" ", r"\s"))
    hits.locator("option").filter(has_text=said).first.wait_for(state="attached")
    assert page.picture() == shown
    page.shot("head_browser_hits")
    hits.select_option(index=2)
    shown = page.wait_changed(shown)
    assert not hits.is_visible()
    page.type_in(css=".intr-nb-search-target", text="Red-crowned white")
    shown = page.wait_changed(shown)
    assert "margin of Red-crowned white-banded finch over" in page.text()
    page.choose("order", "evidence")
    shown = page.wait_changed(shown)
    page.tick("grid")
    shown = page.wait_changed(shown)
    page.tick("own_scale")
    shown = page.wait_changed(shown)
    assert "each map on its own scale" in page.text()
    page.drag_slider("opacity", -60)
    page.wait_changed(shown)
    shown = page.settle()
    page.choose("compare", "an image")
    shown = page.wait_changed(shown)
    page.type_in("second", 16)
    page.wait_changed(shown)
    assert "image 16" in page.text() and page.canvas().locator("[data-panel]").count() == 16
    assert page.error() == ""
    page.finish("head_browser_two_sides")


def test_dark_theme_names_from_data_and_errors(lab):
    code = (
        SETUP
        + f"names = [{NASTY!r}] + [f'finch {{k}}' for k in range(15)]\n"
        + """
b = HeadBrowser(model, [birds.bird(0).image, "lost.jpg", birds.bird(1).image], class_names=names, labels=[0, 0, 1])
b
"""
    )
    page = lab.open_widget(code, theme="dark")
    alerts = []
    page.tab.on("dialog", lambda d: (alerts.append(d.message), d.dismiss()))
    assert (
        NASTY in page.text()
        and page.canvas().locator("img").count() == 0
        and "unreadable" in page.text("thumbnails")
    )
    assert NASTY in page.hover(0) and NASTY in page.chosen("target")
    colour = page.canvas().evaluate("e => getComputedStyle(e).color")
    assert min(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3])) > 180, (
        f"text on a dark ground is {colour}"
    )
    page.shot("head_browser_dark")
    before = page.picture()
    page.press("ArrowRight")
    page.wait_changed(before)
    assert "FileNotFoundError: no picture 'lost.jpg'" in page.error() and "nothing to show" in page.text()
    page.shot("head_browser_error")
    before = page.picture()
    page.press("ArrowRight")
    page.wait_changed(before)
    assert page.error() == "" and "image 2" in page.text() and not alerts
    page.finish("head_browser_after_the_error")


def test_what_stays_when_the_kernel_is_gone(lab):
    page = lab.open_widget(SETUP + "HeadBrowser(model, birds, index=5)")
    still = page.tab.locator(".intr-nb-snapshot")
    assert still.count() == 1 and not still.is_visible(), "the still picture hides while the widget lives"
    page.save_notebook()
    path = lab.folder / "notebooks" / f"widget{lab.number}.ipynb"
    page.restart_kernel()
    assert page.canvas().is_visible()
    page.finish("still_after_restart")
    lab.shut_down_kernels()
    page = lab.open_notebook(path)
    page.tab.locator(".intr-nb-snapshot img").wait_for(state="visible")
    assert "Predicted" in page.tab.locator(".intr-nb-snapshot img").get_attribute("alt")
    assert not page.tab.get_by_text("model not found").is_visible()
    page.shot("still_after_reopening")
    page.tab.context.close()  # JupyterLab itself logs that the model is gone


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    from intr_nb.browsers.head_browser import HeadBrowser
    from intr_nb.data.birds import Aviary
    from intr_nb.models.checkpoints import pretrained

    names = [NASTY, "<b>bold</b>"] + [f"finch {k}" for k in range(14)]
    return HeadBrowser(pretrained("aviary16"), Aviary(4, seed=2), class_names=names).save(
        tmp_path_factory.mktemp("twin") / "twin.html"
    )


def test_twin_without_kernel_and_network(lab, twin):
    page = lab.open_file(twin)
    asked, alerts = [], []
    page.tab.on("request", lambda r: asked.append(r.url))
    page.tab.on("dialog", lambda d: (alerts.append(d.message), d.dismiss()))
    page.tab.locator(".hm").first.wait_for(state="attached")
    state = """() => {
      const all = document.querySelector('.js-plotly-plot')._fullData;
      const shown = all.filter(t => t.visible === true && t.opacity > 0);
      return shown.map(t => [t.index, t.z[9][9], t.z.flat().reduce((a, b) => a + b)]);
    }"""
    shown = page.tab.evaluate(state)
    assert len(shown) == 8, "eight heads of one image"
    assert NASTY in page.tab.locator(".gtitle").text_content() and page.tab.locator("img").count() == 0
    labels = """() => {
      const menu = document.querySelector('.js-plotly-plot')._fullLayout.updatemenus[1];
      return menu.buttons.map(b => new DOMParser().parseFromString(b.label, 'text/html').body.textContent);
    }"""
    assert "class: <b>bold</b>" in str(page.tab.evaluate(labels))
    for number, name in (0, "image 1"), (1, "class: finch 0"), (2, "attention"), (2, "value_scores"):
        page.tab.locator(".updatemenu-header").nth(number).click()
        page.tab.locator(".updatemenu-dropdown-button", has_text=name).click()
        page.tab.wait_for_timeout(700)
        new = page.tab.evaluate(state)
        assert len(new) == 8 and new != shown, f"{name}: nothing changed"
        shown = new
    assert "image 1: predicted" in page.tab.locator(".gtitle").text_content()
    box = page.tab.locator(".bglayer rect, .draglayer .nsewdrag").nth(3).bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5, steps=3)
    page.tab.locator(".hovertext").first.wait_for()
    tip = page.tab.locator(".hovertext").first.text_content()
    assert all(word in tip for word in ("row", "column", "attention", "evidence", "value_scores")), tip
    assert not asked and not alerts
    page.finish("head_browser_twin")


EVIDENCE = """
from intr_nb.data.birds import Aviary
from intr_nb.browsers.evidence_browser import EvidenceBrowser
from intr_nb.models.checkpoints import pretrained
b = EvidenceBrowser(pretrained("aviary16"), Aviary(64, seed=2), index=8)
b
"""


def test_evidence_explorer(lab):
    page = lab.open_widget(EVIDENCE)
    shown = page.picture()
    page.shot("evidence_explorer_0")
    assert "All 576 positions are added" in page.text()
    page.drag_slider("step", -150)
    page.wait_changed(shown)
    shown = page.settle()
    assert "Still missing to the logit" in page.text() and "576 positions are added: +" in page.text()
    page.click_panel(0, 0.52, 0.4)
    shown = page.wait_changed(shown)
    assert "row 9 of 0 to 23, column 12 of 0 to 23" in page.text()
    page.press("ArrowRight")
    shown = page.wait_changed(shown)
    assert "row 9 of 0 to 23, column 13 of 0 to 23" in page.text()
    assert "evidence" in page.hover(1, 0.4, 0.5)
    page.choose("order", "head by head")
    shown = page.wait_changed(shown)
    assert "8 of 8 heads" in page.text()
    page.click_panel(2, 0.3, 0.5)  # on the curve
    shown = page.wait_changed(shown)
    assert "2 of 8 heads added" in page.text() or "3 of 8 heads added" in page.text()
    title = page.canvas().locator("text").first
    first = title.text_content()
    page.click_panel(3, 0.5, 2.5 / 16)  # the third class
    shown = page.wait_changed(shown)
    assert title.text_content() != first
    page.type_in(css=".intr-nb-search-target", text="no such bird")
    note = page.tab.locator(".intr-nb-search-target .intr-nb-note").last
    note.get_by_text("no class has 'no such bird' in its name; there are 16 classes").wait_for()
    page.type_in("index", 99)
    page.tab.locator(".intr-nb-error [role=alert]").last.wait_for()
    assert "index=99: there are 64 images, numbered from 0 to 63" in page.error()
    page.shot("evidence_explorer_refused")
    assert page.picture() == shown and page.control("index").locator("input").input_value() == "8"
    page.type_in("index", 3)
    page.wait_changed(shown)
    assert not page.error()
    page.finish("evidence_explorer_1")


def test_evidence_explorer_in_the_dark(lab):
    page = lab.open_widget(EVIDENCE.replace("index=8", "index=3, step=30"), theme="dark")
    page.hover(1, 0.4, 0.5)
    page.finish("evidence_explorer_dark")


def test_the_twin_of_evidence_explorer(lab, tmp_path):
    from intr_nb.browsers.evidence_browser import EvidenceBrowser
    from intr_nb.data.birds import Aviary
    from intr_nb.models.checkpoints import pretrained

    b = EvidenceBrowser(pretrained("aviary16"), Aviary(64, seed=2), index=8, step=40, reference="raw")
    page = lab.open_file(b.save(tmp_path / "evidence.html"))
    page.tab.locator(".slider-container").wait_for()
    page.shot("evidence_explorer_twin_0")
    before = page.tab.locator(".slider-container").text_content()
    assert "40: +6.28" in before
    rail = page.tab.locator(".slider-rail-touch-rect").bounding_box()
    page.tab.mouse.click(rail["x"] + rail["width"] * 0.02, rail["y"] + rail["height"] / 2)
    page.tab.wait_for_timeout(500)
    slider, maps = page.tab.locator(".slider-container"), page.tab.locator(".heatmaplayer").inner_html()
    assert (moved := slider.text_content()) != before
    page.tab.locator(".updatemenu-header").click()
    page.tab.locator(".updatemenu-dropdown-button").nth(2).click()
    page.tab.wait_for_timeout(500)
    assert slider.text_content() != moved and page.tab.locator(".heatmaplayer").inner_html() != maps
    page.finish("evidence_explorer_twin_1")


COMPANY = """
from intr_nb.data.birds import Aviary
from intr_nb.browsers.candidate_browser import CandidateBrowser
from intr_nb.models.checkpoints import pretrained
b = CandidateBrowser(pretrained("aviary16-full"), Aviary(64, seed=2), index=8)
b
"""


def test_company_explorer(lab):
    page = lab.open_widget(COMPANY)
    shown = page.picture()
    assert "16 of 16 classes are candidates" in page.text()

    def tick(k):
        return page.canvas().locator("[role=checkbox]").nth(k)

    assert tick(3).get_attribute("aria-checked") == "true"
    tick(3).click()
    shown = page.wait_changed(shown)
    assert (
        "15 of 16 classes are candidates" in page.text() and tick(3).get_attribute("aria-checked") == "false"
    )
    page.tab.locator("button", has_text="halve").click()
    shown = page.wait_changed(shown)
    assert "among these 7, the others absent" in page.text()
    page.choose("form", "zero")
    shown = page.wait_changed(shown)
    assert "the others zero" in page.text()
    page.press("ArrowDown")
    shown = page.wait_changed(shown)
    assert "6 of 16 classes are candidates" in page.text()
    page.choose("what", "attention")
    shown = page.wait_changed(shown)
    assert "attention" in page.hover(0, 0.4, 0.5)
    page.shot("company_explorer_0")
    page.tab.locator("button", has_text="the two strongest").click()
    shown = page.wait_changed(shown)
    page.press("ArrowDown")  # one alone has nothing to decide
    page.tab.locator(".intr-nb-error [role=alert]").last.wait_for()
    assert "keep at least two classes" in page.error()
    page.type_in(
        css=".intr-nb-find",
        text=page.canvas().locator("[role=checkbox][aria-checked=false]").first.get_attribute("aria-label"),
    )
    page.wait_changed(shown)
    assert "3 of 16 classes are candidates" in page.text() and not page.error()
    page.finish("company_explorer_1")


def test_company_explorer_in_the_dark(lab):
    page = lab.open_widget(COMPANY.replace("index=8", "index=3, candidates=[0, 1, 2, 3]"), theme="dark")
    page.finish("company_explorer_dark")


def test_the_twin_of_company_explorer(lab, tmp_path):
    here = {}
    exec(COMPANY, here)
    here["b"].candidates = [7, 8, 9, 10]
    page = lab.open_file(here["b"].save(tmp_path / "company.html"))
    slider = page.tab.locator(".slider-container")
    slider.wait_for()
    page.shot("company_explorer_twin_0")
    before, bars = slider.text_content(), page.tab.locator(".barlayer").inner_html()
    rail = page.tab.locator(".slider-rail-touch-rect").bounding_box()
    page.tab.mouse.click(rail["x"] + rail["width"] * 0.01, rail["y"] + rail["height"] / 2)
    page.tab.wait_for_timeout(700)
    assert (
        "candidates: 16" in slider.text_content() != before
        and page.tab.locator(".barlayer").inner_html() != bars
    )
    maps = page.tab.locator(".heatmaplayer").first.inner_html()
    page.tab.locator(".updatemenu-header").click()
    page.tab.locator(".updatemenu-dropdown-button").nth(2).click()
    page.tab.wait_for_timeout(700)
    assert page.tab.locator(".heatmaplayer").first.inner_html() != maps
    page.finish("company_explorer_twin_1")


BIRDS = """
from intr_nb.data.birds import Aviary
from intr_nb.browsers.bird_editor import BirdEditor
from intr_nb.models.checkpoints import pretrained
b = BirdEditor(pretrained("aviary16"), Aviary(64, seed=2), index=8)
b
"""


def thumbnails(page):
    return page.canvas("thumbnails").locator("image").count()


def test_bird_editor(lab):
    page = lab.open_widget(BIRDS)
    assert "not edited yet" in page.text() and thumbnails(page) == 12
    page.shot("bird_editor_0")
    shown = page.picture()
    page.choose("wing", "black")
    shown = page.wait_changed(shown)
    assert "after: Black-winged" in page.text() and "Blue-winged" in page.text()
    assert "wing" in page.hover(1, 0.35, 0.58)
    page.settle()
    page.shot("bird_editor_1")
    page.choose("what", "after")
    shown = page.wait_changed(shown)
    assert "evidence after" in page.text()
    page.press("ArrowUp")  # the wing's value before black
    shown = page.wait_changed(shown)
    assert page.control("wing").locator("select").input_value() == "brown"
    page.click_panel(1, 0.62, 0.32)  # the crown's next value, on the edited bird
    shown = page.wait_changed(shown)
    page.click_panel(4)  # head 1 into the large map
    shown = page.wait_changed(shown)
    assert "evidence after, head 1" in page.text()
    page.tab.locator(".intr-nb-button-reset button, button.intr-nb-button-reset").last.click()
    page.wait_changed(shown)
    assert "not edited yet" in page.text() and not page.error()
    page.finish("bird_editor_2")


def pictures(page):
    return page.tab.locator("image").evaluate_all(
        "e => e.map(x => x.getAttribute('href') || x.getAttributeNS('http://www.w3.org/1999/xlink', 'href')).join()"
    )


def test_bird_editor_without_a_kernel(lab, tmp_path):
    from intr_nb.browsers.bird_editor import BirdEditor
    from intr_nb.data.birds import Aviary
    from intr_nb.models.checkpoints import pretrained

    page = lab.open_file(
        BirdEditor(pretrained("aviary16"), Aviary(16, seed=2), index=8, wing="black").save(
            tmp_path / "bird.html"
        )
    )
    page.tab.get_by_text("after: Black-winged").first.wait_for()
    before = pictures(page)
    rail = page.tab.locator(".slider-rail-touch-rect")
    rail.click(position=dict(x=rail.bounding_box()["width"] * 0.98, y=4))
    page.tab.get_by_text("after: Black-winged").first.wait_for(state="detached")
    assert pictures(page) != before
    page.finish("bird_editor_twin")


PAINT = """
from intr_nb.data.birds import Aviary
from intr_nb.browsers.paint_editor import PaintEditor
from intr_nb.models.checkpoints import pretrained
b = PaintEditor(pretrained("aviary16"), Aviary(64, seed=2), index=8)
b
"""


def test_paint_box(lab):
    page = lab.open_widget(PAINT, theme="dark")
    assert "Nothing is painted yet" in page.text().replace("\n", " ")
    assert thumbnails(page) == 12
    untouched = page.picture()
    page.stroke(0, [(0.3, 0.62), (0.4, 0.58), (0.5, 0.55)])
    shown = page.wait_changed(untouched)
    assert "1 edit" in page.text() and "1. recolour" in page.text()
    page.choose("how", "inpaint")
    page.choose("tool", "box")
    page.settle()
    shown = page.picture()
    page.stroke(0, [(0.7, 0.2), (0.8, 0.3)])
    shown = page.wait_changed(shown)
    assert "2. inpaint" in page.text()
    page.shot("paint_box_0")
    page.tab.locator(".intr-nb-button-undo").last.click()
    shown = page.wait_changed(shown)
    assert "1 edit" in page.text() and "inpaint" not in page.text().split("1 edit")[1]
    page.tab.get_by_text("Record: replay these edits").last.click()
    record = page.tab.locator(".intr-nb-record textarea").last
    record.wait_for()
    assert "edit_picture('recolour', points=[" in record.input_value()
    page.choose("how", "copy")
    page.choose("tool", "brush")
    page.settle()
    shown = page.picture()
    page.stroke(0, [(0.1, 0.3), (0.2, 0.3), (0.3, 0.3)])  # from where?
    page.tab.locator(".intr-nb-error", has_text="copy from where?").last.wait_for()
    page.click_panel(0, 0.3, 0.6)
    shown = page.wait_changed(shown)
    page.stroke(0, [(0.6, 0.8), (0.65, 0.8), (0.7, 0.8)])
    shown = page.wait_changed(shown)
    assert "2. copy" in page.text() and not page.error()
    page.shot("paint_box_1")
    page.tab.locator(".intr-nb-button-undo").last.click()
    shown = page.wait_changed(shown)
    page.tab.locator(".intr-nb-button-undo").last.click()
    page.wait_changed(shown)
    assert "Nothing is painted yet" in page.text().replace("\n", " ")
    page.finish("paint_box_2")


def test_paint_box_takes_back_by_keys(lab):
    page = lab.open_widget(PAINT)
    untouched = page.picture()
    page.stroke(0, [(0.3, 0.62), (0.4, 0.58), (0.5, 0.55)])
    painted = page.wait_changed(untouched)
    page.tab.keyboard.press("Control+z")  # the stroke left the focus on the picture
    assert page.wait_changed(painted) == untouched
    for redo, undo in ("Control+Shift+Z", "Meta+z"), ("Control+y", "Control+z"):
        page.tab.keyboard.press(redo)
        assert page.wait_changed(untouched) == painted
        page.tab.keyboard.press(undo)
        assert page.wait_changed(painted) == untouched
    page.tab.keyboard.press("Control+z")
    page.tab.locator(".intr-nb-error", has_text="nothing to undo").last.wait_for()
    page.finish("paint_box_keys")


def test_paint_box_without_a_kernel(lab, tmp_path):
    from intr_nb.browsers.paint_editor import PaintEditor
    from intr_nb.browsers.strokes import _stroke
    from intr_nb.data.birds import Aviary
    from intr_nb.models.checkpoints import pretrained

    b = PaintEditor(pretrained("aviary16"), Aviary(16, seed=2), index=8)
    b.edits = [
        _stroke("recolour", [(0.3, 0.6), (0.5, 0.55)], (96, 96), colour="red"),
        _stroke("inpaint", [(0.7, 0.2), (0.8, 0.3)], (96, 96), "box"),
    ]
    page = lab.open_file(b.save(tmp_path / "painted.html"))
    page.tab.locator(".updatemenu-header").first.click()
    before = pictures(page)
    page.tab.locator(".updatemenu-dropdown-button", has_text="1. recolour").click()
    page.tab.wait_for_timeout(500)
    assert pictures(page) != before
    page.finish("paint_box_twin")


STUDY = """
import os
from intr_nb.browsers.attribute_study import AttributeStudy
from intr_nb.data.birds import Aviary
from intr_nb.evaluation.user_study import bird_examples
from intr_nb.models.checkpoints import pretrained
if os.path.exists("ada.jsonl"): os.remove("ada.jsonl")
b = AttributeStudy(pretrained("aviary16"), bird_examples(Aviary(32, seed=2), 2, 1), "Ada", "ada.jsonl")
b
"""


def test_attribute_study(lab):
    page = lab.open_widget(STUDY)
    assert "question 1 of 16" in page.text()
    page.shot("attribute_study_0")
    shown, answers = page.picture(), lab.folder / "notebooks" / "ada.jsonl"
    page.tab.locator(".intr-nb-answers button").first.dblclick()  # is one answer
    page.wait_changed(shown)
    shown = page.settle()
    assert "question 2 of 16" in page.text() and len(answers.read_text().splitlines()) == 1
    page.tab.locator(".intr-nb-answers button", has_text="none of these").click()
    shown = page.wait_changed(shown)
    assert len(answers.read_text().splitlines()) == 2 and '"answer": null' in answers.read_text()
    page.press("ArrowLeft")
    shown = page.wait_changed(shown)
    assert "your answer: none of these" in page.text()
    page.click_panel(5)  # another map of this image
    page.wait_changed(shown)
    assert "question 6 of 16" in page.text() and not page.error()
    page.finish("attribute_study_1")


def test_attribute_study_asks_for_a_name_and_tells_at_the_end(lab):
    nobody = STUDY.replace('"Ada", "ada.jsonl"', 'path="asked.jsonl"').replace("ada.jsonl", "asked.jsonl")
    page = lab.open_widget(nobody)
    field, start = (page.tab.locator(f".intr-nb-{name}").last for name in ("student input", "button-start"))
    field.fill("you")
    start.click()
    page.tab.locator(".intr-nb-error", has_text="anybody could write that").last.wait_for()
    edge = field.evaluate("e => getComputedStyle(e).borderColor.match(/[0-9]+/g).map(Number)")
    assert edge[0] > 150 and max(edge[1:3]) < 100, f"the edge of a refused name is {edge}"
    shown = page.picture()
    field.fill("Ada L.")
    start.click()
    shown = page.wait_changed(shown)
    assert "question 1 of 16" in page.text() and not page.error() and not field.is_visible()
    for _ in range(16):
        assert "✗" not in page.text() and "the truth" not in page.text()
        page.tab.wait_for_timeout(500)  # two clicks within less are one answer
        page.tab.locator(".intr-nb-answers button", has_text="none of these").click()
        shown = page.wait_changed(shown)
    page.canvas().locator("[data-click=tell]").click()
    page.wait_changed(shown)
    assert "of 16 answers are right" in page.text() and "guessing would reach" in page.text()
    page.finish("attribute_study_told")


def test_attribute_study_without_a_kernel(lab, tmp_path):
    from intr_nb.browsers.attribute_study import AttributeStudy
    from intr_nb.data.birds import Aviary
    from intr_nb.evaluation.user_study import bird_examples
    from intr_nb.models.checkpoints import pretrained

    study = AttributeStudy(
        pretrained("aviary16"), bird_examples(Aviary(32, seed=2), 2, 1), "Ada", tmp_path / "ada.jsonl"
    )
    study.told = True  # only the page of a student who was told what was right shows it
    page = lab.open_file(study.save(tmp_path / "study.html"))
    page.tab.locator(".updatemenu-header").first.wait_for()
    before, truth = (
        pictures(page),
        (study.truth(study.order[0][0])[study.order[0][1]] or "none of these").replace("_", " "),
    )
    assert not page.tab.locator(".textpoint").count()
    page.tab.locator(".updatemenu-header").nth(1).click()
    page.tab.locator(".updatemenu-dropdown-button", has_text="show what each lies on").click()
    page.tab.locator(".textpoint", has_text=truth).first.wait_for()
    page.tab.locator(".updatemenu-header").first.click()
    page.tab.locator(".updatemenu-dropdown-button", has_text="image 2").click()
    page.tab.wait_for_timeout(500)
    assert pictures(page) != before
    page.finish("attribute_study_twin")


def test_a_twin_in_a_page_of_notebooks(lab, tmp_path):
    from plotly.graph_objects import Figure, Heatmap
    from plotly.offline import get_plotlyjs

    from intr_nb.browsers.standalone import _menu, _standalone_figure, embed

    name = "it's <b>\"bold\"</b> & &lt;escaped&gt;"
    both = _standalone_figure(
        Figure([Heatmap(z=[[k, 1]], visible=k == 0) for k in (0, 1)]),
        [_menu({n: (dict(visible=v), {}) for n, v in ((name, [True, False]), ("two", [False, True]))}, 0)],
        300,
        "a title",
    )
    script = "<script>window.define = () => 0; window.define.amd = true</script>"
    body = f"<main><h1>a page</h1><p>before</p>{embed(both).data}<p>after</p></main>"
    head = f'<!doctype html><html lang="en"><head><title>a page</title>{script}</head>'
    (tmp_path / "site.html").write_text(f"{head}<body>{body}</body></html>")
    page = lab.open_file(tmp_path / "site.html")
    frame = page.tab.frame_locator("iframe[title='a title']")
    frame.get_by_text("plotly did not come from the network").wait_for()
    page.errors.clear()
    page.tab.context.set_offline(False)
    page.tab.route(
        "https://cdn.plot.ly/**",
        lambda r: r.fulfill(
            body=get_plotlyjs(),
            content_type="text/javascript; charset=utf-8",
            headers={"Access-Control-Allow-Origin": "*"},
        ),
    )
    page.tab.reload()
    frame.locator(".updatemenu-header").first.wait_for()
    assert frame.locator(".updatemenu-header").text_content() == name
    frame.locator(".updatemenu-header").click()
    frame.locator(".updatemenu-dropdown-button", has_text="two").click()
    frame.locator(".updatemenu-header", has_text="two").wait_for()
    assert not frame.get_by_text("plotly did not come").count()
    page.finish("embedded_twin")


COMPARER = """
from intr_nb.data.birds import Aviary
from intr_nb.browsers.method_browser import MethodBrowser
from intr_nb.browsers.method_state import _COMPARED
from intr_nb.explanations.methods import rise_map
from intr_nb.models.checkpoints import pretrained
nasty = "<img src=x onerror=alert(1)>"
names = [nasty if "yellow-bellied" in n and "Blue" in n else n for n in Aviary(1).class_names]
methods = _COMPARED | {"RISE": rise_map(32)}
b = MethodBrowser(pretrained("aviary16"), Aviary(64, seed=2), methods, class_names=names, index=8)
b
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_explanation_comparer(lab, theme):
    page = lab.open_widget(COMPARER, theme=theme)
    button, shown = page.tab.locator(".intr-nb-compute").last, page.picture()
    assert (
        "not computed yet: press “compute”" in page.text()
        and NASTY in page.text()
        and page.canvas().locator("img").count() == 0
    )
    assert button.inner_text() == "compute 3 maps and 24 curves"
    page.shot(f"explanation_comparer_{theme}_0")
    page.click_panel(4)  # one map of RISE
    shown = page.wait_changed(shown)
    assert button.inner_text() == "compute 24 curves" and "RISE " in page.hover(4, 0.5, 0.5)
    button.click()
    page.wait_changed(shown)
    page.tab.locator(".intr-nb-compute", has_text="all computed").last.wait_for()
    shown = page.settle()
    assert "areas of insertion / deletion" in page.text() and "not computed" not in page.text()
    assert (
        "row 11 of 0 to 23, column 11 of 0 to 23" in page.hover(0, 0.48, 0.48)
        and page.canvas().locator(".intr-nb-position").count() == 15
    ), "the same place on all maps of that grid"
    tip = page.hover(24, 0.3, 0.5)
    assert "share of pixels" in tip and "Grad-CAM" in tip and "edges" in tip
    page.click_panel(25, 0.22, 0.5)  # what the evaluator saw
    shown = page.wait_changed(shown)
    assert "deletion by evidence: 21% hidden, probability" in page.text()
    page.shot(f"explanation_comparer_{theme}_1")
    page.click_panel(11)  # Grad-CAM's map of the second class
    shown = page.wait_changed(shown)
    assert f"Curves of {NASTY}" in page.text() and "deletion by Grad-CAM" in page.text()
    page.press("ArrowUp")
    shown = page.wait_changed(shown)
    assert f"Curves of {NASTY}" not in page.text()
    page.choose("unit", "margin")
    shown = page.wait_changed(shown)
    assert "area of the margin" in page.text() and button.inner_text() == "all computed"
    page.choose("blank", "zero")
    shown = page.wait_changed(shown)
    assert button.inner_text() == "compute 24 curves"
    page.choose("blank", "blur")
    shown = page.wait_changed(shown)
    for k in (5, 6, 7):
        page.tab.locator(f".intr-nb-method-{k} input").last.click()
        shown = page.wait_changed(shown)
    assert "centre" not in page.text()
    page.type_in(css=".intr-nb-add", text="sunbird")
    page.tab.locator(".intr-nb-add select").last.select_option(index=1)
    shown = page.wait_changed(shown)
    assert "sunbird (0.00)" in page.text() and "compute 5 curves" == button.inner_text()
    page.settle()
    page.shot(f"explanation_comparer_{theme}_2")
    page.canvas().locator("[data-click^=drop]").first.click()
    page.wait_changed(shown)
    shown = page.settle()
    page.type_in(css=".intr-nb-add", text="no such bird")
    note = page.tab.locator(".intr-nb-add .intr-nb-note").last
    note.get_by_text("no class has 'no such bird' in its name").wait_for()
    assert page.picture() == shown
    page.press("ArrowRight")
    page.wait_changed(shown)
    assert "image 9" in page.text() and not page.error()
    page.finish(f"explanation_comparer_{theme}_3")


@pytest.mark.skipif("INTR_NB_SCREENSHOTS" not in os.environ, reason="only for the docs: tools/screenshots.py")
def test_explanation_comparer_for_the_docs(lab):
    page = lab.open_widget(
        "from intr_nb.data.birds import Aviary\n"
        "from intr_nb.browsers.method_browser import MethodBrowser\n"
        "from intr_nb.models.checkpoints import pretrained\n"
        "MethodBrowser(pretrained('aviary16'), Aviary(64, seed=2), index=8)\n"
    )
    page.tab.locator(".intr-nb-compute").last.click()
    page.tab.locator(".intr-nb-compute", has_text="all computed").last.wait_for()
    shown = page.settle()
    page.click_panel(25, 0.22, 0.5)
    page.wait_changed(shown)
    page.finish("explanation_comparer_docs")


def test_the_twin_of_explanation_comparer(lab, tmp_path):
    here = {}
    exec(COMPARER, here)
    here["b"].compute()
    page = lab.open_file(here["b"].save(tmp_path / "comparer.html"))
    asked = []
    page.tab.on("request", lambda r: asked.append(r.url))
    page.tab.locator(".hm").first.wait_for(state="attached")
    page.shot("explanation_comparer_twin_0")
    title, lines = page.tab.locator(".gtitle"), page.tab.locator(".scatterlayer .js-line")
    maps, paths, words = (
        page.tab.locator(".heatmaplayer").nth(1).inner_html(),
        [e.get_attribute("d") for e in lines.all()],
        title.text_content(),
    )
    assert len(paths) == 16 and "Evaluator: the model itself" in words
    page.tab.locator(".updatemenu-header").nth(0).click()
    page.tab.locator(".updatemenu-dropdown-button").nth(1).click()
    page.tab.wait_for_timeout(700)
    assert NASTY in title.text_content() and page.tab.locator("img").count() == 0
    assert (
        page.tab.locator(".heatmaplayer").nth(1).inner_html() != maps
        and [e.get_attribute("d") for e in lines.all()] != paths
    )
    page.tab.locator(".updatemenu-header").nth(1).click()
    page.tab.locator(".updatemenu-dropdown-button", has_text="RISE").click()
    page.tab.wait_for_timeout(700)
    opacity = page.tab.evaluate(
        "() => document.querySelector('.js-plotly-plot')._fullData.map(t => t.opacity).slice(8)"
    )
    assert opacity == [1 if k % 8 == 4 else 0.25 for k in range(16)] and NASTY in title.text_content(), (
        "the menus do not undo each other"
    )
    assert not asked
    page.finish("explanation_comparer_twin_1")
