"""The browsers, worked by mouse and keys in a real JupyterLab. Slow (two minutes): `pytest tests/test_browsers.py`.

INTR_NB_SCREENSHOTS=folder keeps the screenshots; tests/lab.py says how to write another test.
"""
import pytest

SETUP = """
from intr_nb.aviary import Aviary
from intr_nb.head_browser import HeadBrowser
from intr_nb.weights import pretrained
model, birds = pretrained("aviary16"), Aviary(64, seed=2)
"""
NASTY = "<img src=x onerror=alert(1)>"


def test_head_browser_is_worked(lab):
    page = lab.open_widget(SETUP + "HeadBrowser(model, birds)")
    shown, strip = page.picture(), page.picture("strip")
    assert "predicted: Black-crowned white-banded" in page.text() and "head 7" in page.text()
    assert page.chosen("target").startswith("prediction: Black-crowned white-banded finch")
    page.shot("head_browser_light")

    # keys: images and heads
    page.press("ArrowRight")
    shown, strip = page.wait_changed(shown), page.wait_changed(strip, "strip")
    assert "image 1" in page.text()
    page.press("ArrowDown")
    shown = page.wait_changed(shown)
    assert page.chosen("head") == "head 0" and "head 0 alone" in page.text()
    page.shot("head_browser_large")
    page.click_panel(0)
    shown = page.wait_changed(shown)
    assert "alone" not in page.text()

    # mouse: a thumbnail, the numbers under it
    page.click_panel(4, stage="strip")
    shown = page.wait_changed(shown)
    assert "image 4" in page.text()
    tip = page.hover(3, .52, .3)
    assert tip.startswith("head 3, White-eyed streaked-breasted barbet\nrow 8 of 24, column 13 of 24\nα ") and "\ns " in tip and "\nevidence, logit units " in tip
    assert page.stage().locator(".intr-nb-cell").count() == 8, "the same place is marked on all heads"
    assert tip != page.hover(3, .8, .8)
    page.shot("head_browser_hover")

    # controls
    for what in "attention", "saliency", "margin":
        page.choose("what", what)
        shown = page.wait_changed(shown)
    assert "margin of White-eyed streaked-breasted barbet over Yellow-eyed" in page.text()
    page.type_in(css=".intr-nb-search-rival", text="sunbird")
    shown = page.wait_changed(shown)
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
    shown = page.wait_changed(shown)
    page.settle()
    page.choose("compare", "an image")
    shown = page.wait_changed(page.picture())
    page.type_in("second", 16)
    page.wait_changed(shown)
    assert "image 16" in page.text() and page.stage().locator("[data-panel]").count() == 16
    assert page.error() == ""
    page.finish("head_browser_two_sides")


def test_dark_theme_names_from_data_and_errors(lab):
    code = SETUP + f"names = [{NASTY!r}] + [f'finch {{k}}' for k in range(15)]\n" + """
b = HeadBrowser(model, [birds.bird(0).image, "lost.jpg", birds.bird(1).image], class_names=names, labels=[0, 0, 1])
b
"""
    page = lab.open_widget(code, theme="dark")
    alerts = []
    page.tab.on("dialog", lambda d: (alerts.append(d.message), d.dismiss()))
    assert NASTY in page.text() and page.stage().locator("img").count() == 0 and "unreadable" in page.text("strip")
    assert NASTY in page.hover(0) and NASTY in page.chosen("target")
    colour = page.stage().evaluate("e => getComputedStyle(e).color")
    assert min(map(int, colour[colour.index("(") + 1:-1].split(",")[:3])) > 180, f"text on a dark ground is {colour}"
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
    still = page.tab.locator(".intr-nb-still")
    assert still.count() == 1 and not still.is_visible(), "the still picture hides while the widget lives"
    page.save_notebook()
    path = lab.folder / "notebooks" / f"widget{lab.number}.ipynb"
    page.restart_kernel()
    assert page.stage().is_visible()
    page.finish("still_after_restart")
    lab.shut_down_kernels()
    page = lab.open_notebook(path)
    page.tab.locator(".intr-nb-still img").wait_for(state="visible")
    assert "Predicted" in page.tab.locator(".intr-nb-still img").get_attribute("alt")
    assert not page.tab.get_by_text("model not found").is_visible()
    page.shot("still_after_reopening")
    page.tab.context.close()  # JupyterLab itself logs that the model is gone


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    from intr_nb.aviary import Aviary
    from intr_nb.head_browser import HeadBrowser
    from intr_nb.weights import pretrained
    names = [NASTY, "<b>bold</b>"] + [f"finch {k}" for k in range(14)]
    return HeadBrowser(pretrained("aviary16"), Aviary(4, seed=2), class_names=names).save(tmp_path_factory.mktemp("twin") / "twin.html")


def test_twin_without_kernel_and_network(lab, twin):
    page = lab.open_file(twin)
    asked, alerts = [], []
    page.tab.on("request", lambda r: asked.append(r.url))
    page.tab.on("dialog", lambda d: (alerts.append(d.message), d.dismiss()))
    page.tab.locator(".hm").first.wait_for(state="attached")
    state = "() => { const g = document.querySelector('.js-plotly-plot'); return g._fullData.filter(t => t.visible === true && t.opacity > 0).map(t => [t.index, t.z[9][9], t.z.flat().reduce((a, b) => a + b)]) }"
    shown = page.tab.evaluate(state)
    assert len(shown) == 8, "eight heads of one image"
    assert NASTY in page.tab.locator(".gtitle").text_content() and page.tab.locator("img").count() == 0
    assert "class: <b>bold</b>" in str(page.tab.evaluate("() => document.querySelector('.js-plotly-plot')._fullLayout.updatemenus[1].buttons.map(b => new DOMParser().parseFromString(b.label, 'text/html').body.textContent)"))
    for number, name in (0, "image 1"), (1, "class: finch 0"), (2, "attention"), (2, "saliency"):
        page.tab.locator(".updatemenu-header").nth(number).click()
        page.tab.locator(".updatemenu-dropdown-button", has_text=name).click()
        page.tab.wait_for_timeout(700)
        new = page.tab.evaluate(state)
        assert len(new) == 8 and new != shown, f"{name}: nothing changed"
        shown = new
    assert "image 1: predicted" in page.tab.locator(".gtitle").text_content()
    box = page.tab.locator(".bglayer rect, .draglayer .nsewdrag").nth(3).bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] * .4, box["y"] + box["height"] * .5, steps=3)
    page.tab.locator(".hovertext").first.wait_for()
    tip = page.tab.locator(".hovertext").first.text_content()
    assert all(word in tip for word in ("row", "column", "attention", "evidence", "saliency")), tip
    assert not asked and not alerts
    page.finish("head_browser_twin")
