"""nbgrader's settings for the course. `make course` copies this file to course/autograder/: change it here."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "tools"))

from grading import Restore, Run  # noqa: E402
from nbgrader.preprocessors import (  # noqa: E402
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    IgnorePattern,
    LimitOutput,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(HERE)
c.CourseDirectory.course_id = "intr_nb"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError('not written yet')"}

c.Autograde.sanitize_preprocessors = [
    Restore, ClearOutput, DeduplicateIds, OverwriteKernelspec, OverwriteCells, CheckCellMetadata
]  # fmt: skip
c.Autograde.autograde_preprocessors = [Run, IgnorePattern, LimitOutput, SaveAutoGrades, CheckCellMetadata]

c.Run.timeout = int(os.environ.get("TIMEOUT") or 300)  # seconds for a cell: `make grade TIMEOUT=60`
c.Run.lab_timeout = 900  # seconds for a lab
# nbgrader gives a check that writes to stderr no points, and a library's warning is no mistake of a student's
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = "(?s).*"
