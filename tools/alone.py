"One command at a time on a folder: two that grade at once would see each other's half-graded hand-ins."

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(folder):
    """Hold a folder, or end in words if another command holds it.

    The system takes the lock from a command that ends, however it ends, so none is ever left behind; the number
    of the process beside it is there to be told.
    """
    owner, lock = Path(folder) / "working.txt", FileLock(Path(folder) / "working.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        number = owner.read_text() if owner.exists() else "not known"
        sys.exit(
            f"Another make course or make grade works on {folder} (process {number}): wait until it has ended, "
            "or stop it there with Ctrl-C. Nothing was changed."
        )
    try:
        owner.write_text(str(os.getpid()))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
