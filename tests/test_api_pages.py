"""The pages of modules: every public name is seen at work there, and says what it takes."""

import ast
import json
import re

from names import ROOT, page_of, public

NBS = ROOT / "nbs"
MODULES = [path for path in sorted((ROOT / "intr_nb").glob("*/*.py")) if path.name != "__init__.py"]
UNSEEN = re.compile(r"^#\| *(hide\b|echo: *false|include: *false|export)", re.M)
# public names without an executed example on their page, and why
EXCEPTIONS = dict(fit_distributed="it starts processes: tests/training/test_loop.py runs it")


def trees():
    for path in MODULES:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


# -- an executed example --


def examples(page):
    "(syntax tree, stored text) of the code cells that a page shows, without what it exports."
    for cell in json.loads((NBS / page).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not UNSEEN.search(source):
            tree = ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M))
            shown = [o.get("text") or o.get("data", {}).get("text/plain", "figure") for o in cell["outputs"]]
            yield tree, "".join("".join(lines) for lines in shown)


def names_in(tree):
    "(names and attributes that a cell reads, names that it binds)."
    read, bound = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            read.add(node.attr)
        elif isinstance(node, ast.Name):
            (bound if isinstance(node.ctx, ast.Store) else read).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
    return read, bound


def seen_at_work(page):
    "Names that a cell with a stored output uses, by itself or by what an earlier cell made of them."
    made_of, seen = {}, set()
    for tree, output in examples(page):
        read, bound = names_in(tree)
        used = read.union(*(made_of.get(name, ()) for name in read))
        made_of |= {name: used for name in bound}
        if output:
            seen |= used | set(re.findall(r"\w+(?=\()", output))  # what shows itself: Margin(...)
    return seen


def test_every_public_name_is_seen_at_work_on_its_page():
    unseen = set()
    for path, tree in trees():
        if names := public(tree):
            unseen |= set(names) - seen_at_work(page_of(path))
    assert unseen == set(EXCEPTIONS), (
        f"{sorted(unseen - set(EXCEPTIONS))} have no example: give their notebook a cell that is shown, "
        f"uses them, and has an output; {sorted(set(EXCEPTIONS) - unseen)} have one and are no exceptions"
    )
