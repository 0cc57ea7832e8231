"""Each lab as a student could do it: solved, untouched, and wrong in the ways that are typical.

The wrong answers of lab NN lie in wrong/lab_NN.py: for each name that a student writes, a list of
(what is wrong, code, words of the message). They are tried at their place in the solved lab, one after the other.
"""

import ast
import importlib
import linecache
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

from intr_nb.core.exercises import CheckFailed

LABS = sorted((Path(__file__).resolve().parents[2] / "nbs" / "labs").glob("[0-9][0-9]_*.ipynb"))
REGION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION", re.M | re.S)
UNTOUCHED = r"\1raise NotImplementedError()"


def role(cell):
    "What a cell is to a student: given, solution, check, text; or free to change."
    marks = cell.metadata.get("nbgrader")
    if marks is None:
        return "free"
    if marks["grade"]:
        return "text" if marks["solution"] else "check"
    return "solution" if marks["solution"] else "given"


def read(path):
    return nbformat.read(path, as_version=4).cells


def run(code, names, label):
    "Execute a cell as a notebook would, so that messages can quote the student's own line."
    file = f"<{label}>"
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    exec(compile(ast.parse(code), file, "exec"), names)


def refused(answer, check, names, label):
    "What the check says of an answer; None if it is content."
    names = dict(names)
    try:
        run(answer, names, label)
    except Exception:  # the student saw it; the check has its own words for what is missing
        pass
    try:
        run(check, names, f"{label}, check")
    except CheckFailed as e:
        return str(e)
    return None


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IN_TEST", "1")
    monkeypatch.setattr(plt, "show", lambda *a, **kw: plt.close("all"))


@pytest.mark.parametrize("path", LABS, ids=lambda p: p.stem)
def test_right_answers_pass_and_wrong_ones_are_told_why(path):
    wrong = importlib.import_module(f"labs.wrong.lab_{path.stem[:2]}").WRONG
    names, answer, tried = {"__name__": "__main__"}, None, set()
    for cell in read(path):
        if cell.cell_type != "code":
            continue
        name = cell.metadata.get("nbgrader", {}).get("grade_id", cell.id)
        if role(cell) == "solution":
            before, answer, answer_name = dict(names), cell.source, name
        if role(cell) == "check":
            assert answer is not None, f"{name}: a check without an answer above it"
            untouched = REGION.sub(UNTOUCHED, answer)
            assert untouched != answer, f"{answer_name} has no region that a student is to write"
            assert refused(untouched, cell.source, before, answer_name), (
                f"{answer_name}: nothing earns points"
            )
            for what, code, words in wrong.get(answer_name, []):
                message = refused(code, cell.source, before, answer_name)
                assert message, f"{answer_name}: the check is content with an answer that {what}"
                assert re.search(words, message), f"{answer_name}, which {what}, is told {message!r}"
            tried.add(answer_name)
        run(cell.source, names, name)
    assert tried == set(wrong), "answers without a check, or wrong answers to nothing"
    assert not {name for name, found in wrong.items() if len(found) < 2}, "fewer than two wrong answers"


FAST = "if you are fast"


def exercises(cells):
    "The rows of a lab's table: (number, title, kind, minutes)."
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    rows = re.findall(r"^\| (\d) (.*?) \| ([a-z, ]+) \| (\d+) \| \*+ \|$", text, re.M)
    return [(int(n), title, kind, int(minutes)) for n, title, kind, minutes in rows]


@pytest.mark.parametrize("path", LABS, ids=lambda p: p.stem)
def test_what_only_the_fast_do_earns_no_points(path):
    fast = False
    for cell in read(path):
        if role(cell) == "free" and "| exercise |" not in cell.source and FAST in cell.source:
            fast = True
        if role(cell) == "check":  # the first one below these words
            assert (cell.metadata.nbgrader["points"] == 0) == fast, cell.metadata.nbgrader["grade_id"]
            fast = False
    assert not fast


def test_the_lecturers_minutes_are_those_of_the_labs():
    text = "\n".join(c.source for c in read(LABS[0].with_name("lecturer.ipynb")) if c.cell_type == "markdown")
    for path in LABS:
        minutes = sum(m for _, title, _, m in exercises(read(path)) if FAST not in title)
        row = re.search(rf"^\| \[[^]]*\]\({path.name}\) \|[^|]*\| (\d+) \|", text, re.M)
        assert int(row[1]) == minutes, path.stem
    done = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| \d", text, re.M)
    assert {int(lab) for lab, *_ in done} == {1, 3, 5, 8} and all(int(took) <= 90 for _, _, took in done)


@pytest.mark.parametrize("path", LABS, ids=lambda p: p.stem)
def test_a_lab_has_what_every_lab_has(path):
    cells = read(path)
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    for part in ("**The question.**", "**You will be able to**", "**You need**", "**Time:**", "<summary>",
                 "## What you can't conclude", "## Takeaways", "## Further reading"):  # fmt: skip
        assert part in text, part
    rows = exercises(cells)
    assert 4 <= len(rows) <= 8 and sum(minutes for _, title, _, minutes in rows if FAST not in title) <= 90
    kinds = {
        kind for _, title, found, _ in rows if FAST not in title for kind in re.split(r", then |, ", found)
    }
    assert kinds == {"write", "predict", "judge"}
    assert [int(n) for n in re.findall(r"^## Exercise (\d)", text, re.M)] == [n for n, *_ in rows]
    roles = [role(c) for c in cells]
    assert {"given", "solution", "check", "text"} <= set(roles)
    ids = [c.metadata["nbgrader"]["grade_id"] for c in cells if "nbgrader" in c.metadata]
    assert len(ids) == len(set(ids))
    rubrics = [c.source for c in cells if role(c) == "text"]
    assert all("**Model answer.**" in s and "**Rubric.**" in s for s in rubrics)
