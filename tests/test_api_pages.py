"""The pages of modules: every public name is seen at work there, and says what it takes."""

import ast
import json
import re

import nbformat
from names import ROOT, page_of, public
from uses import parsed

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
            tree = parsed(source)
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


# -- what methods take --


def imported(tree):
    "name -> the module of this package that it is imported from, by its last two words."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and (node.level or "intr_nb" in node.module):
            yield from ((alias.asname or alias.name, node.module.split(".")[-1]) for alias in node.names)


def classes():
    "{class: its bases}, {class: {method: (tree, lines)}} and {class: its text}; a class is (module, name)."
    bases, methods, texts = {}, {}, {}
    for path, tree in trees():
        lines, home = path.read_text(encoding="utf-8").splitlines(), dict(imported(tree))
        for node in tree.body:
            own = []
            if isinstance(node, ast.ClassDef):
                owner, own = node.name, [part for part in node.body if isinstance(part, ast.FunctionDef)]
                texts[path.stem, owner] = ast.get_docstring(node) or ""
                named = [base.id for base in node.bases if isinstance(base, ast.Name)]
                bases[path.stem, owner] = [(home.get(name, path.stem), name) for name in named]
            elif isinstance(node, ast.FunctionDef) and "patch" in map(ast.unparse, node.decorator_list):
                owner, own = ast.unparse(node.args.args[0].annotation), [node]
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):  # a class made by type
                named = [part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)]
                made = path.stem, ast.unparse(node.targets[0])
                bases[made] = [(home.get(name, path.stem), name) for name in named]
            for method in own:
                found = methods.setdefault((home.get(owner, path.stem), owner), {})
                found[method.name] = method, lines
    return bases, methods, texts


def ancestors(kind, bases):
    "A class and those of the package that it inherits from, nearest first."
    yield kind
    for base in bases.get(kind, ()):
        yield from ancestors(base, bases)


def says_what_it_takes(method, lines, told):
    "Whether a comment stands beside a parameter, or what is told names them all, or there are none."
    taken = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs][1:]
    header = lines[method.lineno - 1 : method.body[0].lineno - 1]
    told += ast.get_docstring(method) or ""
    return any("  # " in line for line in header) or all(f"`{arg.arg}`" in told for arg in taken)


def test_public_methods_say_what_they_take():
    "An override need not repeat what the method says that it stands for."
    (bases, methods, texts), silent = classes(), set()
    known = {(path.stem, name) for path, tree in trees() for name in public(tree)} & set(bases)
    for kind in {base for one in known for base in ancestors(one, bases)}:
        above = [methods.get(base, {}) for base in ancestors(kind, bases)]
        told = "".join(texts[base] for base in ancestors(kind, bases) if base in texts)
        for name in methods.get(kind, ()):
            said = any(says_what_it_takes(*found[name], told) for found in above if name in found)
            if not said and (name == "__init__" or not name.startswith("_")):
                silent.add(f"{kind[0]}: {kind[1]}.{name}")
    assert not silent, "\n".join(
        ["a comment beside a parameter becomes its row on the page:", *sorted(silent)]
    )


# -- where it is used --


def test_below_a_signature_stands_where_it_is_used():
    from uses import MOST, all_uses, told_where

    uses = all_uses()
    used = {path for pages in uses.values() for _, path in pages}
    assert all((NBS / path).is_file() for path in used)
    assert sum(path.startswith("tutorials/") for path in used) >= 9, sorted(used)
    assert sum(path.startswith("labs/") for path in used) >= 10, sorted(used)
    assert ("Lab 5: One vector or many", "labs/05_one_vector_or_many.ipynb") in uses["bootstrap"]
    cells = [nbformat.v4.new_code_cell(f"#| echo: false\nshow_doc({name})") for name in ("Aviary", "_scale")]
    shown, line, private = told_where(cells, uses, "../")
    assert [shown, private] == cells
    assert line.source.startswith("Used in [Quickstart](../tutorials/01_quickstart.ipynb), [")
    assert line.source.endswith(f" and {len(uses['Aviary']) - MOST} more.")
