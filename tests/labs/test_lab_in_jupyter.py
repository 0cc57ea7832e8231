"""A student's copy of lab 1 in a real JupyterLab: nothing written, a mistake, a hint, the right answer.

INTR_NB_SCREENSHOTS=folder keeps the screenshots that the lecturer's notes show.
"""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="the course's tools need the extra `course`")
import course as tool

NAME = "01_attention_by_hand.ipynb"
LAB = Path(__file__).resolve().parents[2] / "nbs" / "labs" / NAME
FORGETFUL = 'def scores(query, keys):\n    "How well every position fits"\n    return keys @ query'
RIGHT = FORGETFUL + " / len(query) ** 0.5"


@pytest.fixture(scope="module")
def copy(lab, tmp_path_factory):
    "The notebook that is handed out, in JupyterLab's folder."
    labs, made = tmp_path_factory.mktemp("labs"), tmp_path_factory.mktemp("course")
    shutil.copy(LAB, labs)
    tool.build(labs, made)
    return Path(shutil.copy(made / "students" / LAB.stem / NAME, lab.folder / "notebooks"))


def cell_with(page, text):
    return page.tab.locator(".jp-CodeCell").filter(has_text=text).first


def run_cell(page, text, code=None):
    "Put the cursor into the cell that has `text`, perhaps write `code`, and press Shift+Enter."
    editor = cell_with(page, text).locator(".cm-content")
    editor.click()
    if code:
        page.tab.keyboard.press("ControlOrMeta+a")
        page.tab.keyboard.insert_text(code)
    page.tab.keyboard.press("Shift+Enter")
    page.tab.wait_for_timeout(300)
    page.idle()


def said(page, words):
    "What the check of exercise 1 says, once it has `words` in it."
    output = cell_with(page, 'Exercise("scores")').locator(".jp-OutputArea-output").filter(has_text=words)
    output.first.wait_for(timeout=60_000)
    return output.first.inner_text()


def test_a_student_does_the_first_exercise(lab, copy):
    page = lab.open_notebook(copy)
    for given in ("import math", "torch.set_printoptions", "SKY, LEAF", "a = math.log(2)"):
        run_cell(page, given)
    run_cell(page, "def scores(")
    run_cell(page, 'Exercise("scores")')
    assert "scores is not written yet" in said(page, "not written yet")

    run_cell(page, "def scores(", FORGETFUL)
    run_cell(page, 'Exercise("scores")')
    told = said(page, "Hint")
    assert "divide by the root of D = 4" in told and "Traceback" not in told and ".py" not in told
    cell_with(page, "def scores(").scroll_into_view_if_needed()
    page.shot("lab_check_fails")

    run_cell(page, "def scores(", RIGHT)
    run_cell(page, 'Exercise("scores")')
    told = said(page, "the scores where D is 9: right")
    assert told.count("✓") == 4 and "✗" not in told
    cell_with(page, "def scores(").scroll_into_view_if_needed()
    page.finish("lab_check_passes")
