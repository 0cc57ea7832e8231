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


def test_evidence_explorer(lab, tmp_path):
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
    page.tab.locator(".slider-label, .slider-container").first.wait_for()
    label = lambda: page.tab.locator(".slider-label-group, .slider-labels").last.text_content() + page.tab.locator(".slider-container").text_content()
    page.shot("evidence_explorer_twin_0")
    before = page.tab.locator(".slider-container").text_content()
    assert "40: +6.28" in before
    rail = page.tab.locator(".slider-rail-touch-rect").bounding_box()
    page.tab.mouse.click(rail["x"] + rail["width"] * .02, rail["y"] + rail["height"] / 2)
    page.tab.wait_for_timeout(500)
    moved = page.tab.locator(".slider-container").text_content()
    assert moved != before
    page.tab.locator(".updatemenu-header").click()
    page.tab.locator(".updatemenu-dropdown-button").nth(2).click()
    page.tab.wait_for_timeout(500)
    page.finish("evidence_explorer_twin_1")
    assert page.tab is not None
