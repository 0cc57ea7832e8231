"An hour of clicks in one kernel leaves nothing behind: benchmarks/soak.py in small."

import gc

import pytest
from ipywidgets.widgets import widget

from intr_nb.browsers.attribute_study import AttributeStudy
from intr_nb.browsers.head_browser import HeadBrowser
from intr_nb.data.birds import Aviary
from intr_nb.evaluation.user_study import bird_examples
from intr_nb.models.checkpoints import pretrained

BIRDS = Aviary(16, seed=2)


def heads(folder):
    "A browser, and two messages of a page that undo each other"
    return HeadBrowser(pretrained(), BIRDS), *(dict(type="key", name=f"Arrow{n}") for n in ("Right", "Left"))


def study(folder):
    "The same, for questions about two pictures"
    made = AttributeStudy(pretrained(), bird_examples(BIRDS, 2, 1), "Ada", folder / "ada.jsonl")
    places = {i: k for k, (i, _) in enumerate(made.order)}
    return made, *(dict(type="click", name=f"question {k}") for k in places.values())


@pytest.mark.parametrize("make", [heads, study])
def test_working_a_browser_leaves_nothing_behind(make, tmp_path):
    "No widget is made anew, and there are as many objects as before"
    browser, *messages = make(tmp_path)
    browser.view()

    def counts():
        for message in 3 * messages:
            browser.canvas()._handle_custom_msg(dict(message), [])
        gc.collect()
        assert not browser.error
        return len(widget._instances), len(gc.get_objects())

    before, after = counts(), counts()
    assert after[0] == before[0]
    assert after[1] - before[1] < 6, (before, after)
