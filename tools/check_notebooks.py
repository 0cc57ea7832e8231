"""Check that the notebooks are clean and that intr_nb/ and README.md are what they give.

Usage: python tools/check_notebooks.py (from anywhere; nothing of the project is changed)
The maintainer's commands run on a copy; where the copy then differs from the project, the exit status is 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ["settings.ini", "pyproject.toml", "nbs", "tools"]
HAND_WRITTEN = ["intr_nb/__init__.py", "intr_nb/browsers/canvas.js", "intr_nb/browsers/canvas.css"]
IGNORED = ("__pycache__", ".ipynb_checkpoints", ".last_checked", "checkpoints")
COMMANDS = ["nbdev.clean:nbdev_clean", "nbdev.doclinks:nbdev_export"]


def copy(target):
    for name in [*COPIED, *(name for name in HAND_WRITTEN if (ROOT / name).exists())]:
        source, place = ROOT / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns(*IGNORED))
        else:
            shutil.copy2(source, place)


def files(root):
    "The files to compare, with their contents, by their path in the project."
    patterns = ["README.md", "README_files/*", "intr_nb/**/*", "nbs/**/*.ipynb", "nbs/sidebar.yml"]
    places = [path for pattern in patterns for path in root.glob(pattern)]
    return {
        path.relative_to(root): path.read_bytes()
        for path in places
        if path.is_file() and not any(part in IGNORED for part in path.parts)
    }


def main():
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        copy(fresh)
        env = {
            name: value for name, value in os.environ.items() if name != "IN_TEST"
        }  # with it nbdev_export does nothing
        for command in COMMANDS:
            module, function = command.split(":")
            call = f"from {module} import {function}; {function}()"
            subprocess.run([sys.executable, "-c", call], cwd=fresh, env=env, check=True)
        for script in ("names.py", "sidebar.py", "readme.py"):
            subprocess.run([sys.executable, fresh / "tools" / script], cwd=fresh, env=env, check=True)
        expected, found = files(fresh), files(ROOT)

    stale = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
    if stale:
        stray = {path: "" if path in expected else " (comes from no notebook)" for path in stale}
        listed = "\n".join(f"  {path}{why}" for path, why in stray.items())
        todo = "Run `make export`, look at the changes, and commit them."
        sys.exit(f"Not in step with the notebooks, or not clean:\n{listed}\n{todo}")
    notebooks = sum(path.suffix == ".ipynb" for path in found)
    print(f"{notebooks} notebooks are clean; intr_nb/, README.md and the sidebar are in step with them.")


if __name__ == "__main__":
    main()
