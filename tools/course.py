"""The course's copies: what is handed out, what grading needs, and the grades. The work is nbgrader's.

Usage: python tools/course.py build                from nbs/labs/ write course/students/ and course/autograder/
       python tools/course.py grade HANDINS        grade a folder (or a zip) of hand-ins: course/grades.csv and
                                                   course/feedback/

Hand-ins are one folder a student with notebooks inside, or flat files STUDENT_LAB.ipynb; what Moodle's "download all
submissions" gives is either of the two. A renamed notebook is known by its cells, if the folder says whose it is.
"""

import csv
import hashlib
import io
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import warnings
from functools import cached_property
from pathlib import Path

import marks
import nbformat
from alone import alone
from feedback import not_graded, write_page
from grading import grade_id
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets.config import PyFileConfigLoader

ROOT = Path(__file__).resolve().parent.parent
LABS = ROOT / "nbs" / "labs"
COURSE = ROOT / "course"
COLUMNS = ["student", "lab", "points", "max_points", "waiting", "remarks"]  # then one for each graded cell
SITE = "https://intr-nb.github.io/intr_nb"
CONFIG = Path(__file__).with_name("nbgrader_config.py")
README = """\
{count} labs, each in a folder of its own. To open them, in this folder, with the Python that has intr_nb installed:

    python -m jupyterlab

Work from top to bottom. Write where it says YOUR CODE HERE or YOUR ANSWER HERE; the cell below an exercise checks it.
An exercise that you can't do does not stop the next one: each begins from a given state.

Before you hand in: Kernel > Restart Kernel and Run All Cells, look at the checks, save. Hand in the .ipynb under the
name it has. Cells and checks that were deleted or edited are put back before grading. Grading has no network, runs in
an empty folder and stops a cell that does not end, or that wants more than 4 GB of memory. What is marked "if you are
fast" earns no points.
"""
warnings.simplefilter("ignore", SAWarning)  # nbgrader's queries, nothing that a lecturer can change
NEW_GRADEBOOK = """\
Hand-ins of this lab were graded, and their points would lose their place. To begin anew, move gradebook.db and
submitted/ out of course/autograder/, `make course`, and grade again."""


class Course:
    "The folder of a course: nbgrader's own layout in autograder/, and beside it what people look at."

    def __init__(self, folder):
        self.folder, self.tool = Path(folder), Path(folder) / "autograder"
        bin = str(Path(sys.executable).parent)  # where nbgrader finds alembic, .venv activated or not
        if bin not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([bin, os.environ["PATH"]])
        self.config = PyFileConfigLoader("nbgrader_config.py", str(self.tool)).load_config()

    @property
    def labs(self):
        return sorted(path.name for path in (self.tool / "release").iterdir() if path.is_dir())

    @cached_property
    def marks(self):
        "The names of the marked cells of each lab."
        read = {
            lab: nbformat.read(self.tool / "release" / lab / f"{lab}.ipynb", as_version=4)
            for lab in self.labs
        }
        return {lab: {name for cell in nb.cells if (name := grade_id(cell))} for lab, nb in read.items()}

    def convert(self, converter, lab, student="*"):
        "Run one of nbgrader's steps on one lab; returns nothing, or why it failed."
        directory = CourseDirectory(config=self.config, assignment_id=lab, student_id=student)
        step = converter(coursedir=directory, config=self.config)
        step.force = True
        step.log.propagate = False  # what went wrong is returned
        handler = logging.StreamHandler(log := io.StringIO())
        handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
        step.log.addHandler(handler)
        try:
            step.start()
        except (Exception, SystemExit) as error:  # not Ctrl-C, which nbgrader's own capture_log swallows
            errors = re.findall(r"^ *(?:\w+\.)*(\w+(?:Error|Exception)\b.*)$", log.getvalue(), re.M)
            return (errors or [f"{type(error).__name__}: {error}"])[0]
        finally:
            step.log.removeHandler(handler)
        return ""

    def gradebook(self):
        return Gradebook(f"sqlite:///{self.tool.resolve() / 'gradebook.db'}", "intr_nb")


# -- build --


def build(labs=LABS, folder=COURSE):
    notebooks = sorted(path for path in Path(labs).glob("[0-9]*.ipynb"))
    if not notebooks:
        sys.exit(f"There are no labs in {labs}: expected notebooks like 01_attention_by_hand.ipynb.")
    folder = Path(folder)
    tool, students = folder / "autograder", folder / "students"
    tool.mkdir(parents=True, exist_ok=True)
    with alone(tool):
        shutil.copy(CONFIG, tool / "nbgrader_config.py")
        for made in (tool / "source", tool / "release", students):
            shutil.rmtree(made, ignore_errors=True)
        (tool / "release").mkdir()
        course = Course(folder)
        for path in notebooks:
            hand_out(course, path)
        (students / "README.txt").write_text(README.format(count=len(notebooks)), encoding="utf-8")
    print(f"{len(notebooks)} labs: hand out {students}/, grade with `make grade HANDIN=folder`.")


def hand_out(course, path):
    "One lab: its source for nbgrader, the copy without answers, and that copy for students."
    source = course.tool / "source" / path.stem / path.name
    source.parent.mkdir(parents=True)
    nbformat.write(for_students(nbformat.read(path, as_version=4)), source)
    if reason := course.convert(GenerateAssignment, path.stem):
        todo = NEW_GRADEBOOK if "submissions associated" in reason else ""
        sys.exit(f"{path.name} can't be handed out: {reason}. {todo}")
    copy = course.tool / "release" / path.stem / path.name
    place = course.folder / "students" / path.stem / path.name
    place.parent.mkdir(parents=True)
    nbformat.write(stable(unhindered(nbformat.read(copy, as_version=4))), place)
    shutil.copy(place, copy)


def for_students(nb):
    "A lab without what only the site and nbdev need: outputs, directives, hidden cells, links to files beside it."
    nb.cells = [cell for cell in nb.cells if grade_id(cell) or not re.match(r"#\| *hide\b", cell.source)]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"\A(?:#\|.*\n|\s*\n)+", "", cell.source)
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = re.sub(r"\]\((?!\w+:|/|#)([^)\s]+)", on_the_site, cell.source)
    return nb


def on_the_site(found):
    "A link to another notebook, as its page on the site."
    place = os.path.normpath(f"labs/{found[1]}")
    return f"]({SITE}/{re.sub(r'([^/]+)[.]ipynb', lambda m: m[1].lstrip('0123456789_') + '.html', place)}"


def unhindered(nb):
    """A lab in which nothing unanswered stands in the way of what follows, but for a guess.

    Dots that wait for an answer raise nothing: their check says so. And an error in a cell from the first answer on
    does not end Run All Cells, which Jupyter otherwise does at the first check that fails. A guess that is missing
    does: the next cell shows what there was to guess.
    """
    begun = False
    for cell in nb.cells:
        if cell.cell_type == "code":
            begun = begun or cell.metadata.get("nbgrader", {}).get("solution", False)
            if begun and not re.search(r"\.guess(_word)?\(", cell.source):
                cell.metadata["tags"] = ["raises-exception"]
            cell.source = DOTS.sub(lambda found: f"# YOUR CODE HERE\n{found[1].strip()}", cell.source)
    return nb


DOTS = re.compile(
    r"\A((?:[\w, ]+ = [(., )]+(?: *#.*)?\n)+)\n*# YOUR CODE HERE\nraise NotImplementedError.*\s*\Z"
)


def stable(nb):
    "The same notebook with ids that depend on nothing but its cells."
    nb.nbformat_minor = max(nb.nbformat_minor, 5)
    for index, cell in enumerate(nb.cells):
        cell["id"] = re.sub(r"[^\w-]", "-", grade_id(cell) or f"cell-{index}")[:64]
    nb.metadata = nbformat.from_dict(
        {"kernelspec": nb.metadata.get("kernelspec") or KERNELSPEC, "language_info": {"name": "python"}}
    )
    return nb


KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


# -- grade --


def grade(handins, folder=COURSE):
    folder, handins = Path(folder), Path(handins)
    if not (folder / "autograder" / "release").is_dir():
        sys.exit(f"There is no course in {folder}: run `make course` first.")
    if not handins.exists():
        sys.exit(f"There is no {handins}: make grade HANDIN=the folder with the students' notebooks")
    course = Course(folder)
    with alone(course.tool), tempfile.TemporaryDirectory() as temporary:
        if handins.is_file():
            handins = unpacked(handins, Path(temporary), course)
        found, strangers = collect(handins, course)
        for (student, lab), path in found.items():
            renamed = "" if path.stem == lab else f" (handed in as {path.name})"
            try:
                print(f"{student}, {lab}{renamed}: {grade_one(course, student, lab, path)}", flush=True)
            except KeyboardInterrupt:
                sys.exit(
                    f"Stopped at {student}, {lab}. What was graded is kept, the same command goes on from there."
                )
        for path, why in strangers.items():
            print(f"Left out: {path}. {why}")
        write_table(course)


def write_table(course):
    "grades.csv, and the pages beside it."
    rows, path = list(report(course)), course.folder / "grades.csv"
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(rows)
    print(f"{len(rows)} hand-ins in {path}, a page for each in {course.folder / 'feedback'}/.")


def unpacked(archive, folder, course):
    "The folder of hand-ins in a zip: often all lies in one folder of the zip's own name."
    try:
        shutil.unpack_archive(archive, folder)
    except (shutil.ReadError, ValueError):
        sys.exit(f"{archive} is neither a folder nor a zip: make grade HANDIN=the folder with the notebooks")
    inner = folder / archive.stem
    wrapped = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))] == [inner]
    if wrapped and not any(path.name.startswith(tuple(course.labs)) for path in inner.iterdir()):
        return inner
    return folder


def collect(handins, course):
    "The hand-ins by student and lab, and why the other files are none."
    labs = course.labs
    pattern = re.compile(rf"(?P<before>.*?)[_ ]?(?P<lab>{'|'.join(map(re.escape, labs))})(?P<after>[^/]*)")
    found, renamed, strangers = {}, [], {}
    for path in sorted(handins.rglob("*"), key=lambda path: (len(path.name), path.as_posix())):
        place = path.relative_to(handins)
        if not path.is_file() or any(part.startswith((".", "__MACOSX")) for part in place.parts):
            continue
        match = pattern.fullmatch(path.name)
        student = place.parts[0] if len(place.parts) > 1 else path.name if MOODLE.search(path.name) else ""
        student = clean_name(student or (match["before"] if match else ""))
        if match and student:
            keep(found, strangers, student, match["lab"], path, place)
        else:
            renamed.append((student, path, place))
    for student, path, place in renamed:  # after those whose names are right: the right name counts
        if lab := student and lab_of(path, course):
            keep(found, strangers, student, lab, path, place)
        else:
            strangers[place.as_posix()] = STRANGER
    return dict(sorted(found.items())), strangers


MOODLE = re.compile(r"_assignsubmission.*")
STRANGER = "It is no lab, or its name does not say whose: expected STUDENT/LAB.ipynb or STUDENT_LAB.ipynb."


def clean_name(student):
    return re.sub(r"[^\w.@ -]", "-", MOODLE.sub("", student)).strip(" .-")


def keep(found, strangers, student, lab, path, place):
    "Take a file for the hand-in, unless the student has another one for the lab."
    if (student, lab) in found:
        other = found[student, lab].name
        strangers[place.as_posix()] = f"{student} handed in {lab} twice, and {other} was graded: remove one."
    else:
        found[student, lab] = path


def lab_of(path, course):
    "The lab to which most of a notebook's marked cells belong: people rename files, the marks stay."
    if path.suffix != ".ipynb":
        return None
    try:
        cells = nbformat.read(path, as_version=4).cells
        marks = {name for cell in cells if (name := grade_id(cell))}
    except Exception:  # a broken file breaks nbformat in many ways
        return None
    common = {lab: len(marks & released) / len(released) for lab, released in course.marks.items()}
    best = max(common, key=common.get)
    return best if common[best] > 0.5 else None


def grade_one(course, student, lab, path):
    "Grade one hand-in unless that was done before; returns what happened."
    text = path.read_bytes()
    source = (course.tool / "source" / lab / f"{lab}.ipynb").read_bytes()
    digest = hashlib.sha256(text + source).hexdigest()
    submitted = course.tool / "submitted" / student / lab
    autograded = course.tool / "autograded" / student / lab
    known = submitted / "digest.txt"  # written when all is done: an interrupted hand-in has none
    if (autograded / f"{lab}.ipynb").exists() and known.exists() and known.read_text() == digest:
        return "graded before, not changed"
    shutil.rmtree(submitted, ignore_errors=True)
    submitted.mkdir(parents=True)
    (submitted / f"{lab}.ipynb").write_bytes(text)
    marked = marks.given(course, student, lab)
    reason = unreadable(path, text, course, lab) or course.convert(Autograde, lab, student)
    if reason:
        shutil.rmtree(autograded, ignore_errors=True)
        (submitted / "failed.txt").write_text(reason, encoding="utf-8")
    else:
        marks.keep(course, student, lab, marked)
    known.write_text(digest)
    return f"not graded. {reason}" if reason else "graded"


def unreadable(path, text, course, lab):
    "Why a file is no hand-in of the lab, in words, or nothing."
    if path.suffix != ".ipynb":
        return f"The file {path.name} is not a notebook: expected {lab}.ipynb."
    try:
        cells = nbformat.reads(text.decode("utf-8"), as_version=4).cells
        ids = {grade_id(cell) for cell in cells}
    except Exception as error:  # a broken file breaks nbformat in many ways
        short = isinstance(error, (json.JSONDecodeError, nbformat.reader.NotJSONError, UnicodeDecodeError))
        why = "it is damaged or cut off" if short else f"it can't be read ({type(error).__name__}: {error})"
        return (
            f"The file {path.name} is not a whole notebook: {why}. Save it in Jupyter and hand it in again."
        )
    if not ids & course.marks[lab]:
        return f"The file {path.name} has none of the cells of {lab}: is it another notebook under this name?"
    return ""


def report(course):
    "A row of grades.csv for each hand-in, and its feedback page."
    with course.gradebook() as book:
        for submitted in sorted((course.tool / "submitted").glob("*/*/")):
            student, lab = submitted.parts[-2:]
            page = course.folder / "feedback" / student / f"{lab}.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            row = dict.fromkeys(COLUMNS, "") | {"student": student, "lab": lab}
            failed, done = submitted / "failed.txt", submitted / "digest.txt"
            if failed.exists() or not done.exists():
                cut_short = "The grading was cut short: hand it to `make grade` again."
                reason = failed.read_text(encoding="utf-8") if failed.exists() else cut_short
                page.write_text(not_graded(lab, reason), encoding="utf-8")
                yield row | {"max_points": book.find_assignment(lab).max_score, "remarks": reason}
            else:
                try:
                    yield row | points(course, book, student, lab)
                except MissingEntry:
                    continue  # a lab that the course no longer has
                write_page(course, book, student, lab, page)


def points(course, book, student, lab):
    "What the gradebook knows about a hand-in; a text that waits for the lecturer counts no points yet."
    notebook = book.find_submission_notebook(lab, lab, student)
    copy = nbformat.read(course.tool / "autograded" / student / lab / f"{lab}.ipynb", as_version=4)
    grades = {grade.name: grade for grade in notebook.grades}
    waiting = {name for name, grade in grades.items() if grade.needs_manual_grade}
    order = [name for cell in copy.cells if (name := grade_id(cell)) in grades]
    scores = {name: grades[name].score for name in order}
    again = marks.to_look_at(grades[name] for name in order)
    return {
        "points": sum(score for name, score in scores.items() if name not in waiting),
        "max_points": notebook.max_score,
        "waiting": sum(grades[name].max_score for name in waiting) or "",
        "remarks": "; ".join(copy.metadata.get("course", {}).get("remarks", []) + again),
    } | {name: "waiting" if name in waiting else score for name, score in scores.items()}


def main():
    match sys.argv[1:]:
        case ["build"]:
            build()
        case ["grade", handins] if handins:
            grade(handins)
        case ["grade", *_]:
            sys.exit("Which hand-ins? make grade HANDIN=the folder with the students' notebooks")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
