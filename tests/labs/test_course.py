"""The course end to end on a small lab: handed out, handed in well and badly, graded, graded again."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="the course's tools need the extra `course`")
import course as tool
import grading
import kernels
from alone import alone
from nbclient import NotebookClient

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's queries

LAB = "01_small"
SECRET = "because the query's answer"
DOUBLE = "def double(x):\n    return 2 * x"
LOOP = "def double(x):\n    while True:\n        pass"
DOWNLOAD = "import urllib.request as r\nr.urlopen('http://example.com')"
ANSWERS = {
    "exercise_1_answer": DOUBLE,
    "exercise_2_answer": "root = math.sqrt(start)",
    "exercise_3": "It looks at the mark.",
}
UNENDING = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass"
GUIDE = '#| code-fold: true\n#| code-summary: "Solution"\n'


def code(source, name=None, points=None, solution=False, cell=nbformat.v4.new_code_cell):
    "A cell with nbgrader's marks, if it has a name: a check has points, a solution is for students to write."
    if name is None:
        return cell(source)
    marks = dict(grade_id=name, grade=points is not None, solution=solution, schema_version=3, task=False)
    marks["locked"] = not solution
    return cell(source, metadata={"nbgrader": marks | ({} if points is None else {"points": points})})


def text(source, *marks, **more):
    return code(source, *marks, **more, cell=nbformat.v4.new_markdown_cell)


def hidden(visible, secret):
    return f"{visible}\n### BEGIN HIDDEN TESTS\n{secret}\n### END HIDDEN TESTS"


def solved(before, solution, indent=""):
    return f"{before}{indent}### BEGIN SOLUTION\n{indent}{solution}\n{indent}### END SOLUTION"


def write_lab(folder):
    cells = [
        text("# A small lab\n\n> to try the tools"),
        text("## Exercise 1: Twice"),
        code("import math\n\nstart = 3", "given_1"),
        code(
            GUIDE + solved("def double(x):\n", "return x + x", "    "), "exercise_1_answer", solution=True
        ),
        code(hidden("assert double(start) == 6, 'double(3) is 6'",
                    "assert double(5) == 10, 'double(5) is 10, also'"), "exercise_1", 2),
        text("## Exercise 2: Root & reason\n\n### By hand"),
        code("import math\n\nstart = 4", "given_2"),
        code(GUIDE + solved("", "root = start**0.5"), "exercise_2_answer", solution=True),
        code("import sys\nprint('as libraries do', file=sys.stderr)\nassert root == 2, 'the root of 4 is 2'",
             "exercise_2", 1),
        text("Why does it [look](../models/00_attention.ipynb#how) there? See [the site](https://a.org/b.ipynb)."),
        text(f"Model answer: {SECRET}. Rubric: 3 points for it.", "exercise_3", 3, solution=True),
        code("#| hide\nonly_for_the_site = 1"),
    ]  # fmt: skip
    cells[2].outputs = [nbformat.v4.new_output("stream", text=SECRET)]
    folder.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{LAB}.ipynb")


def named(nb):
    return {tool.grade_id(cell): cell for cell in nb.cells if tool.grade_id(cell)}


def edit_checks(nb):
    cells = named(nb)
    cells["exercise_1"].source = "pass"
    cells["exercise_2"].metadata["tags"] = [
        "skip-execution"
    ]  # nbclient would not run it, nbgrader give its points
    cells["exercise_3"].metadata.nbgrader.points = 50
    cells["given_1"].cell_type = "markdown"
    del cells["given_1"]["outputs"], cells["given_1"]["execution_count"]


def delete_cells(nb):
    fill(nb, ANSWERS)
    gone = {"given_1", "exercise_1", "given_2"}
    nb.cells = [cell for cell in nb.cells if tool.grade_id(cell) not in gone]


def fill(nb, answers):
    for name, source in answers.items():
        named(nb)[name].source = source


def wrong(**answers):
    return lambda nb: fill(nb, ANSWERS | answers)


def hand_in(course, folder, student, change):
    nb = nbformat.read(course / "students" / LAB / f"{LAB}.ipynb", as_version=4)
    change(nb)
    place = folder / student / f"{LAB}.ipynb"
    place.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, place)
    return place


def table(course):
    with (course / "grades.csv").open(newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def page(course, student):
    return (course / "feedback" / student / f"{LAB}.html").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    write_lab(folder / "labs")
    tool.build(folder / "labs", folder / "course")
    return folder


@pytest.fixture(scope="module")
def graded(built):
    "The folder of the course and the folder of hand-ins, graded once."
    course, folder = built / "course", built / "handins"
    book = course / "autograder" / "gradebook.db"
    hand_ins = {
        "perfect": wrong(
            exercise_1_answer=f"open('gradebook.db', 'w').write('mine')\n{DOUBLE}",
            exercise_2_answer="import os\nassert os.environ['OMP_NUM_THREADS'] == '1'\nroot = math.sqrt(start)",
        ),
        "untouched": lambda nb: None,
        "wrong": wrong(exercise_1_answer="def double(x):\n    return x + 3"),
        "loop": wrong(exercise_1_answer=LOOP, exercise_2_answer="root = 2\n!echo done"),
        "unending": wrong(exercise_2_answer=UNENDING),
        "network": wrong(exercise_1_answer=f"open({str(book)!r}, 'w')", exercise_2_answer=DOWNLOAD),
        "hungry": wrong(exercise_1_answer=f"x = bytearray(5 * 2**30)\n{DOUBLE}"),
        "ended": wrong(exercise_2_answer="import os\nos._exit(1)"),
        "edited": edit_checks,
        "deleted": delete_cells,
    }
    for student, change in hand_ins.items():
        hand_in(course, folder, student, change)
    whole = (folder / "perfect" / f"{LAB}.ipynb").read_text()
    (folder / "perfect").rename(folder / "Ada L_7_assignsubmission_file")  # as Moodle names it
    (folder / "wrong" / f"{LAB}.ipynb").rename(folder / f"wrong_{LAB}.ipynb")
    for student, name, content in [
        ("cut", f"{LAB}.ipynb", whole[: len(whole) // 2]),
        (
            "other",
            f"{LAB}.ipynb",
            json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}),
        ),
        ("word", f"{LAB}.docx", "PK"),
    ]:
        (folder / student).mkdir()
        (folder / student / name).write_text(content)
    (folder / "notes.txt").write_text("from the lecturer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIMEOUT", "6")
        patch.delenv("OMP_NUM_THREADS", raising=False)  # a lecturer has not set it
        tool.grade(folder, course)
    return course, folder


# -- what is handed out --


def test_students_get_no_answers(built):
    handed_out = "".join(path.read_text() for path in (built / "course" / "students").rglob("*.*"))
    for secret in (
        SECRET,
        "x + x",
        "start**0.5",
        "also",
        "SOLUTION",
        "HIDDEN",
        "code-fold",
        "only_for_the_site",
    ):
        assert secret not in handed_out, f"students read {secret!r}"
    assert "YOUR CODE HERE" in handed_out and "YOUR ANSWER HERE" in handed_out
    assert "double(3) is 6" in handed_out and str(built) not in handed_out


def test_run_all_goes_past_what_is_not_answered(built):
    nb = nbformat.read(built / "course" / "students" / LAB / f"{LAB}.ipynb", as_version=4)
    goes_on = [tool.grade_id(c) for c in nb.cells if "raises-exception" in c.metadata.get("tags", ())]
    assert goes_on == ["exercise_1_answer", "exercise_1", "given_2", "exercise_2_answer", "exercise_2"]
    cells = [
        code("n = ...", "n", solution=True),
        code("Exercise('n').guess(0, 1)", "check", 1),
        code("n", "reveal"),
    ]
    made = tool.unhindered(nbformat.v4.new_notebook(cells=cells))
    assert ["tags" in cell.metadata for cell in made.cells] == [True, False, True], "a guess comes first"


@pytest.mark.parametrize(
    "dots", ["n = ...", "n = ...\nm = ...  # a head", "a, b = ..., ...", "p = (..., ...)\n\n"]
)
def test_dots_wait_without_an_error(dots):
    stub = "# YOUR CODE HERE\nraise NotImplementedError('not written yet')"
    made = tool.unhindered(nbformat.v4.new_notebook(cells=[code(f"{dots}\n{stub}", "answer", solution=True)]))
    assert made.cells[0].source == f"# YOUR CODE HERE\n{dots.strip()}"
    kept = f"n = 2\n{dots}\n{stub}"
    made = tool.unhindered(nbformat.v4.new_notebook(cells=[code(kept, "answer", solution=True)]))
    assert made.cells[0].source == kept


def test_links_lead_to_the_site(built):
    handed_out = (built / "course" / "students" / LAB / f"{LAB}.ipynb").read_text()
    assert "[look](https://intr-nb.github.io/intr_nb/models/attention.html#how) there" in handed_out
    assert "[the site](https://a.org/b.ipynb)" in handed_out


def test_checks_cannot_be_edited_in_jupyter(built):
    cells = named(nbformat.read(built / "course" / "students" / LAB / f"{LAB}.ipynb", as_version=4))
    locked = {name for name, cell in cells.items() if cell.metadata.get("editable") is False}
    assert locked == {"given_1", "exercise_1", "given_2", "exercise_2"}


def beginnings(built, folder):
    "A folder for another course; its gradebook is a copy, as a new one takes nbgrader ten seconds."
    (folder / "course" / "autograder").mkdir(parents=True)
    shutil.copy(built / "course" / "autograder" / "gradebook.db", folder / "course" / "autograder")
    return folder / "course"


def test_the_same_labs_give_the_same_bytes(built, tmp_path):
    shutil.copytree(built / "labs", tmp_path / "labs")
    for folder in (beginnings(built, tmp_path), built / "course"):  # in a new folder, and over what is there
        tool.build(tmp_path / "labs", folder)
    made = [
        {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*"))}
        for folder in (tmp_path / "course" / "students", built / "course" / "students")
    ]
    assert made[0] == made[1] and len(made[0]) == 2


def test_a_folder_without_labs_says_so(tmp_path):
    with pytest.raises(SystemExit, match="no labs in .*expected notebooks like"):
        tool.build(tmp_path, tmp_path / "course")


def test_a_lab_whose_marks_are_wrong_is_named(built, tmp_path):
    write_lab(tmp_path / "labs")
    path = tmp_path / "labs" / f"{LAB}.ipynb"
    path.write_text(path.read_text().replace("exercise_2_answer", "exercise_1_answer"))
    with pytest.raises(SystemExit, match=f"{LAB}.ipynb can't be handed out: .*exercise_1_answer"):
        tool.build(tmp_path / "labs", beginnings(built, tmp_path))


# -- grades --


def test_full_points_for_the_perfect_none_for_the_untouched(graded):
    rows = table(graded[0])
    assert [rows["Ada L_7"][name] for name in ("exercise_1", "exercise_2", "exercise_3")] == [
        "2.0",
        "1.0",
        "waiting",
    ]
    assert rows["Ada L_7"]["points"] == "3.0" and rows["Ada L_7"]["waiting"] == "3.0"
    assert "3 points are still to be given by your lecturer" in page(graded[0], "Ada L_7")
    assert rows["untouched"]["points"] == "0.0" and rows["untouched"]["waiting"] == ""
    assert {row["max_points"] for row in rows.values()} == {"6.0"}


def test_a_wrong_answer_costs_its_own_points_and_the_page_says_why(graded):
    row = table(graded[0])["wrong"]
    assert (row["exercise_1"], row["exercise_2"]) == ("0.0", "1.0")
    assert "double(5) is 10" in page(graded[0], "wrong")


@pytest.mark.parametrize(
    "student, points, words",
    [
        ("loop", "1.0", "exercise_1: Stopped after 6 s"),
        ("unending", "2.0", "exercise_2_answer: Stopped after 6 s"),
        ("network", "0.0", "exercise_2_answer: This cell asked for the network (example.com)"),
        ("loop", "1.0", "exercise_2_answer: This cell started another program"),
        ("network", "0.0", "exercise_1_answer: This cell opened a file of the course (gradebook.db)"),
        ("hungry", "1.0", "exercise_1_answer: It wanted more memory than the 4 GB"),
        ("ended", "2.0", "exercise_2_answer: The kernel ended here"),
        ("edited", "0.0", "exercise_1 had been edited: the original was put back"),
        ("deleted", "3.0", "exercise_1 had been deleted: the original was put back"),
    ],
)
def test_what_was_stopped_or_put_back_is_said(graded, student, points, words):
    row = table(graded[0])[student]
    assert row["points"] == points
    assert words in row["remarks"]
    assert words in page(graded[0], student).replace("&#39;", "'")


@pytest.mark.parametrize(
    "name, said",
    [
        ("MemoryError", ""),
        (
            "RuntimeError",
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",
        ),
        ("ArrayMemoryError", "Unable to allocate 7.45 GiB for an array"),
        ("CheckFailed", "grow(3) raised MemoryError: "),
    ],
)
def test_memory_that_was_refused_is_known_by_its_words(name, said):
    cell = code("grow(3)", "exercise_1", 1)
    cell.outputs = [nbformat.v4.new_output("error", ename=name, evalue=said, traceback=[])]
    words = "exercise_1: It wanted more memory than the 2.5 GB that a hand-in is given."
    assert grading.stops(nbformat.v4.new_notebook(cells=[cell]), 2.5) == [words]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit a process's memory")
def test_a_kernel_whose_memory_is_full_of_small_things_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CLOSED", "")
    monkeypatch.setenv("COURSE_MEMORY", "0.25")
    eat = code("eaten = []\nwhile True:\n    eaten.append([0] * 1000)")
    notebook = nbformat.v4.new_notebook(cells=[eat, code("print('here')")])
    manager = kernels.private_kernel(tmp_path, str(grading.KERNEL))
    NotebookClient(notebook, km=manager, timeout=60, allow_errors=True).execute()
    assert [cell.outputs[0].get("ename") for cell in notebook.cells] == ["MemoryError", None]


def test_a_page_says_which_exercise(graded):
    made = page(graded[0], "wrong")
    assert "Test cell" not in made and "Written response" not in made and "Grade cell" not in made
    assert '<a href="#exercise_1">Exercise 1: Twice (exercise_1_answer)</a> (Score: 0.0 / 2.0)' in made
    assert "Exercise 1: Twice (exercise_1_answer): <code>exercise_1</code>" in made
    assert '<a href="#exercise_3">Exercise 2: Root &amp; reason</a> (still to be given)' in made
    untouched = page(graded[0], "untouched")
    assert '<a href="#exercise_3">Exercise 2: Root &amp; reason</a> (Score: 0.0 / 3.0)' in untouched


@pytest.mark.parametrize(
    "student, words",
    [
        ("cut", "damaged or cut off. Save it in Jupyter and hand it in again"),
        ("other", "has none of the cells of 01_small"),
        ("word", "01_small.docx is not a notebook"),
    ],
)
def test_what_is_no_hand_in_is_said_and_stops_nobody(graded, student, words):
    row = table(graded[0])[student]
    assert row["points"] == "" and words in row["remarks"] and words in page(graded[0], student)


def test_cells_write_into_a_scratch_folder(graded):
    assert table(graded[0])["Ada L_7"]["points"] == "3.0"
    assert not [path for path in graded[0].rglob("gradebook.db") if path.read_bytes() == b"mine"]
    assert not Path("gradebook.db").exists()


def test_grading_again_grades_what_changed(graded, tmp_path, capsys):
    course, folder = graded[0], tmp_path / "handins"
    before = table(course)
    for student in ("wrong", "untouched"):
        place = folder / student / f"{LAB}.ipynb"
        place.parent.mkdir(parents=True)
        shutil.copy(course / "autograder" / "submitted" / student / LAB / f"{LAB}.ipynb", place)
    shutil.copy(place, folder / "notes.ipynb")
    mark_text(course, "wrong", 2.5)
    tool.grade(folder, course)
    said = capsys.readouterr().out
    assert f"wrong, {LAB}: graded before, not changed" in said
    assert "Left out: notes.ipynb" in said
    after = table(course)
    assert (after["wrong"]["points"], after["wrong"]["exercise_3"], after["wrong"]["waiting"]) == (
        "3.5",
        "2.5",
        "",
    )
    assert "Say which mark." in page(course, "wrong")
    assert {name: row for name, row in after.items() if name != "wrong"} == {
        name: row for name, row in before.items() if name != "wrong"
    }

    hand_in(course, folder, "untouched", lambda nb: fill(nb, {"exercise_2_answer": "root = 2"}))
    tool.grade(folder, course)
    assert f"untouched, {LAB}: graded\n" in capsys.readouterr().out
    assert table(course)["untouched"]["points"] == "1.0"


def mark_text(course, student, points):
    "What the form does when a lecturer marks a text."
    with course_book(course) as book:
        mark = book.find_grade("exercise_3", LAB, LAB, student)
        mark.manual_score, mark.needs_manual_grade = points, False
        book.find_comment("exercise_3", LAB, LAB, student).manual_comment = "Say which mark."
        book.db.commit()


def test_a_mark_for_a_text_survives_a_corrected_hand_in(graded, tmp_path, monkeypatch):
    course, folder = shutil.copytree(graded[0], tmp_path / "course"), tmp_path / "handins"
    for other in (course / "autograder" / "submitted").iterdir():
        if other.name != "wrong":
            shutil.rmtree(other)  # a table of one row is quicker

    def grade_again(**answers):
        place = hand_in(course, folder, "wrong", wrong(**answers))
        (course / "autograder" / "submitted" / "wrong" / LAB / "digest.txt").unlink()
        tool.grade(folder, course)
        place.unlink()
        row = table(course)["wrong"]
        return row["points"], row["exercise_3"], row["waiting"], row["remarks"]

    mark_text(course, "wrong", 2.5)
    assert grade_again() == ("5.5", "2.5", "", ""), "its code was mended, its text is the same"
    assert "Say which mark." in page(course, "wrong")

    # nbgrader's keeping of marks is in question from here on; cells that are not run raise no error
    monkeypatch.setattr(grading.Run, "preprocess", lambda self, nb, resources: (nb, resources))
    broken = folder / "wrong" / f"{LAB}.docx"
    broken.write_text("PK")
    tool.grade(folder, course)
    broken.unlink()
    assert grade_again() == ("5.5", "2.5", "", ""), "again, after a hand-in that could not be read"

    again = "exercise_3 changed since you gave it 2.5 points: look again"
    assert grade_again(exercise_3="It looks at the crown.") == ("3.0", "waiting", "3.0", again)
    assert "Until then the mark of your earlier answer is shown" in page(course, "wrong")
    assert grade_again(exercise_3="It looks at the crown.") == ("3.0", "waiting", "3.0", again)
    mark_text(course, "wrong", 3)
    assert grade_again(exercise_3="It looks at the crown.") == ("6.0", "3.0", "", "")


HOLD = "import sys; from alone import alone\nwith alone(sys.argv[1]): print('held', flush=True); input()"


def test_two_commands_at_once_are_one_too_many(built, tmp_path):
    course = built / "course"
    command = [sys.executable, "-c", HOLD, str(course / "autograder")]
    tools = Path(tool.__file__).parent
    other = subprocess.Popen(command, cwd=tools, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    for work in (lambda: tool.grade(tmp_path, course), lambda: tool.build(built / "labs", course)):
        with pytest.raises(SystemExit, match=f"process {other.pid}.*wait until it has ended"):
            work()
    other.kill()  # as a power cut would: it cleans nothing up
    other.communicate()
    assert (course / "autograder" / "working.txt").read_text() == str(other.pid)
    with alone(course / "autograder"):
        pass


@pytest.mark.parametrize(
    "system, expected", [("nt", ("tcp", "127.0.0.1")), ("posix", ("ipc", "here/kernel"))]
)
def test_windows_has_no_sockets_in_files(system, expected):
    found = kernels.sockets("here", system)
    assert (found["transport"], found["ip"]) == expected


STOP = "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)"


def test_ctrl_c_stops_and_the_next_run_goes_on(graded, tmp_path, capsys):
    course, folder = shutil.copytree(graded[0], tmp_path / "course"), tmp_path / "handins"
    hand_in(course, folder, "anna", wrong(exercise_1_answer=STOP))
    hand_in(course, folder, "zoe", wrong())
    before = table(course)
    with pytest.raises(SystemExit, match="Stopped at anna, 01_small.*the same command goes on from there"):
        tool.grade(folder, course)
    assert "zoe" not in capsys.readouterr().out and table(course) == before

    hand_in(course, folder, "anna", wrong())
    tool.grade(folder, course)
    assert (table(course)["anna"]["points"], table(course)["zoe"]["points"]) == ("3.0", "3.0")


def test_a_hand_in_on_which_the_power_failed_is_graded_again(graded, tmp_path, capsys, monkeypatch):
    course, folder = shutil.copytree(graded[0], tmp_path / "course"), tmp_path / "handins"
    hand_in(course, folder, "anna", wrong())

    def fails(self, converter, lab, student):  # nbgrader copies the hand-in before it runs it
        shutil.copytree(self.tool / "submitted" / student, self.tool / "autograded" / student)
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(tool.Course, "convert", fails)
        tool.grade(folder, course)
    (tmp_path / "others").mkdir()
    tool.grade(tmp_path / "others", course)
    assert table(course)["anna"]["points"] == ""
    assert "The grading was cut short: hand it to `make grade` again" in table(course)["anna"]["remarks"]
    tool.grade(folder, course)
    assert f"anna, {LAB}: graded\n" in capsys.readouterr().out and table(course)["anna"]["points"] == "3.0"


def test_a_step_that_fails_says_why_in_one_line(built, monkeypatch):
    def start(step):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(tool.Autograde, "start", start)
    said = tool.Course(built / "course").convert(tool.Autograde, LAB, "ada")
    assert said == "RuntimeError: the disk is full"


def test_a_renamed_notebook_is_known_by_its_cells(built, tmp_path):
    course = tool.Course(built / "course")
    place = hand_in(built / "course", tmp_path, "ben", lambda nb: None)
    place.rename(place.with_name("my lab.ipynb"))
    (tmp_path / "ben" / "thoughts.ipynb").write_text("{}")
    (tmp_path / "ben" / "photo.png").write_bytes(b"PNG")
    found, strangers = tool.collect(tmp_path, course)
    assert found == {("ben", LAB): tmp_path / "ben" / "my lab.ipynb"}
    assert list(strangers) == ["ben/photo.png", "ben/thoughts.ipynb"]

    shutil.copy(found["ben", LAB], tmp_path / "ben" / f"{LAB}.ipynb")
    found, strangers = tool.collect(tmp_path, course)
    assert found["ben", LAB].stem == LAB, "the file under the right name counts"
    assert "ben handed in 01_small twice, and 01_small.ipynb was graded" in strangers["ben/my lab.ipynb"]


def test_a_zip_may_hold_the_folder_of_which_it_was_made(built, tmp_path):
    course = tool.Course(built / "course")
    for student in ("ada", "grace"):
        hand_in(built / "course", tmp_path / "handins", student, lambda nb: None)
    (tmp_path / "handins" / "__MACOSX").mkdir()
    for inside, name in (("handins/", "handins"), ("", "flat")):
        top = tmp_path if inside else tmp_path / "handins"
        archive = shutil.make_archive(tmp_path / "zips" / name, "zip", top, inside or None)
        found, _ = tool.collect(tool.unpacked(Path(archive), tmp_path / "out" / name, course), course)
        assert sorted(found) == [("ada", LAB), ("grace", LAB)]

    shutil.rmtree(tmp_path / "handins" / "grace")
    archive = shutil.make_archive(tmp_path / "zips" / "ada", "zip", tmp_path / "handins", "ada")
    found, _ = tool.collect(tool.unpacked(Path(archive), tmp_path / "one", course), course)
    assert list(found) == [("ada", LAB)], "one student's folder is no wrapping"


def test_a_file_that_is_no_zip_is_named(built, tmp_path):
    (tmp_path / "ada.rar").write_text("Rar!")
    with pytest.raises(SystemExit, match="ada.rar is neither a folder nor a zip"):
        tool.grade(tmp_path / "ada.rar", built / "course")


def test_another_exercise_needs_a_new_gradebook(graded, tmp_path):
    course = shutil.copytree(graded[0], tmp_path / "course")
    write_lab(tmp_path / "labs")
    path = tmp_path / "labs" / f"{LAB}.ipynb"
    path.write_text(path.read_text().replace("exercise_3", "exercise_4"))
    with pytest.raises(SystemExit, match="(?s)can't be handed out.*To begin anew, move gradebook.db"):
        tool.build(tmp_path / "labs", course)


def course_book(course):
    return tool.Course(course).gradebook()


def test_without_hand_ins_or_course_it_says_what_to_do(built, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="run `make course` first"):
        tool.grade(tmp_path, tmp_path)
    with pytest.raises(SystemExit, match="make grade HANDIN=the folder"):
        tool.grade(tmp_path / "nowhere", built / "course")
    monkeypatch.setattr(sys, "argv", ["course.py", "grade", ""])
    with pytest.raises(SystemExit, match="Which hand-ins?"):
        tool.main()
