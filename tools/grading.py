"""What our grading adds to nbgrader's: two preprocessors, which nbgrader_config.py names.

`Restore` puts back what students must not change, `Run` runs the cells where they can do no harm and says in words
what was stopped.
"""

import copy
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
from kernels import private_kernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Float, Integer

KERNEL = Path(__file__).resolve().with_name("grading_kernel.py")
NBS = KERNEL.parent.parent / "nbs"
TOO_MUCH = re.compile(r"MemoryError|can't allocate memory|Unable to allocate")  # of Python, PyTorch, NumPy
REFUSED = re.compile(r"This cell .*; that is closed while grading\.")  # the words of grading_kernel.py


def grade_id(cell):
    marks = cell.metadata.get("nbgrader")
    return marks.get("grade_id") if isinstance(marks, dict) else None


class Restore(NbGraderPreprocessor):
    """Give a hand-in the marks, the checks and the read-only cells of the copy that was handed out.

    nbgrader itself overwrites locked cells whose mark is whole; it does not notice a tag that skips a cell, and
    gives up on a hand-in whose cells or marks are gone.
    """

    def preprocess(self, nb, resources):
        course = self.parent.parent.coursedir
        lab = resources["nbgrader"]["assignment"]
        path = Path(course.format_path(course.release_directory, ".", lab), f"{lab}.ipynb")
        released = nbformat.read(path, as_version=4)
        ours = {grade_id(cell): cell for cell in released.cells if grade_id(cell)}
        remarks = []

        # where a student copied a cell, the last copy counts
        last = {grade_id(cell): cell for cell in nb.cells if grade_id(cell) in ours}
        for index, cell in enumerate(nb.cells):
            name = grade_id(cell)
            cell.metadata = nbformat.from_dict({})
            if name is not None and last.get(name) is cell:
                nb.cells[index], edited = restored(cell, ours[name])
                if edited:
                    remarks.append(f"{name} had been edited: the original was put back")

        before = None
        for name, cell in ours.items():
            if name not in last:
                names = [grade_id(cell) for cell in nb.cells]
                nb.cells.insert(names.index(before) + 1 if before else 0, copy.deepcopy(cell))
                remarks.append(f"{name} had been deleted: the original was put back")
            before = name
        for index, cell in enumerate(nb.cells):
            cell["id"] = cell.get("id") or f"cell-{index}"  # notebooks of older editors have none
        nb.nbformat_minor = released.nbformat_minor
        nb.metadata = copy.deepcopy(released.metadata)
        nb.metadata["course"] = {"remarks": remarks}
        return nb, resources


def restored(cell, original):
    "Our cell, with the student's text where it is for students, and whether a cell of ours had been edited."
    made = copy.deepcopy(original)
    if made.metadata.nbgrader["solution"]:
        made.source = cell.source
        return made, False
    return made, (made.source, made.cell_type) != (cell.source, cell.cell_type)


def stop(cell, name, words):
    "Put an error that says why a cell was stopped into its outputs; nbgrader gives such a check no points."
    traceback = [f"\x1b[0;31m{name}\x1b[0m: {words}"]
    cell.outputs = [*cell.get("outputs", []), nbformat.v4.new_output("error", ename=name, evalue=words)]
    cell.outputs[-1].traceback = traceback


class Run(Execute):
    "Run a hand-in in the guarded kernel, in a scratch folder, for a limited time, and say what was stopped."

    lab_timeout = Integer(900, help="Seconds for all cells of a lab together").tag(config=True)
    memory = Float(4, help="GB of memory for a hand-in").tag(config=True)

    def preprocess(self, nb, resources, km=None):
        words = f"Stopped after {self.timeout} s without an end. Is there a loop that never ends?"
        self.error_on_timeout = {"ename": "TimeIsUp", "evalue": words, "traceback": [f"TimeIsUp: {words}"]}
        self.over, self.deadline = None, time.monotonic() + self.lab_timeout
        course = self.parent.parent.coursedir
        names = resources["nbgrader"]
        beside = Path(course.format_path(course.autograded_directory, names["student"], names["assignment"]))
        with tempfile.TemporaryDirectory() as private:
            self.scratch = Path(private, "scratch")
            shutil.copytree(beside, self.scratch, ignore=shutil.ignore_patterns("*.ipynb", "digest.txt"))
            self.closed = [Path(course.root).resolve().parent, NBS / "labs"]
            manager = private_kernel(private, str(KERNEL))
            nb, resources = super().preprocess(nb, resources, manager)
        nb.metadata["course"]["remarks"] += stops(nb, self.memory)
        if remarks := nb.metadata["course"]["remarks"]:
            text = "\n".join(["**While grading**", "", *(f"- {remark}" for remark in remarks)])
            nb.cells.insert(0, nbformat.v4.new_markdown_cell(text, id="while-grading"))
        return nb, resources

    @contextmanager
    def setup_kernel(self, **kwargs):
        # labs are small: more threads gain nothing, and on a machine that does something else they cost much
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        env = os.environ | {
            "COURSE_MEMORY": str(self.memory),
            "COURSE_CLOSED": os.pathsep.join(map(str, self.closed)),
            "IPYTHONDIR": str(self.scratch.parent / "ipython"),  # not the lecturer's own settings
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
            "OMP_NUM_THREADS": threads,
        }
        with super().setup_kernel(cleanup_kc=True, cwd=str(self.scratch), env=env, **kwargs):
            yield

    def _get_timeout(self, cell):
        left = int(self.deadline - time.monotonic())
        return max(1, min(self.timeout or left, left))

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code":
            return cell, resources
        if not self.over and time.monotonic() > self.deadline:
            self.over = f"the {self.lab_timeout} s for a lab were over"
        if self.over:
            stop(cell, "NotRun", f"Not run: {self.over}.")
            return cell, resources
        try:
            return super().preprocess_cell(cell, resources, index)
        except CellTimeoutError:
            self.over = "a cell above could not be stopped"
            stop(cell, "TimeIsUp", f"Stopped after {self.timeout} s: it did not even end when interrupted.")
        except DeadKernelError:
            self.over = "the kernel ended in a cell above"
            stop(cell, "KernelEnded", "The kernel ended here. Was there too little memory?")
        return cell, resources


def stops(nb, memory):
    "A sentence for each cell that was stopped, or refused something."
    said = {}
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            text = f"{output.get('evalue', '')}{output.get('text', '')}"
            full = TOO_MUCH.search(f"{output.get('ename')} {output.get('evalue')}")
            where = grade_id(cell) or f"cell {index + 1}"
            if output.get("ename") in ("TimeIsUp", "KernelEnded"):
                said[where] = f"{where}: {text}"
            elif output.get("ename") == "NotRun":
                said.setdefault("rest", f"from {where} on: {text}")
            elif full:
                said[where] = (
                    f"{where}: It wanted more memory than the {memory:g} GB that a hand-in is given."
                )
            elif found := REFUSED.search(text):
                said[where] = f"{where}: {found[0]}"
    return list(said.values())
