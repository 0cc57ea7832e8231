"""Run a notebook as a job: what its cells print appears as it comes, and the executed copy is stored at the
end.

Usage: python tools/run_notebook.py NOTEBOOK EXECUTED_COPY
The notebook runs in its own folder, in a kernel of the very Python that runs this script. Where a cell
fails, its source and
its error are shown, the exit status is 1, and no copy is written.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from kernels import private_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.filters import strip_ansi


class LiveClient(NotebookClient):
    "A notebook client that prints the cells' streams as they come."

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "stream":
            print(msg["content"]["text"], end="", flush=True)
        return super().process_message(msg, cell, cell_index)


def headings(markdown):
    return [line.lstrip("# ") for line in markdown.splitlines() if re.match(r"#{1,3} ", line)]


def run(notebook, folder):
    "Execute `notebook` (changed in place) in `folder`, echoing headings and streams."
    with tempfile.TemporaryDirectory() as private:
        manager = private_kernel(private, "-m", "ipykernel_launcher")
        client = LiveClient(
            notebook,
            km=manager,
            timeout=None,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        )
        with client.setup_kernel(cleanup_kc=True):
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "markdown":
                    for heading in headings(cell.source):
                        print(f"\n── {heading}", flush=True)
                try:
                    client.execute_cell(cell, index)
                except (CellExecutionError, DeadKernelError) as error:
                    fail(cell, error)


def fail(cell, error):
    ruler = "─" * 60
    errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
    reason = (
        "\n".join(errors[-1].traceback) if errors else f"{error}\nThe kernel ended; was there enough memory?"
    )
    if not sys.stderr.isatty():
        reason = strip_ansi(reason)
    sys.exit(f"\n{ruler}\nThis cell failed:\n\n{cell.source}\n{ruler}\n{reason}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebook", type=Path, help="the .ipynb to run; it stays as it is")
    parser.add_argument("copy", type=Path, help="where the executed copy goes")
    args = parser.parse_args()
    try:
        notebook = nbformat.read(args.notebook, as_version=4)
    except FileNotFoundError:
        sys.exit(f"There is no notebook {args.notebook}.")
    except nbformat.reader.NotJSONError:
        sys.exit(f"{args.notebook} is not a notebook: expected JSON as Jupyter stores it.")

    try:
        args.copy.parent.mkdir(parents=True, exist_ok=True)
        # Taken before the run: better to learn now than after minutes that the folder cannot be written
        handle, unfinished = tempfile.mkstemp(dir=args.copy.parent, prefix=".", suffix=".ipynb")
    except OSError as error:
        sys.exit(
            f"Cannot write {args.copy}: {error}. Give another path, or make the folder {args.copy.parent} writable."
        )
    try:
        run(notebook, args.notebook.parent.resolve())
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            nbformat.write(notebook, file)
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, args.copy)
    finally:
        Path(unfinished).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
