"""Marks that a lecturer gave stand when a hand-in is graded again, as long as they are for the same answer.

nbgrader keeps the number and lets all of them wait for a second look, those of unchanged texts, too.
"""

import hashlib
import json

import nbformat
from grading import grade_id
from nbgrader.api import MissingEntry


def answers(notebook):
    "What each cell with points is about, as digests: a text is about itself, a check about all code answers."
    marked = {name: cell for cell in notebook.cells if (name := grade_id(cell))}
    solutions = {name: cell.source for name, cell in marked.items() if cell.metadata.nbgrader["solution"]}
    code = "\n".join(text for name, text in solutions.items() if marked[name].cell_type == "code")
    graded = [name for name, cell in marked.items() if cell.metadata.nbgrader["grade"]]
    return {name: hashlib.sha256(solutions.get(name, code).encode()).hexdigest() for name in graded}


def path_of(course, student, lab):
    return course.tool / "answers" / student / f"{lab}.json"


def given(course, student, lab):
    "Before grading: the answers to which the marks that stand were given."
    path = path_of(course, student, lab)
    if not path.exists():
        return {}
    before = json.loads(path.read_text())
    with course.gradebook() as book:
        try:
            grades = book.find_submission_notebook(lab, lab, student).grades
        except MissingEntry:
            return {}
        stand = {g.name for g in grades if g.manual_score is not None and not g.needs_manual_grade}
    return {name: digest for name, digest in before.items() if name in stand}


def keep(course, student, lab, marked):
    "After grading: the marks for answers that are still the same stand, the others wait for a second look."
    copy = nbformat.read(course.tool / "autograded" / student / lab / f"{lab}.ipynb", as_version=4)
    now = answers(copy)
    with course.gradebook() as book:
        for grade in book.find_submission_notebook(lab, lab, student).grades:
            if grade.name in marked and marked[grade.name] == now.get(grade.name):
                grade.needs_manual_grade = False
        book.db.commit()
    path = path_of(course, student, lab)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now))


def to_look_at(grades):
    "A remark for each mark that was given to an earlier answer."
    old = [grade for grade in grades if grade.needs_manual_grade and grade.manual_score is not None]
    return [f"{g.name} changed since you gave it {g.manual_score:g} points: look again" for g in old]
