"The page that a student gets back: nbgrader's, with the exercises' names in it."

import hashlib
import html
import json
import re

import nbformat
from grading import grade_id
from nbgrader.converters import GenerateFeedback

PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{lab}</title></head>
<body style="font: 16px sans-serif; max-width: 45em; margin: 2em auto">
<h1>{lab}: not graded</h1>
<p>{reason}</p>
</body></html>
"""
LINK = re.compile(
    r'(<a href="#([^"]+)">)(?:Test cell|Written response|Coding free-response)</a>( \(Score: [^)]*\))'
)
TABLES = "<style>table { margin-bottom: 1em } td, th { padding-right: 1.2em }</style>"
LABEL = re.compile(r"Grade cell: <code>([^<]+)</code>")


def not_graded(lab, reason):
    return PAGE.format(lab=html.escape(lab), reason=html.escape(reason))


def write_page(course, book, student, lab, page):
    "Write the page of a hand-in, unless it has the same cells, points and comments as last time."
    notebook = book.find_submission_notebook(lab, lab, student)
    said = sorted([g.name, g.score, g.needs_manual_grade] for g in notebook.grades)
    said += sorted([c.name, c.comment or ""] for c in notebook.comments)
    copy = course.tool / "autograded" / student / lab / f"{lab}.ipynb"
    key = hashlib.sha256(copy.read_bytes() + json.dumps(said).encode()).hexdigest()
    made = course.tool / "feedback" / student / lab
    known = made / "digest.txt"
    if page.exists() and known.exists() and known.read_text() == key:
        return
    if reason := course.convert(GenerateFeedback, lab, student):
        print(f"No feedback page for {student}, {lab}: {reason}")
        return
    text = (made / f"{lab}.html").read_text(encoding="utf-8")
    waiting = {g.name for g in notebook.grades if g.needs_manual_grade}
    text = named(text, exercises(nbformat.read(copy, as_version=4)), waiting)
    if line := still_open(notebook.grades):
        text = text.replace("<body>", f'<body>\n<p style="margin: 1em 30px">{line}</p>', 1)
    text = text.replace("</head>", f"{TABLES}\n</head>", 1)
    page.write_text(text, encoding="utf-8")
    known.write_text(key)


def still_open(grades):
    "How many points a lecturer has still to give, or nothing."
    waiting = [grade for grade in grades if grade.needs_manual_grade]
    if not waiting:
        return ""
    earlier = any(grade.manual_score is not None for grade in waiting)
    until = " Until then the mark of your earlier answer is shown." if earlier else ""
    return (
        f"{sum(grade.max_score for grade in waiting):g} points are still to be given by your lecturer.{until}"
    )


def exercises(notebook):
    "What each cell with points is called in the lab: its heading, and what was to be written."
    heading, answer, names = "", "", {}
    for cell in notebook.cells:
        name, marks = grade_id(cell), cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown" and (found := re.search(r"^## +(.+)$", cell.source, re.M)):
            heading = found[1].strip()
        if name and marks["solution"]:
            answer = name
        if name and marks["grade"]:
            names[name] = heading or name
            if not marks["solution"] and answer:
                names[name] = f"{heading} ({answer})".strip()
    return names


def named(page, names, waiting):
    """The page with these names in its list and above its checks; `Test cell` tells a student nothing.

    Points that wait for a lecturer are shown as such, not as 0.
    """
    names = {name: html.escape(words) for name, words in names.items()}

    def link(found):
        name = found[2]
        score = " (still to be given)" if name in waiting else found[3]
        return f"{found[1]}{names.get(name, name)}</a>{score}"

    page = LINK.sub(link, page)
    return LABEL.sub(lambda found: f"{names.get(found[1], found[1])}: <code>{found[1]}</code>", page)
