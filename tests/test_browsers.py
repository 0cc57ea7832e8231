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


BIRDS = """
from intr_nb.aviary import Aviary
from intr_nb.bird_editor import BirdEditor
from intr_nb.weights import pretrained
b = BirdEditor(pretrained("aviary16"), Aviary(64, seed=2), index=8)
b
"""


def test_bird_editor(lab):
    page = lab.open_widget(BIRDS)
    assert "not edited yet" in page.text()
    page.shot("bird_editor_0")
    shown = page.picture()
    page.choose("wing", "black")
    shown = page.wait_changed(shown)
    assert "after: Black-winged" in page.text() and "Blue-winged" in page.text()
    assert "wing" in page.hover(1, .35, .58)
    page.settle()
    page.shot("bird_editor_1")
    page.choose("what", "after")
    shown = page.wait_changed(shown)
    assert "evidence after" in page.text()
    page.press("ArrowUp")  # the wing's value before black
    shown = page.wait_changed(shown)
    assert page.control("wing").locator("select").input_value() == "brown"
    page.click_panel(1, .62, .32)  # the crown's next value, on the edited bird
    shown = page.wait_changed(shown)
    page.click_panel(4)  # head 1 into the large map
    shown = page.wait_changed(shown)
    assert "evidence after, head 1" in page.text()
    page.tab.locator(".intr-nb-button-reset button, button.intr-nb-button-reset").last.click()
    page.wait_changed(shown)
    assert "not edited yet" in page.text() and not page.error()
    page.finish("bird_editor_2")


def pictures(page): return page.tab.locator("image").evaluate_all("e => e.map(x => x.getAttribute('href') || x.getAttributeNS('http://www.w3.org/1999/xlink', 'href')).join()")


def test_bird_editor_without_a_kernel(lab, tmp_path):
    from intr_nb.aviary import Aviary
    from intr_nb.bird_editor import BirdEditor
    from intr_nb.weights import pretrained

    page = lab.open_file(BirdEditor(pretrained("aviary16"), Aviary(16, seed=2), index=8, wing="black").save(tmp_path / "bird.html"))
    page.tab.get_by_text("after: Black-winged").first.wait_for()
    before = pictures(page)
    page.tab.locator(".updatemenu-header").first.click()
    page.tab.locator(".updatemenu-dropdown-button", has_text="belly: yellow").click()
    page.tab.get_by_text("Blue-winged yellow-bellied shrike").first.wait_for()
    assert pictures(page) != before
    page.finish("bird_editor_twin")


PAINT = """
from intr_nb.aviary import Aviary
from intr_nb.paint_box import PaintBox
from intr_nb.weights import pretrained
b = PaintBox(pretrained("aviary16"), Aviary(64, seed=2), index=8)
b
"""


def test_paint_box(lab):
    page = lab.open_widget(PAINT, theme="dark")
    assert "Nothing is painted yet" in page.text().replace("\n", " ")
    untouched = page.picture()
    page.stroke(0, [(.3, .62), (.4, .58), (.5, .55)])
    shown = page.wait_changed(untouched)
    assert "1 edit" in page.text() and "1. recolour" in page.text()
    page.choose("how", "inpaint")
    page.choose("tool", "box")
    page.settle()
    shown = page.picture()
    page.stroke(0, [(.7, .2), (.8, .3)])
    shown = page.wait_changed(shown)
    assert "2. inpaint" in page.text()
    page.shot("paint_box_0")
    page.tab.locator(".intr-nb-button-undo").last.click()
    shown = page.wait_changed(shown)
    assert "1 edit" in page.text() and "inpaint" not in page.text().split("1 edit")[1]
    page.tab.get_by_text("Record: replay these edits").last.click()
    record = page.tab.locator(".intr-nb-record textarea").last
    record.wait_for()
    assert "edit('recolour', points=[" in record.input_value()
    page.choose("how", "copy")
    page.choose("tool", "brush")
    page.settle()
    shown = page.picture()
    page.stroke(0, [(.1, .3), (.2, .3), (.3, .3)])  # from where?
    page.tab.locator(".intr-nb-error", has_text="copy from where?").last.wait_for()
    page.click_panel(0, .3, .6)
    shown = page.wait_changed(shown)
    page.stroke(0, [(.6, .8), (.65, .8), (.7, .8)])
    shown = page.wait_changed(shown)
    assert "2. copy" in page.text() and not page.error()
    page.shot("paint_box_1")
    page.tab.locator(".intr-nb-button-undo").last.click()
    shown = page.wait_changed(shown)
    page.tab.locator(".intr-nb-button-undo").last.click()
    page.wait_changed(shown)
    assert "Nothing is painted yet" in page.text().replace("\n", " ")
    page.finish("paint_box_2")


def test_paint_box_without_a_kernel(lab, tmp_path):
    from intr_nb.aviary import Aviary
    from intr_nb.paint_box import PaintBox, stroke
    from intr_nb.weights import pretrained

    b = PaintBox(pretrained("aviary16"), Aviary(16, seed=2), index=8)
    b.edits = [stroke("recolour", [(.3, .6), (.5, .55)], (96, 96), colour="red"), stroke("inpaint", [(.7, .2), (.8, .3)], (96, 96), "box")]
    page = lab.open_file(b.save(tmp_path / "painted.html"))
    page.tab.locator(".updatemenu-header").first.click()
    before = pictures(page)
    page.tab.locator(".updatemenu-dropdown-button", has_text="1. recolour").click()
    page.tab.wait_for_timeout(500)
    assert pictures(page) != before
    page.finish("paint_box_twin")


STUDY = """
import os
from intr_nb.attribute_study import AttributeStudy, bird_examples
from intr_nb.aviary import Aviary
from intr_nb.weights import pretrained
if os.path.exists("ada.jsonl"): os.remove("ada.jsonl")
b = AttributeStudy(pretrained("aviary16"), bird_examples(Aviary(32, seed=2), 2, 1), "Ada", "ada.jsonl")
b
"""


def test_attribute_study(lab):
    page = lab.open_widget(STUDY)
    assert "question 1 of 16" in page.text()
    page.shot("attribute_study_0")
    shown, answers = page.picture(), lab.folder / "notebooks" / "ada.jsonl"
    page.tab.locator(".intr-nb-answers button").first.click()
    shown = page.wait_changed(shown)
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


def test_attribute_study_without_a_kernel(lab, tmp_path):
    from intr_nb.attribute_study import AttributeStudy, bird_examples
    from intr_nb.aviary import Aviary
    from intr_nb.weights import pretrained

    study = AttributeStudy(pretrained("aviary16"), bird_examples(Aviary(32, seed=2), 2, 1), "Ada", tmp_path / "ada.jsonl")
    page = lab.open_file(study.save(tmp_path / "study.html"))
    page.tab.locator(".updatemenu-header").first.wait_for()
    before, truth = pictures(page), study.truth(study.order[0][0])[study.order[0][1]].replace("_", " ")
    assert not page.tab.locator(".textpoint").count()
    page.tab.locator(".updatemenu-header").nth(1).click()
    page.tab.locator(".updatemenu-dropdown-button", has_text="show what each lies on").click()
    page.tab.locator(".textpoint", has_text=truth).first.wait_for()
    page.tab.locator(".updatemenu-header").first.click()
    page.tab.locator(".updatemenu-dropdown-button", has_text="image 2").click()
    page.tab.wait_for_timeout(500)
    assert pictures(page) != before
    page.finish("attribute_study_twin")
