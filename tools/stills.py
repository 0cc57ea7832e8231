"""Take live widgets out of the outputs of notebooks; the still picture that a browser displays beside its
widget stays.

Usage: python tools/stills.py [notebook ...] (by default all in nbs/)
A widget lives in a kernel: on the site, and for whoever opens the file, only the picture is left. Without
this, the
page would ask the network for a widget manager and then show nothing.
"""

import os
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
KIND = "application/vnd.jupyter.widget-"
VIEW = KIND + "view+json"


def strip(notebook):
    "How many live widgets were taken out of a notebook that was read."
    count = bool(
        notebook.metadata.pop("widgets", None)
    )  # the state of all widgets, with their JavaScript: megabytes
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if VIEW not in output.get("data", {})]
            count += len(cell.outputs) - len(kept)
            cell.outputs = kept
    return count


def write(path, notebook):
    "A notebook in place of the one before, whole or not at all."
    part = path.with_name(f".{path.name}.part")
    nbformat.write(notebook, part)
    os.replace(part, path)


def main(paths):
    for path in paths:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        if count := strip(notebook):
            write(path, notebook)
            print(f"{path}: {count} live widget{'s' * (count > 1)} taken out")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or sorted((ROOT / "nbs").rglob("[!.]*.ipynb")))
