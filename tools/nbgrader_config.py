"""nbgrader's settings for the course. `make course` copies this file to course/autograder/: change it here."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "tools"))

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(HERE)
c.CourseDirectory.course_id = "intr_nb"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError('not written yet')"}

# nbgrader's own steps, with two of ours
c.Autograde.sanitize_preprocessors = [
    "grading.Restore",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.DeduplicateIds",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "grading.Run",
    "nbgrader.preprocessors.IgnorePattern",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.CheckCellMetadata",
]

c.Run.timeout = int(os.environ.get("TIMEOUT") or 300)  # seconds for a cell: `make grade TIMEOUT=60`
c.Run.lab_timeout = 900  # seconds for a lab
c.Run.memory = 4  # GB for a hand-in, on Linux
# nbgrader gives a check that writes to stderr no points, and a library's warning is no mistake of a student's
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = "(?s).*"
