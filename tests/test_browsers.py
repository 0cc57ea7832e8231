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
