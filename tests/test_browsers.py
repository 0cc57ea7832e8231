"""The browsers, worked by mouse and keys in a real JupyterLab. Slow (a minute): `pytest tests/test_browsers.py`."""
HEADS = """
from intr_nb.aviary import Aviary
from intr_nb.head_browser import HeadBrowser
from intr_nb.weights import pretrained
b = HeadBrowser(pretrained("aviary16"), Aviary(64, seed=2))
b
"""


def test_head_browser(lab):
    page = lab.open_widget(HEADS)
    shown, strip = page.picture(), page.picture("strip")
    page.shot("head_browser_0")
    page.press("ArrowRight")
    shown = page.wait_changed(shown)
    assert page.wait_changed(strip, "strip")
    page.choose("what", "attention")
    shown = page.wait_changed(shown)
    page.finish("head_browser_1")


EVIDENCE = """
from intr_nb.aviary import Aviary
from intr_nb.evidence_explorer import EvidenceExplorer
from intr_nb.weights import pretrained
b = EvidenceExplorer(pretrained("aviary16"), Aviary(64, seed=2), index=8)
b
"""


def test_evidence_explorer(lab):
    page = lab.open_widget(EVIDENCE)
    shown = page.picture()
    page.shot("evidence_explorer_0")
    assert "All 576 places are added" in page.text()
    page.drag_slider("step", -150)
    page.wait_changed(shown)
    shown = page.settle()
    assert "Still missing to the logit" in page.text() and "576 places are added: +" in page.text()
    page.click_panel(0, .52, .4)
    shown = page.wait_changed(shown)
    assert "row 10, column 13" in page.text()
    page.press("ArrowRight")
    shown = page.wait_changed(shown)
    assert "row 10, column 14" in page.text()
    assert "evidence" in page.hover(1, .4, .5)
    page.choose("order", "head")
    shown = page.wait_changed(shown)
    assert "8 of 8 heads" in page.text()
    page.click_panel(2, .3, .5)  # on the curve
    shown = page.wait_changed(shown)
    assert "2 of 8 heads added" in page.text() or "3 of 8 heads added" in page.text()
    first = page.text().splitlines()[0]
    page.click_panel(3, .5, 2.5 / 16)  # the third class
    shown = page.wait_changed(shown)
    assert page.text().splitlines()[0] != first
    page.type_in(css=".intr-nb-search-target", text="no such bird")
    assert page.picture() == shown
    page.type_in("index", 3)
    page.wait_changed(shown)
    assert not page.error()
    page.finish("evidence_explorer_1")


def test_evidence_explorer_in_the_dark(lab):
    page = lab.open_widget(EVIDENCE.replace("index=8", "index=3, step=30"), theme="dark")
    page.hover(1, .4, .5)
    page.finish("evidence_explorer_dark")


def test_the_twin_of_evidence_explorer(lab, tmp_path):
    from intr_nb.aviary import Aviary
    from intr_nb.evidence_explorer import EvidenceExplorer
    from intr_nb.weights import pretrained

    b = EvidenceExplorer(pretrained("aviary16"), Aviary(64, seed=2), index=8, step=40)
    page = lab.open_file(b.save(tmp_path / "evidence.html"))
    page.tab.locator(".slider-container").wait_for()
    page.shot("evidence_explorer_twin_0")
    before = page.tab.locator(".slider-container").text_content()
    assert "40: +6.28" in before
    rail = page.tab.locator(".slider-rail-touch-rect").bounding_box()
    page.tab.mouse.click(rail["x"] + rail["width"] * .02, rail["y"] + rail["height"] / 2)
    page.tab.wait_for_timeout(500)
    slider, maps = page.tab.locator(".slider-container"), page.tab.locator(".heatmaplayer").inner_html()
    assert (moved := slider.text_content()) != before
    page.tab.locator(".updatemenu-header").click()
    page.tab.locator(".updatemenu-dropdown-button").nth(2).click()
    page.tab.wait_for_timeout(500)
    assert slider.text_content() != moved and page.tab.locator(".heatmaplayer").inner_html() != maps
    page.finish("evidence_explorer_twin_1")


COMPANY = """
import torch
from intr_nb.aviary import Aviary
from intr_nb.company_explorer import CompanyExplorer
from intr_nb.model import INTR
torch.manual_seed(0)
model = INTR(16, backbone=dict(name="patchnet", width=8, dim=32, stride=8), dim=32, num_heads=8, encoder_layers=1, decoder_layers=2, ffn_dim=32).eval()
for p in model.parameters(): p.data.add_(torch.randn_like(p) * .1) # no training, but company matters
b = CompanyExplorer(model, Aviary(64, seed=2), index=8)
b
"""


def test_company_explorer(lab):
    page = lab.open_widget(COMPANY)
    shown = page.picture()
    assert "16 of 16 classes are asked" in page.text()
    tick = lambda k: page.stage().locator("[role=checkbox]").nth(k)
    assert tick(3).get_attribute("aria-checked") == "true"
    tick(3).click()
    shown = page.wait_changed(shown)
    assert "15 of 16 classes are asked" in page.text() and tick(3).get_attribute("aria-checked") == "false"
    page.tab.get_by_role("button", name="halve").click()
    shown = page.wait_changed(shown)
    assert "in this company of 7, the others absent" in page.text()
    page.choose("form", "zero")
    shown = page.wait_changed(shown)
    assert "the others zero" in page.text()
    page.press("ArrowDown")
    shown = page.wait_changed(shown)
    assert "6 of 16 classes are asked" in page.text()
    page.choose("what", "attention")
    shown = page.wait_changed(shown)
    assert "attention" in page.hover(0, .4, .5)
    page.shot("company_explorer_0")
    page.tab.get_by_role("button", name="the two strongest").click()
    shown = page.wait_changed(shown)
    page.press("ArrowDown")  # one alone has nothing to decide
    page.tab.get_by_text("keep at least two classes").first.wait_for()
    page.type_in(css=".intr-nb-find", text=page.run("print(b.class_name(next(c for c in range(16) if c not in b.members)))").strip())
    page.wait_changed(shown)
    assert "3 of 16 classes are asked" in page.text() and not page.error()
    page.finish("company_explorer_1")


def test_company_explorer_in_the_dark(lab):
    page = lab.open_widget(COMPANY.replace("index=8", "index=3, members=[0, 1, 2, 3]"), theme="dark")
    page.finish("company_explorer_dark")


def test_the_twin_of_company_explorer(lab, tmp_path):
    here = {}
    exec(COMPANY, here)
    here["b"].members = [7, 8, 9, 10]
    page = lab.open_file(here["b"].save(tmp_path / "company.html"))
    slider = page.tab.locator(".slider-container")
    slider.wait_for()
    page.shot("company_explorer_twin_0")
    before, bars = slider.text_content(), page.tab.locator(".barlayer").inner_html()
    rail = page.tab.locator(".slider-rail-touch-rect").bounding_box()
    page.tab.mouse.click(rail["x"] + rail["width"] * .01, rail["y"] + rail["height"] / 2)
    page.tab.wait_for_timeout(700)
    assert "candidates: 16" in slider.text_content() != before and page.tab.locator(".barlayer").inner_html() != bars
    maps = page.tab.locator(".heatmaplayer").first.inner_html()
    page.tab.locator(".updatemenu-header").click()
    page.tab.locator(".updatemenu-dropdown-button").nth(2).click()
    page.tab.wait_for_timeout(700)
    assert page.tab.locator(".heatmaplayer").first.inner_html() != maps
    page.finish("company_explorer_twin_1")
