"""Which tutorials, labs and other pages use a public name: told below its signature by tools/pages.py."""

import ast
import json
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tutorials", "labs", "explanations")
MOST = 8  # links in a line
LONG = ": learn birds, explain them, mark the explanations"  # of a title
SHOWN = re.compile(r"^show_doc\((\w+)\)$", re.M)


def reading():
    "The pages that a reader goes through, as paths within nbs/, in that order: those that export nothing."
    nbs = ROOT / "nbs"
    for path in [path for folder in FOLDERS for path in sorted((nbs / folder).glob("*.ipynb"))]:
        if path.parent.name != "explanations" or not path.name[0].isdigit():
            yield path.relative_to(nbs)


def parsed(source):
    "A cell as Python reads it; magics and shell lines do nothing."
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M))


def imported(source):
    "The names that a cell imports from this package; ruff sees to it that none is idle."
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "intr_nb":
            yield from (alias.name for alias in node.names)


def all_uses():
    "{public name: [(title, path within nbs/) of each page that uses it]}, in reading order."
    uses = {}
    for path in reading():
        cells = json.loads((ROOT / "nbs" / path).read_text(encoding="utf-8"))["cells"]
        title = "".join(cells[0]["source"]).split("\n")[0].lstrip("# ")
        code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        for name in {name for source in code for name in imported(source) if not name.startswith("_")}:
            uses.setdefault(name, []).append((title.removesuffix(LONG), path.as_posix()))
    return uses


def used_in(pages, home):
    "The line; of many pages the first stand in it."
    links = ", ".join(f"[{title}]({home}{path})" for title, path in pages[:MOST])
    more = f", and {len(pages) - MOST} more" if len(pages) > MOST else ""
    return f"Used in {links}{more}."


def told_where(cells, uses, home):
    "The cells of a page with a line below each signature; from the page, `home` leads to nbs/."
    for cell in cells:
        yield cell
        name = cell.cell_type == "code" and SHOWN.search(cell.source)
        if name and name[1] in uses:
            identity = f"uses-{name[1].replace('_', '-').lower()}"[:64]
            yield nbformat.v4.new_markdown_cell(used_in(uses[name[1]], home), id=identity)
